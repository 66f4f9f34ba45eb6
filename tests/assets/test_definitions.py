"""Everything that is declared loads, is described, and points to code that is there."""

import importlib
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.test_utils import create_run_for_test

from assets.definitions import build_definitions, defs
from assets.demo import evidence_layers
from assets.factory import make_asset
from assets.graph import build_graph
from assets.jobs import EXPERIMENTS, INGEST, make_layers
from assets.node import Node
from assets.partitions import partitions_of
from assets.recipes import RECIPES
from assets.resolve import Resolver, partition_keys
from assets.resources import LauncherResource, StoreResource
from assets.schedules import make_schedules, next_run
from assets.settings import Settings
from ops.errors import InputError
from ops.evidence.config import CLAIMS
from ops.launch import ROOT
from ops.stage import Execution
from ops.store import Store
from ops.store.adopt import adopt
from tests.assets.tiny import tiny_settings

GROUPS = ["crawl", "corpus", "tokens", "pretrain", "compress", "evaluate", "export", "evidence"]


@pytest.fixture(scope="module")
def graph() -> Mapping[str, Node]:
    return build_graph(RECIPES["demo"]())


def test_definitions_load() -> None:
    dg.Definitions.validate_loadable(defs)
    dg.Definitions.validate_loadable(build_definitions(tiny_settings()))


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_each_recipe_gives_a_graph_that_loads(name: str) -> None:
    recipe = RECIPES[name]()
    assert recipe.name == name
    dg.Definitions.validate_loadable(build_definitions(tiny_settings(recipe)))
    assert len([node for node in build_graph(recipe).values() if node.group != "evidence"]) <= 40


def test_assets_tell_what_they_are(graph: Mapping[str, Node]) -> None:
    specs = {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}
    assert set(specs) == set(graph)
    for name, spec in specs.items():
        assert spec.description, name
        assert spec.owners, name
        assert spec.kinds, name
        assert spec.code_version == graph[name].code_version
        assert spec.group_name in GROUPS
        references = spec.metadata["dagster/code_references"].code_references
        assert Path(references[0].file_path).is_file()


def test_groups_follow_each_other(graph: Mapping[str, Node]) -> None:
    """Nothing depends on a group to its right, but for the evaluation items that the corpus is held against."""
    for node in graph.values():
        for parent in (p for parents in node.deps.values() for p in parents):
            if parent != "eval_tasks":
                assert GROUPS.index(graph[parent].group) <= GROUPS.index(node.group), (parent, node.asset)


def test_stages_are_there_with_the_hooks_that_the_graph_names(graph: Mapping[str, Node]) -> None:
    for node in graph.values():
        module = importlib.import_module(f"{node.stage.package}.run")
        assert callable(module.run)
        assert hasattr(module, "observe") == node.stage.observes, node.asset


