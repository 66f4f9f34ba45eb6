"""The one `defs` of the code location. Importing it loads no torch."""

import warnings

import dagster as dg
from dagster import BetaWarning, PreviewWarning, SupersessionWarning

# BackfillPolicy and the multi-to-single mapping are beta, a Pipes attribute is in preview, `dagster` points to `dg`.
warnings.filterwarnings("ignore", category=BetaWarning)
warnings.filterwarnings("ignore", category=SupersessionWarning)
warnings.filterwarnings("ignore", category=PreviewWarning)

from assets.factory import make_asset  # noqa: E402
from assets.graph import build_graph  # noqa: E402
from assets.jobs import make_jobs  # noqa: E402
from assets.resources import LauncherResource, StoreResource  # noqa: E402
from assets.schedules import make_schedules  # noqa: E402
from assets.settings import Settings, load_settings  # noqa: E402
from ops.errors import InputError  # noqa: E402


def build_definitions(settings: Settings) -> dg.Definitions:
    """All definitions of one recipe.

    Raises:
        InputError: when an asset is pinned that the recipe does not have.
    """
    graph = build_graph(settings.recipe)
    for asset in settings.pins:
        if asset not in graph:
            raise InputError(f"STILLHOUSE_PINS: recipe {settings.recipe.name!r} has no asset {asset!r}; `dg list defs`")
    return dg.Definitions(
        assets=[make_asset(node, graph, settings) for node in graph.values()],
        jobs=make_jobs(graph),
        schedules=make_schedules(graph, settings),
        resources={
            "store": StoreResource(),
            "launcher": LauncherResource(mode=settings.launch, nproc=settings.nproc),
        },
        executor=dg.in_process_executor,
    )


defs = build_definitions(load_settings())
