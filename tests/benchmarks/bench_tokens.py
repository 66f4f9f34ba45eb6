"""Tokenization end to end beside the tokenizer alone, in one process, and datatrove's step on the same corpus."""

import importlib.util
import json
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq

from ops.stage import Execution
from ops.tokenize import TokenizeConfig
from ops.tokenize.run import run
from ops.tokenizer import TokenizerConfig, TrainBPE
from ops.tokenizer.files import load_tokenizer
from ops.tokenizer.run import run as run_tokenizer
from tests.benchmarks.peer import datatrove
from tests.ops.corpora import corpus_row, write_corpus

PACKAGES = ("numpy", "scipy", "sympy", "statsmodels", "mpmath")
LEAST_CHARACTERS = 300
REPEATS = 4
BATCH = 1_000
"""Documents of a call of `encode_batch`."""
Seconds = tuple[float, float]


def _documents() -> list[str]:
    """Docstrings of installed packages: mathematics in LaTeX, code, tables and prose, each once."""
    texts: dict[str, None] = {}
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        assert spec is not None
        assert spec.origin is not None
        for path in sorted(Path(spec.origin).parent.rglob("*.py")):
            found = re.findall(r'"""(.*?)"""', path.read_text(encoding="utf-8", errors="replace"), re.DOTALL)
            texts |= dict.fromkeys(text for text in found if len(text) > LEAST_CHARACTERS)
    return list(texts)


def _timed(work: Callable[[], object]) -> Seconds:
    """Wall and CPU seconds, of all threads."""
    wall, before = time.perf_counter(), os.times()
    work()
    after = os.times()
    return time.perf_counter() - wall, sum(after[:4]) - sum(before[:4])


def bench_tokenize(tmp_path: Path) -> None:
    texts = _documents()
    rows = [corpus_row(number, text) for number, text in enumerate(texts)]
    corpus = write_corpus(tmp_path / "corpus", [rows[: len(rows) // 2], rows[len(rows) // 2 :]])
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    run_tokenizer(TokenizerConfig(source=TrainBPE(vocab_size=4096)), {"corpus": [corpus]}, folder, Execution())
    tokenizer = load_tokenizer(folder).tokenizer
    eos = json.loads((folder / "tokenizer_config.json").read_text())["eos_token"]
    encoded: list[int] = []

    def alone() -> None:
        batches = (texts[at : at + BATCH] for at in range(0, len(texts), BATCH))
        encoded.append(sum(len(encoding.ids) for batch in batches for encoding in tokenizer.encode_batch(batch)))

    def ours(out: Path) -> None:
        result = run(TokenizeConfig(), {"corpus": [corpus], "tokenizer": [folder]}, out, Execution())
        assert result.counts["tokens"] == encoded[0] + len(texts)

    seconds: dict[str, list[Seconds]] = {"encode_batch alone": [], "ops.tokenize": []}
    for number in range(REPEATS):
        seconds["encode_batch alone"].append(_timed(alone))
        out = tmp_path / f"tokens-{number}"
        out.mkdir()
        seconds["ops.tokenize"].append(_timed(lambda out=out: ours(out)))
        assert pq.read_metadata(out / "documents.parquet").num_rows == len(texts)
        shutil.rmtree(out)
    print(f"\ntokenization of {len(texts)} documents, {encoded[0]:,} tokens, the best of {REPEATS}")
    print(f"  {'':<22}{'tokens/s':>14}{'':>8}{'tokens/CPU s':>14}")
    best = {name: _best(values) for name, values in seconds.items()}
    for name, value in best.items():
        _show(name, value, best["encode_batch alone"], encoded[0])
    peer: list[Seconds] = []
    for number in range(REPEATS):
        result = datatrove(
            "tokenize",
            tmp_path / f"datatrove-{number}",
            corpus=corpus,
            tokenizer=folder / "tokenizer.json",
            eos_token=eos,
            batch_size=10_000,
        )
        assert result["bytes"] == 2 * (encoded[0] + len(texts)), "datatrove wrote other tokens"
        peer.append(tuple(result["seconds"]["tokenize"]))
    _show("datatrove", _best(peer), best["encode_batch alone"], encoded[0])
    wall, cpu = (theirs / mine for theirs, mine in zip(_best(peer), best["ops.tokenize"], strict=True))
    print(f"  ops.tokenize / datatrove: {wall:.1f}x, in CPU seconds {cpu:.1f}x")


def _best(values: list[Seconds]) -> Seconds:
    wall, cpu = zip(*values, strict=True)
    return min(wall), min(cpu)


def _show(name: str, value: Seconds, reference: Seconds, tokens: int) -> None:
    columns = "".join(
        f"{tokens / mine:>14,.0f}{100 * theirs / mine:>6.0f} %" for mine, theirs in zip(value, reference, strict=True)
    )
    print(f"  {name:<22}{columns}")
