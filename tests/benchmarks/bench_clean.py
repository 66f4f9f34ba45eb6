"""A small real model as the cleaner: what `select` finds of boilerplate on real pages, what the contract makes of its
answers to `rewrite`, tokens per second. In this process (transformers), and in vLLM's environment where there is one.

The truth is the choice of main content at extraction: pages are extracted whole, and a paragraph that the extracted
main content lacks is boilerplate. The rules are measured beside the model.
"""

import gzip
import hashlib
import json
import os
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import ops.extract.page
from ops.clean.calls import Cache, Calls
from ops.clean.chunks import make_chunks
from ops.clean.cleaner import clean_documents
from ops.clean.config import CleanConfig, LlmCleaner
from ops.clean.document import ProtectedDocument, protect
from ops.clean.engines import Likelihood, Reading, make_engine
from ops.clean.model import Model
from ops.clean.prompts import OPTIONS
from ops.clean.rules import Rules
from ops.clean.select import reading, worth_asking
from ops.extract.page import Page, extract_page
from ops.identity import encode
from ops.stage import Execution
from tests.fakes.engines import LENIENT
from tests.ops.mathbench import BENCH
from tests.ops.smollm2 import ABSENT, CONFIG, MISSING, folder, save
from tests.serve.environment import PYTHON, work

PARAGRAPHS = int(os.environ.get("CLEAN_BENCH_PARAGRAPHS", "200"))
PAGES = int(os.environ.get("CLEAN_BENCH_PAGES", "4"))
"""Pages to rewrite, of at most `CHARS` characters, so that a page is one or two chunks."""
CHARS = 1500
SELECT = replace(CONFIG, mode="select", prompt="", chunk_tokens=160)
REWRITE = replace(CONFIG, sampling=replace(CONFIG.sampling, max_tokens=384), chunk_tokens=256)


@dataclass(frozen=True, kw_only=True)
class Paragraph:
    reading: Reading
    key: str
    is_boilerplate: bool
    rules_drop: bool


def _rows() -> list[dict[str, Any]]:
    with gzip.open(BENCH / "dev.jsonl.gz", "rt") as lines:
        return [json.loads(line) for line in lines]


def _document(name: str, page: Page) -> dict[str, Any]:
    return {"doc_id": name, "title": None, "text": page.text, "formulas": [asdict(each) for each in page.formulas]}


def _plain(document: ProtectedDocument, paragraph: str) -> str:
    return re.sub(r"\s+", " ", document.placeholder.sub("F", paragraph)).strip()


def _protected(row: dict[str, Any]) -> ProtectedDocument:
    return protect(row["doc_id"], row["title"], row["text"], row["formulas"])


def _paragraphs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Paragraph]:
    """Every paragraph with words of every page, taken whole."""
    engine = make_engine(CONFIG, Execution(source=str(folder())))
    for row in _rows():
        main = _protected(_document(row["id"], extract_page(row["html"])))
        with monkeypatch.context() as patched:
            patched.setattr(ops.extract.page, "select_main", lambda tree: tree.root)
            whole = _protected(_document(row["id"], extract_page(row["html"])))
        kept = {_plain(main, paragraph) for paragraph in main.paragraphs}
        (verdict,) = Rules(LENIENT).clean([whole])
        for index, (paragraph, decision) in enumerate(zip(whole.paragraphs, verdict.decisions, strict=True)):
            if worth_asking(whole, paragraph):
                (chunk, *_) = make_chunks(whole, [(index, paragraph)], SELECT.chunk_tokens, engine.count_tokens)
                yield Paragraph(
                    reading=reading(whole, chunk.text, SELECT),
                    key=hashlib.sha256(f"{row['id']} {index}".encode()).hexdigest(),
                    is_boilerplate=_plain(whole, paragraph) not in kept,
                    rules_drop=not decision.keep,
                )


def _measures(dropped: Sequence[bool], truth: Sequence[bool]) -> str:
    both = sum(one and other for one, other in zip(dropped, truth, strict=True))
    return (
        f"{sum(dropped)} dropped, precision {both / max(1, sum(dropped)):.3f}, recall {both / max(1, sum(truth)):.3f}"
    )


def _ranked(log_odds: Sequence[float], truth: Sequence[bool]) -> float:
    """Share of the pairs of boilerplate and article in which the article scores higher."""
    low = [score for score, is_boilerplate in zip(log_odds, truth, strict=True) if is_boilerplate]
    high = [score for score, is_boilerplate in zip(log_odds, truth, strict=True) if not is_boilerplate]
    return sum(one < other for one in low for other in high) / max(1, len(low) * len(high))


