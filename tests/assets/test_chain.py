"""The whole graph through Dagster, small: it runs, is reused, rebuilds only what an edit touches, survives kills."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file

from assets.factory import make_resolver
from assets.graph import build_graph
from assets.recipes.overrides import adopt_teacher
from assets.resolve import partition_keys
from assets.resources import StoreResource
from assets.settings import Settings
from ops.atomic import read_json
from ops.merge.config import MergeConfig
from ops.prune.config import DepthTarget, PruneConfig, WidthTarget
from ops.store import Record, Store
from ops.store.lineage import ancestors
from ops.takedowns import read_takedowns
from ops.tokenize.takedown import takedown_main
from ops.train.config import TrainConfig
from tests.assets.chain import materialize, retrained, stale
from tests.assets.tiny import tiny, tiny_settings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def digests(store: Store) -> dict[str, str]:
    return {record.id.path: record.digest for record in store.records()}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    base = tmp_path_factory.mktemp("chain")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STILLHOUSE_STORE", str(base / "store"))
        with dg.DagsterInstance.ephemeral() as instance:
            made = materialize(tiny_settings(), instance)
            yield {"store": Store(str(base / "store")), "instance": instance, "made": made, "base": base}


def record(run: Mapping[str, Any], asset: str, settings: Settings | None = None) -> Record:
    settings = settings or tiny_settings()
    resolver = make_resolver(build_graph(settings.recipe), settings, StoreResource())
    return resolver.record(asset)


def test_everything_is_made_accepted_and_whole(run: Mapping[str, Any]) -> None:
    assert all(count > 0 for count in run["made"].values())
    records = list(run["store"].records())
    assert {r.status for r in records} == {"accepted"}
    assert [problem for r in records for problem in run["store"].verify(r)] == []


def test_nothing_vanishes_from_the_crawl_to_the_tokens(run: Mapping[str, Any]) -> None:
    report = run["store"].local_path(record(run, "family_report"))
    flow = {row["stage"]: row for row in read_json(report / "family.json")["flow"]}
    for row in flow.values():
        assert row["in"] == row["out"] + sum(row["dropped"].values())
    stages = ["pages", "documents", "cleaned", "scored", "deduplicated", "corpus", "tokens"]
    for before, after in pairwise(stages):
        assert flow[after]["in"] == flow[before]["out"], (before, after)
    assert flow["tokens"]["out"] > 20
    carriers = read_json(report / "family.json")["formulas"]
    found = sum(r.counts["formulas"] for r in run["store"].records("documents"))
    assert sum(row["found"] for row in carriers) == found > 100
    for row in carriers:
        assert row["found"] == row["kept"] + row["changed"] + row["lost"] + row["document_dropped"]


def test_a_takedown_rebuilds_the_partitions_that_held_the_page_and_no_others(
    run: Mapping[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run["store"].root, tmp_path / "store")
    monkeypatch.setenv("STILLHOUSE_STORE", str(tmp_path / "store"))
    store = Store(str(tmp_path / "store"))

    def urls(asset: str, settings: Settings) -> dict[str, set[str]]:
        resolver = make_resolver(build_graph(settings.recipe), settings, StoreResource())
        recipe = settings.recipe
        found: dict[str, set[str]] = {}
        for key in partition_keys(resolver.graph[asset], recipe.crawls, recipe.num_buckets):
            folder = store.local_path(resolver.record(asset, key))
            files = [folder / "documents.parquet"] if asset == "tokens" else sorted(folder.glob("part-*.parquet"))
            found[str(key)] = {url for file in files for url in pq.read_table(file, columns=["url"])["url"].to_pylist()}
        return found

    before = tiny_settings()
    tokens = urls("tokens", before)
    partition, url = next((key, sorted(held)[0]) for key, held in tokens.items() if held)
    arguments = ["--store", store.url, "--url", url.replace("https://", "http://www.") + "#top"]
    assert takedown_main([*arguments, "--look"]) == 0
    assert not Path(store.root, "takedowns.json").exists()
    assert takedown_main(arguments) == 0
    assert takedown_main(arguments) == 0
    told = json.loads(capsys.readouterr().out.split("}\n{")[0] + "}")
    holding = {key for key, held in urls("pages", before).items() if url in held}
    assert set(told["pages"]) == holding
    assert partition in holding
    assert any(path.startswith("tokens/") for path in told["descends_from_them"])

    takedowns = read_takedowns(store)
    assert [(item.url is not None, item.domain) for item in takedowns] == [(True, None)]
    recipe = replace(before.recipe, pages=replace(before.recipe.pages, takedowns=takedowns))
    after = replace(before, recipe=recipe)
    data = {"pages", "documents", "cleaned", "scored", "minhash", "dedup_clusters", "deduplicated", "corpus"}
    with dg.DagsterInstance.ephemeral() as instance:
        made = materialize(after, instance, only=data)
    assert made["pages"] == made["documents"] == made["cleaned"] == len(holding)
    corpus = urls("corpus", after)
    assert all(url not in held for held in corpus.values())
    assert {key: held - {url} for key, held in urls("pages", before).items()} == urls("pages", after)
    dropped = [
        row
        for r in store.records("pages")
        for file in store.local_path(r).glob("dropped/*.parquet")
        for row in pq.read_table(file).to_pylist()
        if row["reason"] == "taken_down"
    ]
    assert {row["url"] for row in dropped} == {url}
    for old in list(store.records("pages")):
        if old.id.path in told["descends_from_them"]:
            store.remove(old.id)
    assert takedown_main(arguments) == 0
    assert read_takedowns(store) == takedowns, "asked again when the page is gone, it still counts for its partitions"


def test_every_element_of_the_crawl_that_carries_a_formula_is_in_the_ledger(run: Mapping[str, Any]) -> None:
    """Counted in the pages' source by regular expressions, carrier by carrier."""
    store = run["store"]
    parts = [path for r in store.records("pages") for path in store.local_path(r).glob("part-*.parquet")]
    source = b"\n".join(c for path in parts for c in pq.read_table(path, columns=["content"])["content"].to_pylist())
    in_source = {
        "mathjax-script": rb'<script type="math/tex',
        "katex": rb'class="katex"',
        "image-alt": rb'<img[^>]*class="math',
        "mathml": rb"<math(?![^>]*>\s*<semantics)",
        "mathml-annotation": rb'(?<!class="katex-mathml">)<math[^>]*>\s*<semantics',
    }
    report = run["store"].local_path(record(run, "family_report"))
    ledger = {row["carrier"]: row["found"] for row in read_json(report / "family.json")["formulas"]}
    counted = {carrier: len(re.findall(pattern, source)) for carrier, pattern in in_source.items()}
    assert {carrier: ledger[carrier] for carrier in counted} == counted
    assert min(counted.values()) > 0


