"""Schedules, shipped stopped: two bring in new crawls, one retrains what is stale.

A crawl that is added to the recipe first gets its manifest, then layer by layer the backfill of its buckets: each tick
starts one range run for the first layer that lacks some.
"""

from collections.abc import Iterator, Mapping, Sequence

import dagster as dg
from dagster._core.definitions.assets.graph.base_asset_graph import BaseAssetGraph
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest as InstanceLoading
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from assets.jobs import INGEST, Layer, make_layers
from assets.node import Node, Scope
from assets.resolve import partition_keys
from assets.settings import Settings

Tick = dg.RunRequest | dg.SkipReason


def make_schedules(graph: Mapping[str, Node], settings: Settings) -> list[dg.ScheduleDefinition]:
    """`register_crawls`, `backfill_crawls` and `retrain_stale`."""
    layers = make_layers(graph)
    (registering,) = [layer for layer in layers if layer.scope == "crawl"]

    def requests(context: dg.ScheduleEvaluationContext, job: str, scope: Scope) -> Iterator[Tick]:
        instance, recipe = context.instance, settings.recipe
        if busy := unfinished_run(instance, job):
            yield busy
            return
        started = False
        for crawl in recipe.crawls:
            found = next_run(instance, graph, layers, crawl, recipe.num_buckets)
            if found and found[0].scope == scope:
                # A key of the tick's own: a failed run is asked for again at the next one.
                yield found[1].with_replaced_attrs(run_key=f"{crawl} {context.scheduled_execution_time.isoformat()}")
                started = True
        if not started:
            yield dg.SkipReason("every crawl is complete, or waits for another step")

    @dg.schedule(
        name="register_crawls",
        job_name=registering.job_name,
        cron_schedule="0 * * * *",
        execution_timezone="UTC",
        description="Each hour: the manifest of every crawl of the recipe that has none.",
    )
    def register_crawls(context: dg.ScheduleEvaluationContext) -> Iterator[Tick]:
        yield from requests(context, registering.job_name, "crawl")

    @dg.schedule(
        name="backfill_crawls",
        job_name=INGEST,
        cron_schedule="30 * * * *",
        execution_timezone="UTC",
        description="Each hour: for every crawl that lacks buckets, one range run over them for the first such layer.",
    )
    def backfill_crawls(context: dg.ScheduleEvaluationContext) -> Iterator[Tick]:
        yield from requests(context, INGEST, "bucket")

    @dg.schedule(
        name="retrain_stale",
        job_name=layers[-1].job_name,
        cron_schedule="0 2 * * *",
        execution_timezone="UTC",
        description="Each night: what is stale of the model half and what descends from it, and nothing else.",
    )
    def retrain_stale(context: dg.ScheduleEvaluationContext) -> Tick:
        names = layers[-1].assets
        chosen = stale_and_below(context.instance, context.repository_def.asset_graph, graph, names)
        if not chosen:
            return dg.SkipReason("nothing is stale")
        return unfinished_run(context.instance, layers[-1].job_name) or dg.RunRequest(
            asset_selection=[dg.AssetKey(name) for name in chosen]
        )

    return [register_crawls, backfill_crawls, retrain_stale]


def stale_and_below(
    instance: dg.DagsterInstance, asset_graph: BaseAssetGraph, graph: Mapping[str, Node], names: Sequence[str]
) -> list[str]:
    """Those of `names` (in order) that Dagster shows as Unsynced or never made, and what descends from them.

    Dagster calls an asset stale by its own code and its parents' data alone, so that a run of just the stale would
    leave the next generation for the next night.
    """
    resolver = CachingStaleStatusResolver(instance, asset_graph, InstanceLoading(instance))
    chosen: list[str] = []
    for name in names:
        parents = {parent for group in graph[name].deps.values() for parent in group}
        if parents & set(chosen) or resolver.get_status(dg.AssetKey(name)) != StaleStatus.FRESH:
            chosen.append(name)
    return chosen


def unfinished_run(instance: dg.DagsterInstance, job: str) -> dg.SkipReason | None:
    """A tick that comes while a run of its job is queued or going starts no second one."""
    runs = instance.get_runs(dg.RunsFilter(job_name=job, statuses=NOT_FINISHED_STATUSES), limit=1)
    return dg.SkipReason(f"run {runs[0].run_id} of {job} is not finished") if runs else None


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
