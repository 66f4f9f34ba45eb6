"""Settings: every variable is used or refused by name; recipes keep what was published."""

import gzip
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from assets import settings as settings_module
from assets.definitions import build_definitions
from assets.demo import look_at_sources
from assets.graph import build_graph
from assets.plan import main as plan_main
from assets.plan import plan
from assets.recipes import RECIPES
from assets.settings import load_settings
from model.config import HybridConfig
from model.presets import NEMOTRON_H_4B, NEMOTRON_H_8B, NEMOTRON_NANO_9B_V2, NEMOTRON_NANO_12B_V2
from ops.adopt.config import AdoptConfig
from ops.crawl_manifest.config import CommonCrawl, WarcFiles
from ops.errors import InputError
from ops.eval_tasks import run as eval_tasks
from ops.identity import decode, encode, fingerprint
from ops.launch import ROOT
from ops.quality.config import QualityConfig
from ops.score.config import Classifier
from ops.tokenizer.config import FromCheckpoint
from ops.train.config import TrainConfig


def test_defaults() -> None:
    found = load_settings({})
    assert found.recipe == RECIPES["demo"]()
    assert (found.device, found.launch, found.sources, found.pins) == ("cpu", "subprocess", {}, {})
    chosen = load_settings({"STILLHOUSE_PARALLEL": "fsdp", "STILLHOUSE_KEEP_STATES": "5", "STILLHOUSE_COMPILE": "1"})
    chosen = chosen.execution(None)
    assert (chosen.parallel, chosen.keep_states, chosen.compile) == ("fsdp", 5, True)


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"STILLHOUSE_RECIPE": "demmo"}, "STILLHOUSE_RECIPE: no recipe 'demmo'; there are"),
        ({"STILLHOUSE_WARCS": "x", "STILLHOUSE_CRAWLS": "CC-MAIN-2024-22"}, "set one of them"),
        ({"STILLHOUSE_CRAWLS": "CC-MAIN-2024-22"}, "set STILLHOUSE_URLS or STILLHOUSE_DOMAINS"),
        ({"STILLHOUSE_CRAWLS": "CC-MAIN-2024-22", "STILLHOUSE_URLS": "/none"}, "STILLHOUSE_URLS: /none: no such file"),
        ({"STILLHOUSE_LAUNCH": "slurm"}, "STILLHOUSE_LAUNCH: 'slurm' is not one of"),
        ({"STILLHOUSE_COMPILE": "yes"}, "STILLHOUSE_COMPILE: 'yes' is not 0 or 1"),
        ({"STILLHOUSE_PARALLEL": "zero3"}, "STILLHOUSE_PARALLEL: 'zero3' is not one of ['ddp', 'fsdp']"),
        ({"STILLHOUSE_PROCESSES": "0"}, "STILLHOUSE_PROCESSES: '0' is not a positive number"),
        ({"STILLHOUSE_PINS": "teacher"}, "STILLHOUSE_PINS: 'teacher' is not asset=version"),
        ({"STILLHOUSE_EVAL": "/none"}, "STILLHOUSE_EVAL: /none: no such folder"),
    ],
)
def test_what_cannot_be_used_is_named(env: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        load_settings(env)


def test_own_input(tmp_path: Path) -> None:
    warcs = load_settings({"STILLHOUSE_WARCS": "/data/warcs"})
    assert isinstance(warcs.recipe.source, WarcFiles)
    assert warcs.execution("warcs").source == "/data/warcs"
    assert warcs.execution(None).source is None
    assert "sample_crawl" not in build_graph(warcs.recipe)
    urls = tmp_path / "urls.txt"
    urls.write_text("https://a.org/1\nhttps://a.org/2\n")
    env = {"STILLHOUSE_CRAWLS": "CC-MAIN-2024-22, CC-MAIN-2024-26", "STILLHOUSE_URLS": str(urls)}
    crawls = load_settings(env)
    assert crawls.recipe.crawls == ("CC-MAIN-2024-22", "CC-MAIN-2024-26")
    assert crawls.recipe.source == CommonCrawl(urls=("https://a.org/1", "https://a.org/2"))
    urls.write_text("".join(f"https://a.org/{i}\n" for i in range(2000)))
    long = load_settings(env)
    assert isinstance(long.recipe.source, CommonCrawl)
    assert long.recipe.source.url_list_sha256 is not None
    assert build_graph(long.recipe)["crawl_manifest"].deps == {"url_list": ("url_list",)}
    teacher = load_settings({"STILLHOUSE_TEACHER": "/models/mine"})
    assert isinstance(teacher.recipe.teacher, AdoptConfig)
    assert isinstance(teacher.recipe.tokenizer.source, FromCheckpoint)
    assert teacher.execution("teacher").source == "/models/mine"
    assert load_settings({"STILLHOUSE_PINS": "a=1, b=2"}).pins == {"a": "1", "b": "2"}


def test_evaluation_files(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    (folder / "arc").mkdir(parents=True)
    request = {"context": "Question: 1 + 1?\nAnswer:", "continuation": " 2"}
    row = {"doc_id": 0, "idx": 0, "doc": {"question": "1 + 1?"}, "request": request}
    (folder / "arc" / "easy.jsonl.gz").write_bytes(gzip.compress(json.dumps(row).encode()))
    (folder / "own.jsonl").write_text('{"question": "2 + 2?", "answer": "4"}\n')
    (folder / "notes.txt").write_text("no task")
    settings = load_settings({"STILLHOUSE_EVAL": str(folder)})
    tasks = settings.recipe.eval_tasks
    assert [(task.name, task.path, task.format) for task in tasks.tasks] == [
        ("arc_easy", "arc/easy.jsonl.gz", "requests"),
        ("own", "own.jsonl", "questions"),
    ]
    out = tmp_path / "out"
    out.mkdir()
    assert eval_tasks.run(tasks, {}, out, settings.execution("eval")).counts["documents_evaluated"] == 2
    for path in folder.rglob("*.jsonl*"):
        path.unlink()
    with pytest.raises(InputError, match=r"no file below it ends in \.jsonl"):
        load_settings({"STILLHOUSE_EVAL": str(folder)})


def test_a_pin_of_no_asset_is_refused() -> None:
    with pytest.raises(InputError, match="recipe 'demo' has no asset 'tokenzer'"):
        build_definitions(load_settings({"STILLHOUSE_PINS": "tokenzer=adopted-1"}))


def test_the_demo_says_in_one_line_what_is_wrong() -> None:
    command = [sys.executable, "-m", "assets.demo"]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"STILLHOUSE_RECIPE": "demmo"}, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: STILLHOUSE_RECIPE: no recipe 'demmo'; there are")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("variable", "message"),
    [("WARCS", "no such file or folder"), ("TEACHER", "no such checkpoint"), ("LABELS", "no such file of labels")],
)
def test_what_is_not_there_is_said_before_anything_is_made(variable: str, message: str) -> None:
    settings = load_settings({f"STILLHOUSE_{variable}": "/none"})
    with pytest.raises(InputError, match=f"/none: {message}"):
        look_at_sources(build_graph(settings.recipe), settings)