def test_what_was_planted_is_caught(run: Mapping[str, Any]) -> None:
    report = run["store"].local_path(record(run, "family_report"))
    caught = {row["kind"]: row for row in read_json(report / "family.json")["caught"]}
    assert len(caught) >= 8
    for kind in ("redirect", "not_found", "truncated", "wrong_length", "digest_mismatch", "empty", "evaluation_quiz"):
        assert caught[kind]["planted"] > 0
        assert "kept" not in caught[kind]["outcomes"], caught[kind]


def test_a_checkpoint_leads_back_to_its_warc_files(run: Mapping[str, Any]) -> None:
    found = {r.asset for r in ancestors(run["store"], [record(run, "student_width")])}
    assert {
        "sample_crawl",
        "crawl_manifest",
        "pages",
        "corpus",
        "tokens",
        "teacher",
        "importance",
        "sorted_teacher",
    } <= found
    maps = [run["store"].local_path(record(run, f"{kind}_width")) / "index_maps.json" for kind in ("pruned", "student")]
    assert maps[0].read_bytes() == maps[1].read_bytes(), "distillation hands on which channel of the teacher is which"


def assert_transformers_agrees(path: Path) -> None:
    """The checkpoint loads there, strictly, and gives the same logits."""
    import torch
    from transformers import AutoTokenizer, NemotronHForCausalLM

    from model.checkpoint import load_checkpoint

    loaded: Any = NemotronHForCausalLM.from_pretrained(path, dtype=torch.float32, output_loading_info=True)
    theirs, info = loaded
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
    ours = load_checkpoint(path, device=torch.device("cpu"))
    ids = AutoTokenizer.from_pretrained(path)("The derivative of $x^2$ is " * 9, return_tensors="pt").input_ids
    assert ids.shape[1] > 3 * ours.config.chunk_size
    with torch.no_grad():
        expected = theirs(ids, use_cache=False).logits
        found = ours(ids)
    assert (found - expected).norm() <= 1e-5 * expected.norm()


def test_checkpoints_load_in_transformers_with_the_same_logits(run: Mapping[str, Any]) -> None:
    for asset in ("teacher", "pruned_width", "student_width", "student_depth"):
        assert_transformers_agrees(run["store"].local_path(record(run, asset)))