@pytest.mark.parametrize("name", ["extract", "train", "sample_crawl", "report", "url_list", "prune"])
def test_stages_have_a_command(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"ops.{name}", "--help"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "--out" in done.stdout


def test_layers_cover_the_graph_in_order(graph: Mapping[str, Node]) -> None:
    layers = make_layers(graph)
    done: set[str] = set()
    for layer in layers:
        for name in layer.assets:
            assert graph[name].scope == layer.scope
            assert {p for ps in graph[name].deps.values() for p in ps} <= done
            done.add(name)
    assert done == {name for name, node in graph.items() if node.group != "evidence"}
    assert len(layers) <= 8
    jobs = {job.name for job in defs.resolve_all_job_defs()}
    assert {layer.job_name for layer in layers} | {INGEST, EXPERIMENTS} <= jobs


def test_partitions_are_those_of_the_store(graph: Mapping[str, Node]) -> None:
    recipe = RECIPES["demo"]()
    for node in graph.values():
        ours = partition_keys(node, recipe.crawls, recipe.num_buckets)
        theirs = partitions_of(node, recipe)
        assert ours == ([None] if theirs is None else list(theirs.get_partition_keys()))


def test_parents_by_scope(graph: Mapping[str, Node], tmp_path: Path) -> None:
    resolver = Resolver(
        graph,
        Store(str(tmp_path)),
        crawls=("A", "B"),
        num_buckets=2,
        execution_of=lambda _: Execution(),
    )
    every = ["A|00", "A|01", "B|00", "B|01"]
    assert resolver.parent_keys(graph["pages"], "crawl_manifest", "B|01") == ["B"]
    assert resolver.parent_keys(graph["pages"], "sample_crawl", "B|01") == [None]
    assert resolver.parent_keys(graph["documents"], "pages", "B|01") == ["B|01"]
    assert resolver.parent_keys(graph["tokenizer"], "corpus", None) == every
    assert resolver.parent_keys(graph["family_report"], "crawl_manifest", None) == ["A", "B"]


def test_what_was_made_elsewhere_is_taken_instead_of_the_recipes(
    graph: Mapping[str, Node], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STILLHOUSE_STORE", str(tmp_path / "store"))
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "tokenizer.json").write_text("{}")
    adopted = adopt(Store(str(tmp_path / "store")), "tokenizer", tmp_path / "made")
    settings = replace(tiny_settings(), pins={"tokenizer": adopted.version})
    resources = {"store": StoreResource(), "launcher": LauncherResource()}
    result = dg.materialize([make_asset(graph["tokenizer"], graph, settings)], resources=resources)
    (event,) = result.asset_materializations_for_node("tokenizer")
    assert event.metadata["version"].value == adopted.version
    assert event.tags is not None
    assert event.tags["dagster/data_version"] == adopted.digest


def test_schedules_are_shipped_stopped() -> None:
    schedules = list(defs.schedules or [])
    assert {schedule.name for schedule in schedules} == {"register_crawls", "backfill_crawls", "retrain_stale"}
    for schedule in schedules:
        assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED


def test_workspace_and_instance_files_say_what_the_readme_says() -> None:
    workspace = yaml.safe_load((ROOT / "workspace.yaml").read_text())
    assert workspace["load_from"][0]["python_module"]["module_name"] == "assets.definitions"
    instance = yaml.safe_load((ROOT / "dagster.yaml").read_text())
    assert instance["telemetry"]["enabled"] is False
    assert instance["nux"]["enabled"] is False
    assert not Path(instance["storage"]["sqlite"]["base_dir"]).is_absolute()
    project = (ROOT / "pyproject.toml").read_text()
    assert "[tool.dagster]" not in project, "it would hide workspace.yaml from `dagster dev`"


def test_the_postgres_variant_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to the point where it needs the server: the file is valid, and the storage is the Postgres one."""
    from dagster._core.instance.config import dagster_instance_config

    (tmp_path / "dagster.yaml").write_text((ROOT / "docs" / "dagster-postgres.yaml").read_text())
    monkeypatch.setenv("DAGSTER_PG_URL", "postgresql://user:password@127.0.0.1:1/none")
    config, _ = dagster_instance_config(str(tmp_path))
    assert config["storage"] == {"postgres": {"postgres_url": {"env": "DAGSTER_PG_URL"}}}


def test_a_new_crawl_is_brought_in_layer_by_layer(graph: Mapping[str, Node]) -> None:
    """Ticks of the schedules on an instance in which nothing, then more and more, has been materialized."""
    recipe = RECIPES["demo"]()
    layers = make_layers(graph)
    first, second = recipe.crawls

    def next_of(instance: dg.DagsterInstance, crawl: str) -> tuple[str, list[str], str, str] | None:
        found = next_run(instance, graph, layers, crawl, recipe.num_buckets)
        if found is None:
            return None
        layer, request = found
        names = [key.to_user_string() for key in request.asset_selection or []]
        start, end = request.tags.values()
        return layer.scope, names, start, end

    def note(instance: dg.DagsterInstance, layer_index: int, keys: list[str | None]) -> None:
        for name in layers[layer_index].assets:
            for key in keys:
                instance.report_runless_asset_event(dg.AssetMaterialization(name, partition=key))

    with dg.DagsterInstance.ephemeral() as instance:
        assert next_of(instance, first) is None, "the sample crawl itself comes first"
        note(instance, 0, [None])
        assert next_of(instance, first) == ("crawl", ["crawl_manifest"], first, first)
        note(instance, 1, [first, second])
        bucket = layers[2]
        assert next_of(instance, second) == ("bucket", list(bucket.assets), f"{second}|00", f"{second}|03")
        note(instance, 2, [f"{second}|{bucket:02d}" for bucket in (0, 1, 3)])
        assert next_of(instance, second) == ("bucket", list(bucket.assets), f"{second}|02", f"{second}|02")
        assert next_of(instance, first) == ("bucket", list(bucket.assets), f"{first}|00", f"{first}|03")
        note(instance, 2, [f"{second}|02"])
        assert next_of(instance, second) is None


def test_a_tick_starts_nothing_beside_a_run_of_its_job_that_is_not_finished(
    graph: Mapping[str, Node], tmp_path: Path
) -> None:
    schedules = {schedule.name: schedule for schedule in make_schedules(graph, Settings(recipe=RECIPES["demo"]()))}
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:

        def context() -> dg.ScheduleEvaluationContext:
            return dg.build_schedule_context(
                instance, datetime(2026, 1, 1, tzinfo=UTC), repository_def=defs.get_repository_def()
            )

        for asset in ("sample_crawl", "eval_tasks"):
            instance.report_runless_asset_event(dg.AssetMaterialization(asset))
        for name, requested in (("register_crawls", 2), ("backfill_crawls", 0), ("retrain_stale", 1)):
            schedule = schedules[name]
            before = schedule.evaluate_tick(context())
            assert len(before.run_requests or []) == requested, name
            run = create_run_for_test(instance, job_name=schedule.job_name, status=dg.DagsterRunStatus.STARTED)
            during = schedule.evaluate_tick(context())
            assert not during.run_requests
            assert during.skip_message == f"run {run.run_id} of {schedule.job_name} is not finished"
            instance.report_run_canceled(run)
            after = schedule.evaluate_tick(context())
            assert len(after.run_requests or []) == requested, name


def test_experiments_run_apart_and_with_nothing_they_do_not_need() -> None:
    graph = build_graph(RECIPES["demo"]())
    layers = make_layers(graph)
    experiments = {name for name, node in graph.items() if node.group == "evidence"}
    assert {f"evidence_{claim}" for claim in CLAIMS} < experiments
    assert not experiments & {name for layer in layers for name in layer.assets}
    assert not experiments & {parent for parents in graph["family_report"].deps.values() for parent in parents}
    chosen = evidence_layers(graph, layers)
    made = [name for layer in chosen for name in layer.assets]
    assert set(chosen[-1].assets) == experiments
    assert {"corpus", "tokens", "training_set"} < set(made)
    assert not {"teacher", "formula_ledger", "importance", "family_report"} & set(made)
    for name in made:
        parents = {parent for parents in graph[name].deps.values() for parent in parents}
        assert parents <= set(made[: made.index(name)]), name
    with pytest.raises(InputError, match="no experiments"):
        evidence_layers(build_graph(replace(RECIPES["demo"](), evidence=None)), layers)