def test_a_language_model_that_cleans() -> None:
    place = {"STILLHOUSE_LLM": "http://localhost:8000/v1"}
    with pytest.raises(InputError, match="STILLHOUSE_LLM_MODEL"):
        load_settings(place)
    found = load_settings({**place, "STILLHOUSE_LLM_MODEL": "microsoft/phi-4@187ef03", "STILLHOUSE_LLM_MODE": "select"})
    llm = found.recipe.clean.llm
    assert llm is not None
    assert (llm.engine, llm.model, llm.revision, llm.mode) == ("endpoint", "microsoft/phi-4", "187ef03", "select")
    assert found.sources["llm"] == "http://localhost:8000/v1"
    folder = load_settings({"STILLHOUSE_LLM": "/models/smol", "STILLHOUSE_LLM_MODEL": "smol@1"}).recipe.clean.llm
    assert folder is not None
    assert (folder.engine, folder.mode) == ("transformers", "rewrite")
    for wrong in ({"STILLHOUSE_LLM_MODEL": "phi-4"}, {"STILLHOUSE_LLM_MODEL": "a@b", "STILLHOUSE_LLM_MODE": "ask"}):
        with pytest.raises(InputError, match="STILLHOUSE_LLM_MOD"):
            load_settings({**place, **wrong})


def test_labels_bring_the_classifier_into_the_graph(tmp_path: Path) -> None:
    settings = load_settings({"STILLHOUSE_LABELS": str(tmp_path / "labels.jsonl")})
    graph = build_graph(settings.recipe)
    assert graph["scored"].deps["quality_model"] == ("quality_model",)
    assert graph["quality_model"].source == "labels"
    assert "quality_model" not in build_graph(load_settings({}).recipe)


