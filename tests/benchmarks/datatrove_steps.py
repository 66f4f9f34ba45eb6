"""What the benchmarks ask of datatrove, in the environment that has it: `python datatrove_steps.py STEP SETTINGS.json`.

Imports nothing of this project. Its last line is one JSON object; seconds are those of the steps, without imports.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from datatrove.executor.local import LocalPipelineExecutor  # pyright: ignore[reportMissingImports]
from datatrove.pipeline.decont.n_grams import (  # pyright: ignore[reportMissingImports]
    NGramsDecontConfig,
    NGramsDecontFilter,
    NGramsDecontIndexer,
)
from datatrove.pipeline.dedup.minhash import (  # pyright: ignore[reportMissingImports]
    MinhashConfig,
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.readers import ParquetReader  # pyright: ignore[reportMissingImports]
from datatrove.pipeline.tokens import DocumentTokenizer  # pyright: ignore[reportMissingImports]
from datatrove.pipeline.writers.parquet import ParquetWriter  # pyright: ignore[reportMissingImports]
from datatrove.utils.word_tokenizers import (  # pyright: ignore[reportMissingImports]
    WordTokenizer,
    load_word_tokenizer,
)


class SplitAtSpaces(WordTokenizer):
    """The cheapest words there are."""

    def word_tokenize(self, text: str) -> list[str]:
        return text.split()

    def sent_tokenize(self, text: str) -> list[str]:
        raise NotImplementedError

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        raise NotImplementedError


def words_of(settings: dict[str, Any]) -> WordTokenizer:
    words = SplitAtSpaces() if settings["words"] == "spaces" else load_word_tokenizer("eng")
    words.word_tokenize("Load what there is to load.")
    return words


def reader(settings: dict[str, Any]) -> ParquetReader:
    return ParquetReader(settings["corpus"], text_key="text", id_key="doc_id")


def timed(seconds: dict[str, list[float]], name: str, work: Callable[[], object]) -> None:
    """Wall and CPU seconds of `work`, with its children."""
    wall, before = time.perf_counter(), os.times()
    work()
    after = os.times()
    seconds[name] = [time.perf_counter() - wall, sum(after[:4]) - sum(before[:4])]


def pipeline(settings: dict[str, Any], name: str, steps: list[Any], tasks: int = 1) -> Callable[[], object]:
    logs = str(Path(settings["out"]) / "logs" / name)
    return LocalPipelineExecutor(pipeline=steps, tasks=tasks, workers=1, logging_dir=logs).run


def kept_ids(folder: Path) -> list[str]:
    import pyarrow.parquet as pq

    return [doc_id for path in sorted(folder.rglob("*.parquet")) for doc_id in pq.read_table(path)["id"].to_pylist()]


def dedup(settings: dict[str, Any]) -> dict[str, Any]:
    out = Path(settings["out"])
    config, words = MinhashConfig(), words_of(settings)
    seconds: dict[str, list[float]] = {}
    signatures, buckets, removed = (str(out / name) for name in ("signatures", "buckets", "removed"))
    signature = MinhashDedupSignature(output_folder=signatures, config=config, language=words)
    timed(seconds, "signatures", pipeline(settings, "signatures", [reader(settings), signature]))
    bucket = MinhashDedupBuckets(input_folder=signatures, output_folder=buckets, config=config)
    timed(seconds, "buckets", pipeline(settings, "buckets", [bucket], tasks=config.num_buckets))
    cluster = MinhashDedupCluster(input_folder=buckets, output_folder=removed, config=config)
    timed(seconds, "cluster", pipeline(settings, "cluster", [cluster]))
    steps = [reader(settings), MinhashDedupFilter(input_folder=removed), ParquetWriter(str(out / "kept"))]
    timed(seconds, "filter", pipeline(settings, "filter", steps))
    return {"seconds": seconds, "kept": kept_ids(out / "kept")}


def tokenize(settings: dict[str, Any]) -> dict[str, Any]:
    step = DocumentTokenizer(
        output_folder=str(Path(settings["out"]) / "tokens"),
        tokenizer_name_or_path=settings["tokenizer"],
        eos_token=settings["eos_token"],
        batch_size=settings["batch_size"],
        shuffle_documents=False,
    )
    seconds: dict[str, list[float]] = {}
    timed(seconds, "tokenize", pipeline(settings, "tokenize", [reader(settings), step]))
    payload = sum(path.stat().st_size for path in (Path(settings["out"]) / "tokens").glob("*.ds"))
    return {"seconds": seconds, "bytes": payload}


def decontaminate(settings: dict[str, Any]) -> dict[str, Any]:
    """Query n-grams too: without them its default finds only what runs into the answer."""
    out = Path(settings["out"])
    words = words_of(settings)
    config = NGramsDecontConfig(find_query_ngrams=True)
    (out / "index").mkdir(parents=True)
    # Its own n-grams of items that are given; made past the check for the package that would download them.
    indexer = object.__new__(NGramsDecontIndexer)
    indexer.__init__(str(out / "index"), config=config, language=words)
    items = json.loads(Path(settings["items"]).read_text())

    def index() -> None:
        hashes = {value for item in items for value in indexer.compute_hashes(item["answer"], item["question"])}
        np.array(sorted(hashes), dtype=config.hash_config.np_descr).tofile(out / "index" / "items.index.hashes")

    seconds: dict[str, list[float]] = {}
    timed(seconds, "index", index)
    check = NGramsDecontFilter(str(out / "index"), config=config, language=words)
    timed(seconds, "filter", pipeline(settings, "filter", [reader(settings), check, ParquetWriter(str(out / "kept"))]))
    return {"seconds": seconds, "kept": kept_ids(out / "kept")}


if __name__ == "__main__":
    result = {"dedup": dedup, "tokenize": tokenize, "decontaminate": decontaminate}[sys.argv[1]](
        json.loads(Path(sys.argv[2]).read_text())
    )
    print("\n" + json.dumps(result))
