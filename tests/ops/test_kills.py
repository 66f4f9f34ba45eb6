"""Every data stage: killed at any file and gone on with, or divided among processes, it ends with the same bytes."""

import json
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from ops.atomic import sweep
from ops.clean.config import CleanConfig
from ops.clean.run import run as clean
from ops.decontaminate.config import DecontaminateConfig
from ops.decontaminate.run import run as decontaminate
from ops.dedup_clusters.config import DedupClustersConfig
from ops.dedup_clusters.run import run as dedup_clusters
from ops.deduplicate.config import DeduplicateConfig
from ops.deduplicate.run import run as deduplicate
from ops.eval_tasks.run import ITEMS
from ops.export_corpus.config import ExportCorpusConfig
from ops.export_corpus.run import run as export_corpus
from ops.extract.config import ExtractConfig
from ops.extract.run import run as extract
from ops.identity import encode
from ops.ledger.config import LedgerConfig
from ops.ledger.run import run as ledger
from ops.minhash.config import MinHashConfig
from ops.minhash.run import run as minhash
from ops.parts import write_rows
from ops.schema import PAGES, doc_id
from ops.score.config import ScoreConfig
from ops.score.run import run as score
from ops.stage import Execution, StageResult
from ops.tokenize.config import TokenizeConfig
from ops.tokenize.run import run as tokenize
from ops.tokenizer.config import TokenizerConfig, TrainBPE
from ops.tokenizer.run import run as tokenizer
from ops.training_set.config import TrainingSetConfig
from ops.training_set.run import run as training_set
from tests.ops.corpora import files_of
from tests.ops.test_decontaminate import made_up_items

ROOT = Path(__file__).resolve().parents[2]
PARTS, PAGES_A_PART = 3, 10
Stage = tuple[Callable[..., StageResult], Any, dict[str, str]]
STAGES: dict[str, Stage] = {
    "extract": (extract, ExtractConfig(), {"pages": "pages"}),
    "clean": (clean, CleanConfig(), {"documents": "extract"}),
    "score": (score, ScoreConfig(), {"cleaned": "clean"}),
    "minhash": (minhash, MinHashConfig(), {"scored": "score"}),
    "dedup_clusters": (dedup_clusters, DedupClustersConfig(), {"minhash": "minhash"}),
    "deduplicate": (deduplicate, DeduplicateConfig(), {"scored": "score", "dedup_clusters": "dedup_clusters"}),
    "decontaminate": (decontaminate, DecontaminateConfig(), {"deduplicated": "deduplicate", "eval_tasks": "items"}),
    "ledger": (
        ledger,
        LedgerConfig(),
        {
            "documents": "extract",
            "cleaned": "clean",
            "scored": "score",
            "deduplicated": "deduplicate",
            "corpus": "decontaminate",
        },
    ),
    "tokenizer": (tokenizer, TokenizerConfig(source=TrainBPE(vocab_size=400)), {"corpus": "decontaminate"}),
    "tokenize": (tokenize, TokenizeConfig(), {"corpus": "decontaminate", "tokenizer": "tokenizer"}),
    "training_set": (training_set, TrainingSetConfig(), {"tokens": "tokenize"}),
    "export_corpus": (export_corpus, ExportCorpusConfig(file_bytes=20_000), {"corpus": "decontaminate"}),
}
DIVIDED = ("extract", "clean", "score", "minhash", "decontaminate", "ledger")


