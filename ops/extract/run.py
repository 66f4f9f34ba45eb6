"""The stage: PAGES parts to DOCUMENTS parts."""

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from ops.extract.config import ExtractConfig
from ops.extract.lynx import lynx_version
from ops.extract.page import Page, PageRejected, extract_page
from ops.parts import Batch, Row, part_paths, read_rows, run_parts
from ops.schema import DOCUMENTS, PROVENANCE
from ops.stage import Check, Execution, Inputs, StageResult, one, reconcile

_PROVENANCE = [field.name for field in PROVENANCE]
NUM_SAMPLES = 3
SAMPLE_CHARS = 400
LARGEST_REPLACED = 0.05
"""A page with a larger share of characters that could not be decoded is dropped as `decode_failed`."""


def observe(config: ExtractConfig, execution: Execution) -> dict[str, str]:
    """The version of lynx, when it renders.

    Raises:
        InputError: when lynx is to render and is not installed.
    """
    return {"lynx": lynx_version()} if config.renderer == "lynx" else {}


def run(config: ExtractConfig, inputs: Inputs, out: Path, execution: Execution) -> StageResult:
    """Extract every page.

    Drops: `not_html`, `too_large`, `too_many_nodes`, `too_many_formulas`, `decode_failed`, `empty_text`;
    with lynx `lynx_failed`.

    Raises:
        InputError: when the input is absent or a part cannot be read.
    """
    source = one(inputs, "pages")
    totals = run_parts(
        source,
        out,
        DOCUMENTS,
        partial(_extract_batch, config),
        stage="extract",
        batch_rows=32,
        num_processes=execution.num_processes,
    )
    formulas = totals.counts.get("formulas", 0)
    carriers = {
        name.removeprefix("formulas_"): count
        for name, count in totals.counts.items()
        if name.startswith("formulas_") and name != "formulas_total"
    }
    return StageResult(
        counts=totals.counts,
        dropped=totals.dropped,
        checks=[
            reconcile(totals.counts, totals.dropped),
            Check(
                name="formulas_found",
                passed=formulas > 0 or not totals.counts["in"],
                description="at least one formula was found, if there was a page",
                metadata={"formulas": formulas, "carriers": carriers},
                blocking=False,
            ),
            Check(
                name="formulas_by_carrier_add_up",
                passed=sum(carriers.values()) == formulas,
                description="every formula is counted under one carrier",
                metadata={"formulas": formulas, "carriers": sum(carriers.values())},
            ),
        ],
        summary={"carriers": carriers, "samples": _samples(source, out)},
    )


def _extract_batch(config: ExtractConfig, rows: list[Row]) -> Batch:
    batch = Batch()
    for row in rows:
        try:
            page = extract_page(row["content"], url=row["url"], content_type=_content_type(row), config=config)
        except PageRejected as error:
            batch.drop(row, error.reason, error.detail)
            continue
        if page.num_replaced > LARGEST_REPLACED * max(1, len(page.text)):
            batch.drop(row, "decode_failed", f"{page.num_replaced} characters lost as {page.encoding}")
            continue
        if len(page.text.strip()) < config.min_chars:
            batch.drop(row, "empty_text", f"{len(row['content'])} bytes, {page.counters.get('nodes', 0)} nodes")
            continue
        batch.keep(_document(row, page))
        batch.counts.update(
            {name: count for name, count in page.counters.items() if name.startswith(_COUNTED) and count}
        )
        batch.counts[f"pages_{page.kind}"] += 1
        batch.counts["characters"] += len(page.text)
        batch.counts["characters_replaced"] += page.num_replaced
    return batch


_COUNTED = ("formulas", "copies_dropped", "tables", "code_blocks")


def _content_type(row: Mapping[str, Any]) -> str | None:
    mime, charset = row["content_mime_type"], row["content_charset"]
    if charset:
        return f"{mime or 'text/html'}; charset={charset}"
    return mime


def _document(row: Mapping[str, Any], page: Page) -> Row:
    return {
        **{name: row[name] for name in _PROVENANCE},
        "title": page.title,
        "text": page.text,
        "formulas": [asdict(formula) for formula in page.formulas],
        "encoding": page.encoding,
        "num_replaced": page.num_replaced,
        "kind": page.kind,
        "declared_language": page.metadata.get("language"),
        **{name: page.metadata.get(name) for name in ("canonical_url", "author", "date")},
    }


def _samples(source: Path, out: Path) -> list[dict[str, Any]]:
    """The first documents with formulas: a piece of the page around the first formula, and of the text."""
    samples: list[dict[str, Any]] = []
    for part in part_paths(out):
        for rows in read_rows(part):
            for row in rows:
                if row["formulas"] and len(samples) < NUM_SAMPLES:
                    start = max(0, row["formulas"][0]["start"] - SAMPLE_CHARS // 2)
                    samples.append(
                        {
                            "doc_id": row["doc_id"],
                            "url": row["url"],
                            "before": _page_excerpt(source / part.name, row["doc_id"]),
                            "after": row["text"][start : start + SAMPLE_CHARS],
                        }
                    )
            if len(samples) >= NUM_SAMPLES:
                return samples
    return samples


def _page_excerpt(part: Path, doc_id: str) -> str:
    """The page's source from the middle: there is the article, the head and menus are before it."""
    for rows in read_rows(part, columns=["doc_id", "content"], batch_rows=32):
        for row in rows:
            if row["doc_id"] == doc_id:
                content: bytes = row["content"]
                middle = len(content) // 2
                return content[middle : middle + SAMPLE_CHARS].decode("utf-8", "replace")
    return ""