def test_a_student_of_a_student_of_a_merged_teacher(run: Mapping[str, Any]) -> None:
    """Pruned and distilled twice, to less than half; which parts it has is told in those of the first teacher."""
    recipe = tiny()
    first, *_ = recipe.students
    again = replace(
        first,
        name="smaller",
        parent=first.name,
        prune=PruneConfig(
            width=WidthTarget(d_model=16, intermediate_size=0.5, mamba_num_heads=0.5), depth=DepthTarget(num_layers=4)
        ),
    )
    assert isinstance(recipe.teacher, TrainConfig)
    recipe = replace(
        recipe,
        teacher=replace(recipe.teacher, keep_every_steps=6),
        merge=MergeConfig(num_checkpoints=2, every_steps=6),
        parent="merged_teacher",
        students=(first, again),
    )
    settings = tiny_settings(recipe)
    made = {"teacher", "merged_teacher", "sorted_teacher", "importance", "importance_width"}
    made |= {f"{kind}_{name}" for kind in ("pruned", "student") for name in ("width", "smaller")}
    with dg.DagsterInstance.ephemeral() as instance:
        assert materialize(settings, instance, only=made) == dict.fromkeys(made, 1)
    last = record(run, "student_smaller", settings)
    assert made <= {r.asset for r in ancestors(run["store"], [last])} | {last.asset}
    paths = {name: run["store"].local_path(record(run, name, settings)) for name in made}
    whole, half = (record(run, name, settings).counts["parameters"] for name in ("merged_teacher", "student_smaller"))
    assert half < whole / 2
    assert_transformers_agrees(paths["student_smaller"])

    told = {name: read_json(paths[name] / "index_maps.json") for name in ("student_width", "student_smaller")}
    before, after = told["student_width"], told["student_smaller"]
    assert after["teacher"] == before["teacher"]
    assert after["teacher"]["d_model"] == 32
    # Each channel and neuron of the second cut is found in the first student by its numbers.
    theirs, own = (load_file(paths[name] / "model.safetensors") for name in ("student_width", "pruned_smaller"))

    def rows(table: Any) -> dict[tuple[float, ...], int]:
        return {tuple(row.tolist()): index for index, row in enumerate(table)}

    columns = rows(theirs["lm_head.weight"].T)
    channels = [columns[tuple(column.tolist())] for column in own["lm_head.weight"].T]
    assert after["d_model"] == [before["d_model"][channel] for channel in channels]
    assert len(after["layers"]) == 4
    for index, layer in enumerate(after["layers"]):
        if "intermediate_size" in layer:
            up = {"own": own[f"backbone.layers.{index}.mixer.up_proj.weight"]}
            parent = next(i for i, each in enumerate(before["layers"]) if each["parent"] == layer["parent"])
            up["theirs"] = theirs[f"backbone.layers.{parent}.mixer.up_proj.weight"][:, channels]
            neurons = [rows(up["theirs"])[tuple(row.tolist())] for row in up["own"]]
            assert layer["intermediate_size"] == [before["layers"][parent]["intermediate_size"][n] for n in neurons]


def test_a_second_run_reuses_everything(run: Mapping[str, Any]) -> None:
    before = digests(run["store"])
    assert set(materialize(tiny_settings(), run["instance"]).values()) == {0}
    assert digests(run["store"]) == before


def test_editing_the_learning_rate_rebuilds_the_chain_below_and_nothing_else(run: Mapping[str, Any]) -> None:
    instance = run["instance"]
    assert stale(tiny_settings(), instance) == set()
    edited = tiny_settings(tiny(peak_lr=3e-3))
    assert stale(edited, instance) == {"teacher"}
    below = {"teacher", "importance", "sorted_teacher", "family_report"}
    names = ("width", "depth", "memory")
    below |= {f"{kind}_{name}" for kind in ("pruned", "student") for name in names}
    below |= {f"evaluation_{name}" for name in below if name.startswith(("teacher", "pruned", "student"))}
    below -= {"evaluation_pruned_memory"}
    below |= {"search_memory", "export_teacher", *(f"export_student_{name}" for name in names)}
    assert set(retrained(edited, instance)) == below, "what the nightly schedule asks for"
    made = materialize(edited, instance)
    assert {name for name, count in made.items() if count} == below
    assert stale(edited, instance) == set()
    assert retrained(edited, instance) == []
    assert set(materialize(tiny_settings(), instance).values()) == {0}, "the old family is still in the store"


