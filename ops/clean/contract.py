"""The contract between a cleaner and a document: no formula, code or link is changed, added, repeated or moved.

Each is kept exactly, or its whole paragraph is listed as dropped. Whatever a cleaner returns is held against this
before anything is restored, so that a corrupted formula cannot pass.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ops.clean.document import ProtectedDocument, Verdict

LARGEST_GROWTH = 1.5
"""A rewritten paragraph may be at most so many times as long as it was, plus `GROWTH_CHARS`."""
GROWTH_CHARS = 80
_DELIMITERS = re.compile(r"(?<!\\)\$|\\[(\[]|\\begin\b|</?math\b|\\(?:frac|sum|int|sqrt|alpha|mathbb|left)\b")
_BRACKETS = re.compile(r"[⟦⟧]")


class ContractViolation(Exception):
    """A cleaner's output that is rejected; `reason` is one of few and becomes a counter."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, kw_only=True)
class DroppedParagraph:
    """A paragraph that a cleaner left out, and the formulas that went with it."""

    index: int
    reason: str
    text: str
    formulas: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class CleanedDocument:
    """A document after cleaning."""

    text: str
    formulas: list[dict[str, Any]]
    """The formulas kept, each with its `index` among the document's and its offsets in `text`."""
    dropped: list[DroppedParagraph] = field(default_factory=list)
    drop_reason: str | None = None
    """Not None: the whole document goes."""
    drop_detail: str = ""


def apply(document: ProtectedDocument, formulas: list[Mapping[str, Any]], verdict: Verdict) -> CleanedDocument:
    """Check a cleaner's verdict and restore what was protected.

    Raises:
        ContractViolation: when the verdict does not fit the document, or touches what is protected.
    """
    if len(verdict.decisions) != len(document.paragraphs):
        raise ContractViolation(
            "paragraph_count", f"{len(document.paragraphs)} paragraphs, {len(verdict.decisions)} decisions"
        )
    kept: list[str] = []
    dropped: list[DroppedParagraph] = []
    for index, (original, decision) in enumerate(zip(document.paragraphs, verdict.decisions, strict=True)):
        if decision.keep:
            text = original if decision.text is None else decision.text
            check_paragraph(document, original, text)
            if text.strip():
                kept.append(text)
                continue
        names = document.placeholder.findall(original)
        dropped.append(
            DroppedParagraph(
                index=index,
                reason=decision.reason or "empty",
                text=_restore(document, formulas, original)[0],
                formulas=tuple(number for name in names for number in document.spans[name].formulas),
            )
        )
    text, placed = _restore(document, formulas, "\n\n".join(kept))
    lost = {number for paragraph in dropped for number in paragraph.formulas}
    if len(placed) + len(lost) != len(formulas):
        raise ContractViolation("formula_lost", f"{len(formulas)} formulas, {len(placed)} kept, {len(lost)} dropped")
    return CleanedDocument(
        text=text,
        formulas=placed,
        dropped=dropped,
        drop_reason=verdict.drop_reason,
        drop_detail=verdict.drop_detail,
    )


def check_paragraph(document: ProtectedDocument, original: str, text: str) -> None:
    """Hold one paragraph as a cleaner returned it against the one it was given.

    Raises:
        ContractViolation: when a placeholder was lost, added, repeated or moved, when text outside placeholders looks
            like new mathematics, or when the paragraph grew beyond bounds.
    """
    if text == original:
        return
    before, after = document.placeholder.findall(original), document.placeholder.findall(text)
    if before != after:
        missing = [name for name in before if name not in after]
        unknown = [name for name in after if name not in before]
        reason = "placeholder_lost" if missing else "placeholder_invented" if unknown else "placeholder_moved"
        raise ContractViolation(reason, ", ".join(missing or unknown or after)[:200])
    outside_before, outside_after = document.placeholder.sub("", original), document.placeholder.sub("", text)
    if len(_BRACKETS.findall(outside_after)) > len(_BRACKETS.findall(outside_before)):
        raise ContractViolation("placeholder_altered", outside_after[:200])
    if len(_DELIMITERS.findall(outside_after)) > len(_DELIMITERS.findall(outside_before)):
        raise ContractViolation("formula_invented", outside_after[:200])
    if len(outside_after) > LARGEST_GROWTH * len(outside_before) + GROWTH_CHARS:
        raise ContractViolation("grown", f"{len(outside_before)} characters became {len(outside_after)}")
    if "\n\n" in text.strip("\n"):
        raise ContractViolation("paragraph_split", text[:200])


def _restore(
    document: ProtectedDocument, formulas: list[Mapping[str, Any]], text: str
) -> tuple[str, list[dict[str, Any]]]:
    pieces: list[str] = []
    placed: list[dict[str, Any]] = []
    length = position = 0
    for match in document.placeholder.finditer(text):
        before = text[position : match.start()]
        pieces.append(before)
        length += len(before)
        span = document.spans[match.group()]
        search = 0
        for number in span.formulas:
            formula = formulas[number]
            whole = ("$$" if formula["display"] else "$") + formula["latex"] + ("$$" if formula["display"] else "$")
            search = span.text.index(whole, search)
            placed.append({**formula, "index": number, "start": length + search, "end": length + search + len(whole)})
            search += len(whole)
        pieces.append(span.text)
        length += len(span.text)
        position = match.end()
    pieces.append(text[position:])
    return "".join(pieces), placed
