"""Schedules, shipped stopped: one brings in new crawls, one retrains what is stale."""

from collections.abc import Iterator, Mapping

import dagster as dg

from assets.graph import Node
from assets.jobs import INGEST, Layer, make_layers
from assets.resolve import partition_keys
from assets.settings import Settings


def make_schedules(graph: Mapping[str, Node], settings: Settings) -> list[dg.ScheduleDefinition]:
    """`new_crawls` and `retrain_stale`."""
    recipe = settings.recipe
    layers = make_layers(graph)

    @dg.schedule(
        name="new_crawls",
        job_name=INGEST,
        cron_schedule="0 * * * *",
        description="Each hour: for every crawl that is not complete, one range run over its buckets for the first "
        "layer that lacks some. The next layer follows once it is there.",
        execution_timezone="UTC",
    )
    def new_crawls(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        requests = [
            request
            for crawl in recipe.crawls
            if (request := _next_request(context.instance, graph, layers, crawl, recipe.num_buckets))
        ]
        yield from requests or [
            dg.SkipReason("every crawl of the recipe is complete, or waits for a whole-corpus step")
        ]

    @dg.schedule(
        name="retrain_stale",
        job_name=layers[-1].job_name,
        cron_schedule="0 2 * * *",
        description="Each night: what is stale of the model half, and nothing else.",
        execution_timezone="UTC",
    )
    def retrain_stale(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        return dg.RunRequest(stale_assets_only=True)

    return [new_crawls, retrain_stale]


def _next_request(
    instance: dg.DagsterInstance,
    graph: Mapping[str, Node],
    layers: list[Layer],
    crawl: str,
    num_buckets: int,
) -> dg.RunRequest | None:
    """A run over the buckets of `crawl` that the first incomplete layer lacks; None when a layer waits for others."""
    for layer in layers:
        if layer.scope == "whole":
            if not all(instance.get_latest_materialization_event(dg.AssetKey(name)) for name in layer.assets):
                return None
            continue
        missing = [
            key
            for key in partition_keys(graph[layer.assets[0]], (crawl,), num_buckets)
            if any(str(key) not in instance.get_materialized_partitions(dg.AssetKey(name)) for name in layer.assets)
        ]
        if missing:
            return dg.RunRequest(
                run_key=None,
                asset_selection=[dg.AssetKey(name) for name in layer.assets],
                tags={
                    "dagster/asset_partition_range_start": str(missing[0]),
                    "dagster/asset_partition_range_end": str(missing[-1]),
                },
            )
    return None