def page(number: int, words: list[str]) -> dict[str, Any]:
    paragraphs = (
        f"<p>We show that the {' '.join(words[8 * index : 8 * index + 8])} is equal to the sum "
        f"\\({words[index][0]}_{{{index}}} + {number}^2\\) of all terms in the series.</p>"
        for index in range(6)
    )
    return {
        "doc_id": doc_id("C", "a.warc.gz", number),
        "crawl": "C",
        "url": f"https://site{number % 4}.example.org/{number}",
        "warc_filename": "a.warc.gz",
        "warc_record_offset": number,
        "warc_record_length": 1,
        "fetch_time": None,
        "http_status": 200,
        "content_mime_type": "text/html",
        "content_charset": "utf-8",
        "content_digest": None,
        "content_truncated": None,
        "content": f"<html><body><h1>Page {number}</h1>{''.join(paragraphs)}</body></html>".encode(),
    }


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every stage run in calm, each in the folder of its name; some pages repeat others, one holds an item."""
    root = tmp_path_factory.mktemp("chain")
    rng = random.Random(0)
    vocabulary = ["".join(rng.choices("aeioubcdlmnprst", k=rng.randint(3, 9))) for _ in range(300)]
    items = made_up_items(8)
    drawn = [rng.choices(vocabulary, k=48) for _ in range(PARTS * PAGES_A_PART)]
    rows = [page(number, words) for number, words in enumerate(drawn)]
    rows[7]["content"] = rows[2]["content"]
    rows[21]["content"] = rows[11]["content"].replace(b"series.</p></body>", b"other series.</p></body>")
    rows[15]["content"] = rows[15]["content"].replace(b"</h1>", f"</h1><p>{items[0]['question']}</p>".encode())
    for part in range(PARTS):
        write_rows(
            root / "pages" / f"part-{part:05d}.parquet", rows[part * PAGES_A_PART : (part + 1) * PAGES_A_PART], PAGES
        )
    write_rows(root / "items" / "items.parquet", items, ITEMS)
    for name in STAGES:
        go(root, name, root / name)
    return root


def go(root: Path, name: str, out: Path, execution: Execution | None = None) -> StageResult:
    run, config, inputs = STAGES[name]
    out.mkdir(exist_ok=True)
    return run(config, inputs_of(root, inputs), out, execution or Execution(threads=1))


def inputs_of(root: Path, inputs: dict[str, str]) -> dict[str, list[Path]]:
    return {name: [root / folder] for name, folder in inputs.items()}


def test_killed_at_any_file_a_stage_ends_with_the_same_bytes(chain: Path, tmp_path: Path) -> None:
    calls = []
    for name, (run, config, inputs) in STAGES.items():
        kind = type(config)
        for at in kill_points(chain, name, tmp_path):
            calls.append(
                {
                    "package": run.__module__.removesuffix(".run"),
                    "config_class": f"{kind.__module__}:{kind.__qualname__}",
                    "config": encode(config),
                    "inputs": {key: [str(path) for path in paths] for key, paths in inputs_of(chain, inputs).items()},
                    "out": str(tmp_path / f"{name}-{at}"),
                    "at": at,
                    "stage": name,
                }
            )
            Path(calls[-1]["out"]).mkdir()
    (tmp_path / "calls.json").write_text(json.dumps(calls))
    command = [sys.executable, "-m", "tests.ops.kill_stages", str(tmp_path / "calls.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    ends = json.loads(done.stdout.splitlines()[-1])
    assert ends == [-signal.SIGKILL] * len(calls), done.stderr
    leftovers = 0
    for call in calls:
        out = Path(call["out"])
        leftovers += len(list(out.rglob(".*.tmp")))
        sweep(out)
        go(chain, call["stage"], out)
        assert files_of(out) == files_of(chain / call["stage"]), f"{call['stage']} killed at file {call['at']}"
    assert leftovers >= len(calls) / 2, "the kills came at the wrong moment"


def kill_points(chain: Path, name: str, tmp_path: Path) -> list[int]:
    """Numbers of the files that a stage publishes: the first, one in the middle, the last."""
    published: list[Any] = []
    replace = os.replace
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", lambda *paths: (published.append(paths), replace(*paths)))
        go(chain, name, tmp_path / "count")
    shutil.rmtree(tmp_path / "count")
    return sorted({0, len(published) // 2, len(published) - 1})


class Inline:
    """A pool of processes as far as pickling goes, in this one."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __enter__(self) -> "Inline":
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def submit(self, work: Callable[[str], None], name: str) -> Future:
        future: Future = Future()
        future.set_result(pickle.loads(pickle.dumps(work))(name))
        return future

    def shutdown(self, **_: Any) -> None:
        pass


@pytest.mark.parametrize("name", DIVIDED)
def test_a_stage_divided_among_processes_ends_with_the_same_bytes(
    chain: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops.pool.ProcessPoolExecutor", Inline)
    go(chain, name, tmp_path / name, Execution(threads=1, num_processes=2))
    assert files_of(tmp_path / name) == files_of(chain / name)


def test_the_chain_drops_and_keeps(chain: Path) -> None:
    """The pages above do what they are there for."""
    reasons = {
        reason
        for name in ("deduplicate", "decontaminate")
        for mark in (chain / name / "marks").iterdir()
        for reason in json.loads(mark.read_text())["dropped"]
    }
    assert reasons == {"exact_duplicate", "near_duplicate", "contaminated"}