def _report_select(name: str, chosen: Sequence[Paragraph], found: Sequence[Any], tokens: int, seconds: float) -> None:
    *own, nothing = [float(scores[0] - scores[1]) for scores in found]
    log_odds = [score - nothing for score in own]
    truth, rules = [each.is_boilerplate for each in chosen], [each.rules_drop for each in chosen]
    dropped = [score < SELECT.threshold for score in log_odds]
    print(
        f"select, {name}: {len(chosen)} paragraphs, {sum(truth)} boilerplate: {_measures(dropped, truth)}, pairs in "
        f"order {_ranked(log_odds, truth):.3f}; against the rules: {_measures(dropped, rules)}, pairs in order "
        f"{_ranked(log_odds, rules):.3f}; {tokens} tokens in {seconds:.1f} s = {tokens / seconds:.1f} tokens/s"
    )


def _report_rewrite(name: str, counts: Counter[str], speed: dict[str, float]) -> None:
    reasons = {key.removeprefix("rejected "): count for key, count in counts.items() if key.startswith("rejected ")}
    print(f"rewrite, {name}: {counts['chunks']} chunks, {counts['accepted']} accepted, rejected {reasons}; {speed}")


def _counts(outcomes: Sequence[Any]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for outcome in outcomes:
        get = outcome.__getitem__ if isinstance(outcome, dict) else lambda name, outcome=outcome: getattr(outcome, name)
        counts.update(chunks=get("num_chunks"), accepted=get("accepted_chunks"))
        counts.update(f"rejected {reason}" for reason in get("rejected_chunks"))
    return counts


@pytest.mark.skipif(bool(MISSING), reason=ABSENT)
@pytest.mark.skipif(not BENCH.exists(), reason="needs the real pages of ../shared/data/mathbench")
def bench_small_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paragraphs = list(_paragraphs(monkeypatch))
    truth = [each.is_boilerplate for each in paragraphs]
    print(f"\nrules: {len(paragraphs)} paragraphs, {sum(truth)} boilerplate: ", end="")
    print(_measures([each.rules_drop for each in paragraphs], truth))
    chosen = sorted(paragraphs, key=lambda each: each.key)[:PARAGRAPHS]
    empty = protect("empty", None, "", [])
    nothing = reading(empty, "", SELECT)
    readings = [each.reading for each in chosen] + [nothing]
    documents = [_document(row["id"], extract_page(row["html"])) for row in _rows()]
    short = [row for row in documents if 300 < len(row["text"]) <= CHARS and row["formulas"]][:PAGES]

    checkpoint = save(tmp_path / "smollm2") if PYTHON.exists() else None
    if checkpoint is not None:
        answer = work({"clean": _job(checkpoint, REWRITE, readings, {"rewrite": short})}, tmp_path)
        found = [each["log_likelihoods"] for each in answer["likelihoods"]]
        tokens = sum(each["tokens_in"] for each in answer["likelihoods"])
        _report_select("vLLM", chosen, found, tokens, answer["score_seconds"])
        _report_rewrite("vLLM", _counts(answer["rewrite"]["outcomes"]), answer["rewrite"]["speed"])
    engine = make_engine(SELECT, Execution(source=str(folder())))
    started = time.perf_counter()
    results = [result for _, result in engine.score(readings, OPTIONS)]
    seconds = time.perf_counter() - started
    assert all(isinstance(result, Likelihood) for result in results)
    scores = [result.log_likelihoods for result in results if isinstance(result, Likelihood)]
    tokens = sum(result.tokens_in for result in results if isinstance(result, Likelihood))
    _report_select("transformers", chosen, scores, tokens, seconds)
    rules = Rules(LENIENT)
    calls = Calls(REWRITE, make_engine(REWRITE, Execution(source=str(folder()))), Cache(tmp_path / "calls"))
    outcomes = clean_documents(Model(REWRITE, rules, calls), rules, short)
    _report_rewrite("transformers", _counts(outcomes), calls.speed.as_dict())


def _job(checkpoint: Path, config: LlmCleaner, readings: Sequence[Reading], documents: Any) -> dict[str, Any]:
    return {
        "config": encode(CleanConfig(rules=LENIENT, llm=replace(config, engine="vllm"))),
        "folder": str(checkpoint),
        "texts": [],
        "readings": [asdict(each) for each in readings],
        "options": list(OPTIONS),
        "documents": documents,
    }