def test_a_checkpoint_that_transformers_saved_is_adopted_as_the_teacher(run: Mapping[str, Any], tmp_path: Path) -> None:
    from transformers import NemotronHForCausalLM

    pretrained = record(run, "teacher")
    source = tmp_path / "theirs"
    theirs: Any = NemotronHForCausalLM.from_pretrained(run["store"].local_path(pretrained))
    theirs.save_pretrained(source, max_shard_size="40KB")
    for path in run["store"].local_path(record(run, "tokenizer")).glob("*token*.json"):
        shutil.copy(path, source)
    assert len(list(source.glob("*.safetensors"))) > 1
    settings = tiny_settings(adopt_teacher(tiny()), sources={"teacher": str(source)})
    made = materialize(settings, run["instance"])
    data = {"pages", "documents", "cleaned", "scored", "deduplicated", "corpus", "eval_tasks", "tokens"}
    assert {name for name in data if made[name]} == set()
    assert made["tokenizer"] == 1, "another artefact of the same bytes, which the tokens need not be made again for"
    adopted = record(run, "teacher", settings)
    assert adopted.stage == "adopt"
    weights = [load_file(run["store"].local_path(r) / "model.safetensors") for r in (pretrained, adopted)]
    assert weights[0].keys() == weights[1].keys()
    assert all((weights[0][name] == weights[1][name]).all() for name in weights[0])
    family = {r.asset for r in ancestors(run["store"], [record(run, "family_report", settings)])}
    assert {"teacher", "pruned_width", "student_width", "pruned_depth", "student_depth", "evaluation_teacher"} <= family
    # What is cut from a sorted teacher of the same bytes is found in the store, and names the one it was cut from.
    assert (made["sorted_teacher"], made["pruned_width"], made["student_width"]) == (1, 0, 1)
    assert "train" not in {r.stage for r in ancestors(run["store"], [record(run, "sorted_teacher", settings)])}
    parents = record(run, "student_width", settings).parents
    assert [p.version for p in parents if p.asset == "teacher"] == [adopted.version]


def test_torchrun_splits_what_can_be_split_and_reports_while_it_runs(run: Mapping[str, Any]) -> None:
    """Two processes train the same model as one, up to the order of float additions."""
    alone = record(run, "student_depth")
    with pytest.MonkeyPatch.context() as patch, dg.DagsterInstance.ephemeral() as instance:
        patch.setenv("STILLHOUSE_STORE", str(run["base"] / "torchrun"))
        shutil.copytree(run["base"] / "store", run["base"] / "torchrun")
        store = Store(str(run["base"] / "torchrun"))
        for asset in ("student_depth", "pruned_depth"):
            store.remove(record(run, asset).id)
        settings = tiny_settings(launch="torchrun", nproc=2)
        made = materialize(settings, instance, only={"pruned_depth", "student_depth"})
        assert made == {"pruned_depth": 1, "student_depth": 1}
        (result,) = instance.get_runs()
        logged = [entry.user_message for entry in instance.all_logs(result.run_id)]
        found = make_resolver(build_graph(settings.recipe), settings, StoreResource()).record("student_depth")
    assert [line for line in logged if '"step": 12' in line]
    assert found.id == alone.id
    assert found.counts == alone.counts
    weights = [load_file(run["base"] / base / found.id.path / "model.safetensors") for base in ("store", "torchrun")]
    for name, tensor in weights[0].items():
        assert tensor.allclose(weights[1][name], rtol=1e-3, atol=1e-5), name


def test_another_process_and_another_store_give_the_same_bytes(run: Mapping[str, Any], tmp_path: Path) -> None:
    """Killed at random moments and gone on from each time, as a user would."""
    script = tmp_path / "run.py"
    script.write_text(
        "import dagster as dg\n"
        "from tests.assets.chain import materialize\n"
        "from tests.assets.tiny import tiny_settings\n"
        "if __name__ == '__main__':\n"
        "    materialize(tiny_settings(), dg.DagsterInstance.ephemeral())\n"
    )
    env = {**os.environ, "STILLHOUSE_STORE": str(tmp_path / "store"), "PYTHONPATH": os.getcwd()}
    last = ["family_report", *(name for name in build_graph(tiny()) if name.startswith("export_"))]
    wanted = {r.id.path: r.digest for r in ancestors(run["store"], [record(run, name) for name in last])}

    def count() -> int:
        return sum("record.json" in names for _, _, names in os.walk(tmp_path / "store"))

    generator = random.Random(0)
    for _ in range(4):
        goal = count() + generator.randint(1, len(wanted) // 6)
        child = subprocess.Popen([sys.executable, str(script)], env=env, start_new_session=True)
        while count() < goal:
            assert child.poll() is None
            time.sleep(0.05)
        time.sleep(generator.uniform(0, 2))
        os.killpg(child.pid, signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
    subprocess.run([sys.executable, str(script)], env=env, check=True)
    assert digests(Store(str(tmp_path / "store"))) == wanted
