"""The dataset card: front matter that `datasets` reads, and what the records say."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from ops.export_corpus.config import ExportCorpusConfig
from ops.export_corpus.shards import Content
from ops.schema import CORPUS
from ops.store.record import Record

MAX_ROWS = 20
ALL = "all"

COLUMNS = {
    "doc_id": "name of the document: hash of crawl, WARC file and offset",
    "crawl": "the crawl it was found in",
    "url": "address of the page",
    "warc_filename": "WARC file of the capture",
    "warc_record_offset": "where its record begins, bytes",
    "warc_record_length": "how long the record is, bytes, compressed",
    "title": "title of the page, null without one",
    "text": "the document: Markdown, formulas as LaTeX in `$...$` and `$$...$$`",
    "num_formulas": "formulas in `text`",
    "cleaner": "name and version of the cleaner that made `text`",
    "num_paragraphs_dropped": "paragraphs of the page that cleaning left out",
    "language": "language, ISO 639-1",
    "language_score": "its probability",
    "math_score": "quality of the mathematics, 0 to 5",
    "math_int_score": "`math_score` rounded",
    "cluster_id": "`doc_id` of the survivor of its cluster of duplicates",
    "cluster_size": "documents in that cluster, this one included",
}

LICENCE = """\
The texts are works of the authors of the pages, who keep their rights; nothing here licenses them. They were collected
by Common Crawl, whose [terms of use](https://commoncrawl.org/terms-of-use) apply. `url` and the WARC columns name the
source of each document, so that one can be looked up, or taken out on request.
"""


def dataset_card(config: ExportCorpusConfig, content: Content, records: Mapping[str, Sequence[Record]]) -> str:
    """Markdown. Depends on what was written and on what the records say of content, not of time or place."""
    names = configurations(config, content)
    default = next(iter(names), ALL)
    sections = [
        front_matter(content, names),
        f"# {config.name}\n",
        "Mathematics from web pages: extracted with formulas as LaTeX, cleaned, scored, deduplicated and kept clean of "
        "evaluation items by Stillhouse.\n",
        "```python\nfrom datasets import load_dataset\n\n"
        f'dataset = load_dataset("PATH", "{default}", split="train")\n```\n',
        "## Content\n",
        table(
            ("configuration", "score at least", "documents", "characters", "formulas"),
            [(f"`{name}`", least, *_sums(content, scores)) for name, (least, scores) in names.items()],
        ),
        *_counted("Crawls", "crawl", content.crawls),
        *_counted("Languages", "language", content.languages),
        *_counted("Sources", "host", content.hosts),
        "## Columns\n",
        table(
            ("column", "type", "meaning"),
            [(f"`{field.name}`", dtype(field.type), COLUMNS[field.name]) for field in CORPUS],
        ),
    ]
    stages = [(name, found) for name, found in records.items() if found]
    if stages:
        sections += ["## What was left out, and why\n", *_drops(stages), "## Origin\n", *_origin(stages)]
    return "\n".join([*sections, "## Rights\n", LICENCE])


def configurations(config: ExportCorpusConfig, content: Content) -> dict[str, tuple[int, list[int]]]:
    """Name -> (least score, scores that have files); those without a document are left out. The default comes first."""
    wanted = {ALL: 0, **{f"{least}plus": least for least in config.least_scores}}
    found: dict[str, tuple[int, list[int]]] = {}
    for name, least in wanted.items():
        scores = [score for score in sorted(content.files) if score >= least]
        if scores:
            found[name] = (least, scores)
    return found


def front_matter(content: Content, names: Mapping[str, tuple[int, list[int]]]) -> str:
    """YAML between dashes. JSON strings are YAML strings."""
    total = sum(content.documents.values())
    lines = ["---", "pretty_name: Stillhouse", "license: other", "license_name: common-crawl-terms-of-use"]
    lines += ["license_link: https://commoncrawl.org/terms-of-use", "task_categories:", "- text-generation"]
    lines += (
        ["language:", *(f"- {json.dumps(code)}" for code in sorted(content.languages))] if content.languages else []
    )
    lines += ["tags:", "- mathematics", "- latex", "- common-crawl", "size_categories:", f"- {size_category(total)}"]
    lines.append("configs:" if names else "configs: []")
    for index, (name, (_, scores)) in enumerate(names.items()):
        lines += [f"- config_name: {name}", "  data_files:", "  - split: train", "    path:"]
        lines += [f"    - data/score-{score}/*.parquet" for score in scores]
        lines += ["  default: true"] if index == 0 else []
    lines.append("dataset_info:" if names else "dataset_info: []")
    for name, (_, scores) in names.items():
        documents, size = (sum(counted[score] for score in scores) for counted in (content.documents, content.bytes))
        lines += [f"- config_name: {name}", "  features:"]
        for field in CORPUS:
            lines += [f"  - name: {field.name}", f"    dtype: {dtype(field.type)}"]
        lines += ["  splits:", "  - name: train", f"    num_bytes: {size}", f"    num_examples: {documents}"]
        lines += [f"  download_size: {sum(content.file_bytes[score] for score in scores)}", f"  dataset_size: {size}"]
    return "\n".join([*lines, "---", ""])


def dtype(kind: pa.DataType) -> str:
    """The name of an Arrow type in `datasets`' features."""
    return {"float": "float32", "double": "float64"}.get(str(kind), str(kind))


def size_category(documents: int) -> str:
    """As the Hugging Face hub has them."""
    names = ["n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B", "1B<n<10B"]
    index = sum(documents >= 10**power for power in range(3, 10))
    return names[index]


def _sums(content: Content, scores: Sequence[int]) -> list[int]:
    return [
        sum(counted[score] for score in scores) for counted in (content.documents, content.characters, content.formulas)
    ]


def _counted(title: str, label: str, counted: Mapping[str, int]) -> list[str]:
    if not counted:
        return []
    rows: list[Sequence[Any]] = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    rest = sum(count for _, count in rows[MAX_ROWS:])
    shown = [*rows[:MAX_ROWS], *([(f"{len(rows) - MAX_ROWS:,} others", rest)] if rest else [])]
    return [f"### {title}\n", table((label, "documents"), shown)]


def _drops(stages: Sequence[tuple[str, Sequence[Record]]]) -> list[str]:
    rows = []
    for name, records in stages:
        taken, kept = (sum(record.counts.get(key, 0) for record in records) for key in ("in", "out"))
        reasons: dict[str, int] = {}
        for record in records:
            for reason, count in record.dropped.items():
                reasons[reason] = reasons.get(reason, 0) + count
        rows.append((f"`{name}`", taken, kept, ", ".join(f"{key} {reasons[key]:,}" for key in sorted(reasons))))
    return [table(("stage", "in", "out", "dropped"), rows)]


def _origin(stages: Sequence[tuple[str, Sequence[Record]]]) -> list[str]:
    rows = []
    for name, records in stages:
        versions = sorted({record.code_version for record in records})
        digests = ", ".join(f"`{record.digest[:12]}`" for record in records[:4])
        rows.append((f"`{name}`", len(records), ", ".join(f"`{version}`" for version in versions), digests))
    return [table(("artefact", "partitions", "code", "content (the first)"), rows)]


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table; numbers with thousands set apart."""
    cells = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows]
    lines = [list(header), ["---"] * len(header), *cells]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"
