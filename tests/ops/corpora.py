"""Small corpora for the tests of the token stages."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ops.schema import CORPUS

SUBJECTS = ["The matrix", "A group", "The integral", "Every polynomial", "The function f", "A random variable"]
VERBS = ["is", "satisfies", "equals", "converges to", "can be written as", "has the derivative"]
OBJECTS = [
    r"$\frac{1}{2}$",
    r"$$\int_0^1 x^{2}\,dx = \frac{1}{3}$$",
    r"\(\alpha + \beta\)",
    "the sum of 12345 terms",
    "`np.linalg.norm(x)`",
    "a limit (see Theorem 7)",
    "naïve – “quoted” – 数学 🙂",
    "\n\n    for i in range(10):\n        print(i)\n",
]


def make_texts(count: int, *, seed: int = 0, sentences: int = 12) -> list[str]:
    rng = random.Random(seed)
    return [
        " ".join(
            f"{rng.choice(SUBJECTS)} {rng.choice(VERBS)} {rng.choice(OBJECTS)}."
            for _ in range(rng.randrange(1, sentences))
        )
        for _ in range(count)
    ]


def corpus_row(number: int, text: str, **changes: Any) -> dict[str, Any]:
    row = {
        "doc_id": f"{number:016x}",
        "crawl": "CC-MAIN-2024-10",
        "url": f"https://www.site-{number % 3}.example/page/{number}",
        "warc_filename": "crawl-data/CC-MAIN-2024-10/x.warc.gz",
        "warc_record_offset": 1000 * number,
        "warc_record_length": 900,
        "title": f"Page {number}",
        "text": text,
        "num_formulas": 1,
        "cleaner": "rules-1",
        "num_paragraphs_dropped": 0,
        "language": "en",
        "language_score": 0.9,
        "math_score": 3.6,
        "math_int_score": 4,
        "cluster_id": f"{number:016x}",
        "cluster_size": 1,
    }
    return row | changes


def write_corpus(directory: Path, parts: Sequence[Sequence[dict[str, Any]]]) -> Path:
    directory.mkdir(parents=True)
    for number, rows in enumerate(parts):
        table = pa.Table.from_pylist(list(rows), schema=CORPUS)
        pq.write_table(table, directory / f"part-{number:05d}.parquet")
    return directory


def text_corpus(directory: Path, texts: Sequence[str], *, num_parts: int = 2) -> Path:
    rows = [corpus_row(number, text) for number, text in enumerate(texts)]
    return write_corpus(directory, [rows[part::num_parts] for part in range(num_parts)])


def files_of(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}
