"""Tokenization end to end beside the tokenizer alone, in one process, and datatrove's step on the same corpus."""

import json
import random
import shutil
import time
from pathlib import Path

import pyarrow.parquet as pq

from ops.stage import Execution
from ops.tokenize import TokenizeConfig
from ops.tokenize.run import run
from ops.tokenizer import TokenizerConfig, TrainBPE
from ops.tokenizer.files import load_tokenizer
from ops.tokenizer.run import run as run_tokenizer
from tests.benchmarks.peer import datatrove
from tests.ops.corpora import corpus_row, make_texts, write_corpus

DOCUMENTS = 4_000
REPEATS = 4
BATCH = 1_000
"""Documents of a call of `encode_batch`."""


def _documents() -> list[str]:
    """Documents of about 4 kB, as mathematical pages have."""
    sentences = make_texts(20_000, seed=3)
    rng = random.Random(0)
    return ["\n\n".join(rng.choices(sentences, k=rng.randint(1, 20))) for _ in range(DOCUMENTS)]


def bench_tokenize(tmp_path: Path) -> None:
    texts = _documents()
    rows = [corpus_row(number, text) for number, text in enumerate(texts)]
    corpus = write_corpus(tmp_path / "corpus", [rows[: DOCUMENTS // 2], rows[DOCUMENTS // 2 :]])
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    run_tokenizer(TokenizerConfig(source=TrainBPE(vocab_size=4096)), {"corpus": [corpus]}, folder, Execution())
    loaded = load_tokenizer(folder)
    seconds: dict[str, list[float]] = {"encode_batch alone": [], "ops.tokenize": []}
    encoded = 0
    for number in range(REPEATS):
        encoded = 0
        start = time.perf_counter()
        for at in range(0, len(texts), BATCH):
            encoded += sum(len(encoding.ids) for encoding in loaded.tokenizer.encode_batch(texts[at : at + BATCH]))
        seconds["encode_batch alone"].append(time.perf_counter() - start)
        out = tmp_path / f"tokens-{number}"
        out.mkdir()
        start = time.perf_counter()
        result = run(TokenizeConfig(), {"corpus": [corpus], "tokenizer": [folder]}, out, Execution())
        seconds["ops.tokenize"].append(time.perf_counter() - start)
        assert result.counts["tokens"] == encoded + len(texts)
        assert pq.read_metadata(out / "documents.parquet").num_rows == len(texts)
        shutil.rmtree(out)
    print(f"\ntokenization of {DOCUMENTS} documents, {encoded:,} tokens, best of {REPEATS}")
    best = {name: min(values) for name, values in seconds.items()}
    for name, value in best.items():
        share = best["encode_batch alone"] / value
        print(f"  {name:<22}{encoded / value / 1e6:>7.3f} M tokens/s{100 * share:>7.0f} %")
    payload = encoded + len(texts)
    eos = json.loads((folder / "tokenizer_config.json").read_text())["eos_token"]
    runs = [
        datatrove(
            "tokenize",
            tmp_path / f"datatrove-{number}",
            corpus=corpus,
            tokenizer=folder / "tokenizer.json",
            eos_token=eos,
            batch_size=10_000,
        )
        for number in range(REPEATS)
    ]
    assert all(result["bytes"] == 2 * payload for result in runs), "datatrove wrote other tokens"
    value = min(result["seconds"]["tokenize"][0] for result in runs)
    print(
        f"  {'datatrove':<22}{encoded / value / 1e6:>7.3f} M tokens/s{100 * best['encode_batch alone'] / value:>7.0f} %"
        f"   ops.tokenize is {value / best['ops.tokenize']:.1f}x as fast"
    )
