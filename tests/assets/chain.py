"""A recipe's graph through Dagster, layer by layer, and what Dagster then thinks of it."""

import dagster as dg
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest

from assets.definitions import build_definitions
from assets.demo import QUIET, _range_tags
from assets.graph import build_graph
from assets.jobs import make_layers
from assets.resolve import partition_keys
from assets.schedules import stale_and_below
from assets.settings import Settings


def materialize(settings: Settings, instance: dg.DagsterInstance, *, only: set[str] | None = None) -> dict[str, int]:
    """Run every layer (of the assets in `only`); asset -> how many artefacts were made, not reused."""
    definitions = build_definitions(settings)
    graph = build_graph(settings.recipe)
    made: dict[str, int] = {}
    for layer in make_layers(graph):
        chosen = [name for name in layer.assets if only is None or name in only]
        if not chosen:
            continue
        result = definitions.resolve_job_def(layer.job_name).execute_in_process(
            instance=instance,
            tags=_range_tags(layer, graph, settings),
            asset_selection=[dg.AssetKey(name) for name in chosen],
            run_config=QUIET,
        )
        assert result.success
        for name in chosen:
            events = result.asset_materializations_for_node(name)
            assert len(events) == len(partition_keys(graph[name], settings.recipe.crawls, settings.recipe.num_buckets))
            made[name] = sum(not event.metadata["reused"].value for event in events)
    return made


def stale(settings: Settings, instance: dg.DagsterInstance) -> set[str]:
    """Assets that Dagster shows as Unsynced by a change of their own, in any partition."""
    definitions = build_definitions(settings)
    resolver = CachingStaleStatusResolver(instance, definitions.resolve_asset_graph(), LoadingContextForTest(instance))
    recipe = settings.recipe
    return {
        name
        for name, node in build_graph(recipe).items()
        for key in partition_keys(node, recipe.crawls, recipe.num_buckets)
        if resolver.get_status(dg.AssetKey(name), key and str(key)) != StaleStatus.FRESH
    }


def retrained(settings: Settings, instance: dg.DagsterInstance) -> list[str]:
    """What `retrain_stale` would run."""
    graph = build_graph(settings.recipe)
    asset_graph = build_definitions(settings).resolve_asset_graph()
    return stale_and_below(instance, asset_graph, graph, make_layers(graph)[-1].assets)
