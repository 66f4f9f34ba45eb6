"""Schedules, shipped stopped: two bring in new crawls, one retrains what is stale.

A crawl that is added to the recipe first gets its manifest, then layer by layer the backfill of its buckets: each tick
starts one range run for the first layer that lacks some.
"""

from collections.abc import Iterator, Mapping, Sequence

import dagster as dg
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from assets.jobs import INGEST, Layer, make_layers
from assets.node import Node, Scope
from assets.resolve import partition_keys
from assets.settings import Settings


def make_schedules(graph: Mapping[str, Node], settings: Settings) -> list[dg.ScheduleDefinition]:
    """`register_crawls`, `backfill_crawls` and `retrain_stale`."""
    layers = make_layers(graph)
    (registering,) = [layer for layer in layers if layer.scope == "crawl"]

    def requests(instance: dg.DagsterInstance, scope: Scope) -> Iterator[dg.RunRequest | dg.SkipReason]:
        recipe = settings.recipe
        found = [next_run(instance, graph, layers, crawl, recipe.num_buckets) for crawl in recipe.crawls]
        chosen = [request for layer, request in filter(None, found) if layer.scope == scope]
        yield from chosen or [dg.SkipReason("every crawl is complete, or waits for another step")]

    @dg.schedule(
        name="register_crawls",
        job_name=registering.job_name,
        cron_schedule="0 * * * *",
        execution_timezone="UTC",
        description="Each hour: the manifest of every crawl of the recipe that has none.",
    )
    def register_crawls(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        yield from requests(context.instance, "crawl")

    @dg.schedule(
        name="backfill_crawls",
        job_name=INGEST,
        cron_schedule="30 * * * *",
        execution_timezone="UTC",
        description="Each hour: for every crawl that lacks buckets, one range run over them for the first such layer.",
    )
    def backfill_crawls(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        yield from requests(context.instance, "bucket")

    @dg.schedule(
        name="retrain_stale",
        job_name=layers[-1].job_name,
        cron_schedule="0 2 * * *",
        execution_timezone="UTC",
        description="Each night: what is stale of the model half, and nothing else.",
    )
    def retrain_stale(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        return dg.RunRequest(stale_assets_only=True)

    return [register_crawls, backfill_crawls, retrain_stale]


def next_run(
    instance: dg.DagsterInstance, graph: Mapping[str, Node], layers: Sequence[Layer], crawl: str, num_buckets: int
) -> tuple[Layer, dg.RunRequest] | None:
    """The first layer that lacks partitions of `crawl`, and a range run over those.

    None when all are there, or a layer over the whole corpus has to run before.
    """
    for layer in layers:
        if layer.scope == "whole":
            if not all(instance.get_latest_materialization_event(dg.AssetKey(name)) for name in layer.assets):
                return None
            continue
        there = [instance.get_materialized_partitions(dg.AssetKey(name)) for name in layer.assets]
        missing = [
            str(key)
            for key in partition_keys(graph[layer.assets[0]], (crawl,), num_buckets)
            if any(str(key) not in keys for keys in there)
        ]
        if missing:
            request = dg.RunRequest(
                asset_selection=[dg.AssetKey(name) for name in layer.assets],
                tags={ASSET_PARTITION_RANGE_START_TAG: missing[0], ASSET_PARTITION_RANGE_END_TAG: missing[-1]},
            )
            return layer, request
    return None