def test_an_annotator_brings_labels_into_the_graph() -> None:
    env = {"STILLHOUSE_ANNOTATOR": "/models/judge", "STILLHOUSE_ANNOTATOR_MODEL": "judge@1"}
    settings = load_settings({**env, "STILLHOUSE_LLM_ENGINE": "vllm"})
    annotate = settings.recipe.annotate
    assert annotate is not None
    assert (annotate.model.engine, annotate.model.model, annotate.model.revision) == ("vllm", "judge", "1")
    graph = build_graph(settings.recipe)
    assert graph["quality_model"].deps == {"cleaned": ("cleaned",), "labels": ("labels",)}
    assert (graph["labels"].source, settings.sources["annotator"]) == ("annotator", "/models/judge")
    assert "labels" not in build_graph(load_settings({}).recipe)
    for wrong, name in (
        ({"STILLHOUSE_ANNOTATOR_MODEL": "judge"}, "STILLHOUSE_ANNOTATOR_MODEL"),
        ({"STILLHOUSE_LABELS": "labels.jsonl"}, "set one of them"),
        ({"STILLHOUSE_LLM_ENGINE": "mlx"}, "STILLHOUSE_LLM_ENGINE"),
    ):
        with pytest.raises(InputError, match=name):
            load_settings({**env, **wrong})
    recipe = settings.recipe
    for one_of_two in ({"annotate": None}, {"quality": None}, {"quality": QualityConfig()}):
        with pytest.raises(InputError, match="go together"):
            replace(recipe, **one_of_two)


def test_a_classifier_that_others_trained_scores() -> None:
    settings = load_settings({"STILLHOUSE_CLASSIFIER": "/models/finemath"})
    assert settings.recipe.score.classifier == Classifier()
    assert build_graph(settings.recipe)["scored"].source == "classifier"
    assert settings.sources["classifier"] == "/models/finemath"
    assert "classifier" not in load_settings({"STILLHOUSE_CLASSIFIER": "cache"}).sources
    assert build_graph(load_settings({}).recipe)["scored"].source is None
    with pytest.raises(InputError, match="set one of them"):
        load_settings({"STILLHOUSE_CLASSIFIER": "cache", "STILLHOUSE_LABELS": "labels.jsonl"})


def test_every_variable_is_in_the_table() -> None:
    code = "".join(path.read_text() for room in ("assets", "ops") for path in (ROOT / room).rglob("*.py"))
    used = set(re.findall(r"STILLHOUSE_[A-Z0-9]+(?:_[A-Z0-9]+)*", code))
    assert used == set(re.findall(r"STILLHOUSE_[A-Z0-9]+(?:_[A-Z0-9]+)*", settings_module.__doc__ or ""))


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_recipes_encode_exactly_and_come_back(name: str) -> None:
    recipe = RECIPES[name]()
    assert decode(type(recipe), encode(recipe)) == recipe


def test_fingerprints_are_the_same_in_another_process() -> None:
    code = (
        "from assets.graph import build_graph; from assets.recipes import RECIPES\n"
        "print({name: node.code_version for name, node in build_graph(RECIPES['demo']()).items()})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "7"}
    )
    assert done.stdout.strip() == str({n: v.code_version for n, v in build_graph(RECIPES["demo"]()).items()})


def test_editing_the_learning_rate_changes_the_teachers_code_version_alone() -> None:
    recipe = RECIPES["demo"]()
    assert isinstance(recipe.teacher, TrainConfig)
    optimizer = replace(recipe.teacher.optimizer, peak_lr=recipe.teacher.optimizer.peak_lr * 2)
    edited = replace(recipe, teacher=replace(recipe.teacher, optimizer=optimizer))
    before, after = build_graph(recipe), build_graph(edited)
    assert [name for name in before if before[name].code_version != after[name].code_version] == ["teacher"]
    assert fingerprint(recipe) != fingerprint(edited)


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("nemotron_h_8b", {"teacher": NEMOTRON_H_8B, "student_4b": NEMOTRON_H_4B}),
        ("nano_9b_v2", {"teacher": NEMOTRON_NANO_12B_V2, "student_9b": NEMOTRON_NANO_9B_V2}),
    ],
)
def test_paper_recipes_cut_the_published_sizes(name: str, published: dict[str, HybridConfig]) -> None:
    rows = {row.asset: row for row in plan(RECIPES[name]())}
    assert {asset: row.params for asset, row in rows.items()} == {a: m.num_params() for a, m in published.items()}
    assert not any(row.at_most for row in rows.values())


def test_plan_prints_what_the_formulas_give(capsys: pytest.CaptureFixture[str]) -> None:
    assert plan_main(["--recipe", "nemotron_h_8b", "--tflops", "1000", "--mfu", "0.5"]) == 0
    printed = capsys.readouterr().out
    row = plan(RECIPES["nemotron_h_8b"]())[0]
    assert row.flops == pytest.approx(6 * 8.1e9 * 15e12, rel=0.15)
    assert f"{row.flops / 0.5e15 / 3600:,.2f}" in printed
    assert "15.00 T" in printed


def test_a_recipe_that_does_not_divide_says_which_field() -> None:
    recipe = RECIPES["demo"]()
    assert isinstance(recipe.teacher, TrainConfig)
    with pytest.raises(ValueError, match=r"mamba_num_heads \(7\) must be a multiple of n_groups \(2\)"):
        replace(recipe.teacher.model, mamba_num_heads=7)
    with pytest.raises(InputError, match="num_buckets must be 1 to 99"):
        replace(recipe, num_buckets=100)
