"""`make demo`: materialize the whole graph of the recipe, layer by layer, and show the family. `make evidence` (the
option `--evidence`): the experiments and what they need, and show their table.

One process, through Dagster, so that the UI has the history. What is finished is found in the store and not made again.
"""

import argparse
import os
import sys
import time
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import dagster as dg
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from assets.evidence_nodes import GROUP as EVIDENCE
from assets.factory import make_resolver
from assets.graph import build_graph
from assets.jobs import EXPERIMENTS, Layer, make_layers
from assets.node import Node
from assets.resolve import partition_keys
from assets.resources import StoreResource
from assets.runs import close_dead_runs, process_tags
from assets.settings import Settings, load_settings
from ops.errors import InputError, StillhouseError
from ops.launch import ROOT


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m assets.demo", description="Materialize the recipe's graph.")
    parser.add_argument("--evidence", action="store_true", help="the experiments and what they need, nothing else")
    arguments = parser.parse_args(argv)
    settings = load_settings()
    instance = open_instance()
    close_dead_runs(instance)
    with process_tags() as tags:
        return _run(settings, instance, tags, evidence=arguments.evidence)


def _run(settings: Settings, instance: dg.DagsterInstance, process: Mapping[str, str], *, evidence: bool) -> int:
    from assets.definitions import build_definitions  # it reads the settings: `main` has said what is wrong with them

    graph = build_graph(settings.recipe)
    look_at_sources(graph, settings)
    definitions = build_definitions(settings)
    started = time.perf_counter()
    layers = make_layers(graph)
    if evidence:
        layers = evidence_layers(graph, layers)
    made = 0
    for number, layer in enumerate(layers, start=1):
        print(f"[{number}/{len(layers)}] {', '.join(layer.assets)}", flush=True)
        job = definitions.resolve_job_def(layer.job_name)
        tags = {**process, **_range_tags(layer, graph, settings)}
        result = job.execute_in_process(
            instance=instance,
            tags=tags,
            raise_on_error=False,
            run_config=QUIET,
            asset_selection=[dg.AssetKey(name) for name in layer.assets],
        )
        if not result.success:
            for line in _failures(result):
                print(f"error: {line}", file=sys.stderr)
            print("What is finished is kept: mend this and run the same command again.", file=sys.stderr)
            return 1
        for line, count in _lines(layer, result):
            made += count
            print(line, flush=True)
    seconds = time.perf_counter() - started
    if not made:
        print(f"Everything was done: all of it reused from the store, in {seconds:.0f} s.")
    if evidence:
        _show_evidence(settings)
    else:
        _show_family(settings)
        print(NEXT.format(seconds=seconds))
    return 0


def look_at_sources(graph: Mapping[str, Node], settings: Settings) -> None:
    """Look at what the settings name outside the store, before anything is made that a late refusal would waste.

    Raises:
        InputError: from the stage that would read it, when it is not there.
    """
    for node in graph.values():
        if node.stage.observes and node.source in settings.sources:
            node.stage.module().observe(node.config, settings.execution(node.source))


def evidence_layers(graph: Mapping[str, Node], layers: list[Layer]) -> list[Layer]:
    """Of each layer what the experiments need, and the experiments.

    Raises:
        InputError: where the recipe has none.
    """
    experiments = tuple(name for name, node in graph.items() if node.group == EVIDENCE)
    if not experiments:
        raise InputError("the recipe has no experiments: its `evidence` is None")
    needed = _ancestors(graph, experiments)
    parts = [replace(layer, assets=tuple(n for n in layer.assets if n in needed)) for layer in layers]
    whole = Layer(index=len(layers) + 1, scope="whole", assets=experiments, job_name=EXPERIMENTS)
    return [*(layer for layer in parts if layer.assets), whole]


def _ancestors(graph: Mapping[str, Node], names: Collection[str]) -> set[str]:
    found, left = set(), list(names)
    while left:
        for parent in (parent for parents in graph[left.pop()].deps.values() for parent in parents):
            if parent not in found:
                found.add(parent)
                left.append(parent)
    return found


QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
"""The demo's own lines go to the terminal; Dagster's events are in the UI."""

NEXT = """
Done in {seconds:.0f} s. Next:
  source .venv/bin/activate                 for `python` below
  make dev                                  the UI, with this history in it, at http://localhost:3000
  python -m ops.store lineage family_report where every number came from, down to the WARC files
  python -m ops.store ls                    what is in the store
  make demo                                 again: everything is found and reused
"""


def open_instance() -> dg.DagsterInstance:
    """The instance of DAGSTER_HOME, else that of the repository's dagster.yaml, as `dagster dev` takes it."""
    if os.environ.get("DAGSTER_HOME"):
        return dg.DagsterInstance.get()
    os.chdir(ROOT)
    return dg.DagsterInstance.from_config(str(ROOT))


def _range_tags(layer: Layer, graph: Mapping[str, Node], settings: Settings) -> dict[str, str]:
    recipe = settings.recipe
    keys = partition_keys(graph[layer.assets[0]], recipe.crawls, recipe.num_buckets)
    if keys == [None]:
        return {}
    return {ASSET_PARTITION_RANGE_START_TAG: str(keys[0]), ASSET_PARTITION_RANGE_END_TAG: str(keys[-1])}


def _failures(result: dg.ExecuteInProcessResult) -> list[str]:
    """What to tell a person of a failed run."""
    lines = []
    for event in result.all_events:
        if event.is_step_failure:
            data = event.step_failure_data
            failure = data.user_failure_data
            error = data.error
            if error and error.cls_name == "DagsterExecutionInterruptedError":
                return [f"{event.step_key}: stopped"]
            if error and error.cls_name == "DagsterAssetCheckFailedError":
                continue  # told by the checks below
            text = failure.description if failure and failure.description else error and error.to_string()
            lines.append(f"{event.step_key}: {text}")
    for evaluation in result.get_asset_check_evaluations():
        if not evaluation.passed and evaluation.severity == dg.AssetCheckSeverity.ERROR:
            what = f"{evaluation.asset_key.to_user_string()}: check {evaluation.check_name} failed"
            lines.append(f"{what}: {evaluation.description}")
    return lines or ["the run failed; see its events in the UI"]


def _lines(layer: Layer, result: dg.ExecuteInProcessResult) -> list[tuple[str, int]]:
    """A line for each asset of a run, and how many artefacts it made."""
    lines = []
    for name in layer.assets:
        rows: list[dict[str, Any]] = [
            {key: value.value for key, value in event.metadata.items()}
            for event in result.asset_materializations_for_node(name)
        ]
        made = [row for row in rows if not row["reused"]]
        what = f"{sum(row['wall_s'] for row in made):.1f} s" if made else "reused"
        counts = {key: sum(row.get(f"count/{key}", 0) for row in rows) for key in ("in", "out", "tokens", "parameters")}
        told = [f"{len(rows)} partitions"] if len(rows) > 1 else []
        told += [f"{value:,} {key}" for key, value in counts.items() if value]
        lines.append((f"      {name:<28} {what:>9}  {', '.join(told)}", len(made)))
    return lines


def _show_evidence(settings: Settings) -> None:
    resolver = make_resolver(build_graph(settings.recipe), settings, StoreResource())
    folder = resolver.store.local_path(resolver.record(EVIDENCE))
    print((folder / "evidence.md").read_text())
    print(f"The page, with curves: {folder / 'evidence.html'}")


def _show_family(settings: Settings) -> None:
    resolver = make_resolver(build_graph(settings.recipe), settings, StoreResource())
    report = resolver.store.local_path(resolver.record("family_report"))
    print((report / "report.md").read_text())
    print(f"The report: {report / 'report.html'}")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except StillhouseError as problem:
        sys.exit(f"error: {problem}")
    except KeyboardInterrupt:
        sys.exit("stopped; finished work is kept, run the same command to go on")
