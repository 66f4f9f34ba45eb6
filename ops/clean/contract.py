"""The contract between a cleaner and a document: no formula, code or link is changed, added, repeated or moved.

Each is kept exactly, or its whole paragraph is listed as dropped. Whatever a cleaner returns is held against this
before anything is restored, so that a corrupted formula cannot pass.
"""

import bisect
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ops.clean.document import INLINE_CODE, ProtectedDocument, Verdict, fences, formula_text

LARGEST_GROWTH = 1.5
"""A rewritten paragraph may be at most so many times as long as it was, plus `GROWTH_CHARS`."""
GROWTH_CHARS = 80
_DELIMITERS = re.compile(r"(?<!\\)\$|\\[(\[]|\\(?:begin|end)\b|</?math\b|\[/?(?:i?tex|latex|math)\]|\\[a-zA-Z]{2,}")
_BRACKETS = re.compile(r"[⟦⟧]")
_DOLLAR = re.compile(r"(?<!\\)\$")
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_VERBATIM = re.compile(r"`|~{3}|<!--|<(?:pre|code|script|style|del)\b|^(?: {4}|\t)", re.MULTILINE)
_FENCED = re.compile(r"B\d+⟧\Z")
_ESCAPED = re.compile(r"(?<!\\)(?:\\\\)*\\\Z")


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


def apply(
    document: ProtectedDocument, formulas: Sequence[Mapping[str, Any]], verdict: Verdict, max_moved: float = 0.0
) -> CleanedDocument:
    """Check a cleaner's verdict and restore what was protected.

    `max_moved` is the share of the placeholders of a paragraph (with those merged into it) that may change their order.

    Raises:
        ContractViolation: when the verdict does not fit the document, or touches what is protected.
    """
    if len(verdict.decisions) != len(document.paragraphs):
        raise ContractViolation(
            "paragraph_count", f"{len(document.paragraphs)} paragraphs, {len(verdict.decisions)} decisions"
        )
    groups: list[tuple[list[int], str]] = []
    reasons: dict[int, str] = {}
    for index, decision in enumerate(verdict.decisions):
        if not decision.keep:
            reasons[index] = decision.reason or "empty"
        elif not decision.merged:
            groups.append(([index], document.paragraphs[index] if decision.text is None else decision.text))
        elif groups:
            groups[-1][0].append(index)
        else:
            raise ContractViolation("merged_into_nothing", f"paragraph {index}")
    kept: list[str] = []
    for indices, text in groups:
        before = "\n\n".join(document.paragraphs[index] for index in indices)
        check_text(document.placeholder, before, text, max_moved=max_moved)
        if text.strip():
            kept.append(text)
        else:
            reasons |= dict.fromkeys(indices, "empty")
    dropped = [_dropped(document, formulas, index, reasons[index]) for index in sorted(reasons)]
    text, placed = _restore(document, formulas, "\n\n".join(kept))
    _compare(formulas, text, placed, dropped)
    return CleanedDocument(
        text=text,
        formulas=placed,
        dropped=dropped,
        drop_reason=verdict.drop_reason,
        drop_detail=verdict.drop_detail,
    )


def check_text(placeholder: re.Pattern[str], before: str, after: str, *, max_moved: float = 0.0) -> None:
    """Hold text as a cleaner returned it against the text it stands for.

    Raises:
        ContractViolation: when a placeholder was lost, added, repeated, moved, altered, or put where it would be read
            as something else; when text outside placeholders looks like new mathematics; when it grew beyond bounds.
    """
    if after == before:
        return
    names_before, names_after = placeholder.findall(before), placeholder.findall(after)
    check_placeholders(names_before, names_after, max_moved)
    there = set(names_after)
    missing = [name for name in names_before if name not in there]
    if missing:
        raise ContractViolation("placeholder_lost", ", ".join(missing)[:200])
    check_surroundings(placeholder, before, after)
    outside_before, outside_after = placeholder.sub("", before), placeholder.sub("", after)
    if len(outside_after) > LARGEST_GROWTH * len(outside_before) + GROWTH_CHARS:
        raise ContractViolation("grown", f"{len(outside_before)} characters became {len(outside_after)}")


def check_placeholders(before: Sequence[str], after: Sequence[str], max_moved: float = 0.0) -> None:
    """Hold placeholders as they were returned against those that were given; some may be missing.

    Raises:
        ContractViolation: when one was invented, repeated or moved.
    """
    place = {name: index for index, name in enumerate(before)}
    unknown = [name for name in after if name not in place]
    if unknown:
        reason = "placeholder_invented" if set(before) <= set(after) else "placeholder_lost"
        raise ContractViolation(reason, ", ".join(unknown)[:200])
    repeated = Counter(after) - Counter(before)
    if repeated:
        raise ContractViolation("placeholder_repeated", ", ".join(sorted(repeated))[:200])
    moved = len(after) - longest_increasing([place[name] for name in after])
    if moved > max_moved * len(after):
        raise ContractViolation("placeholder_moved", f"{moved} of {len(after)}: {', '.join(after)}"[:200])


def check_surroundings(placeholder: re.Pattern[str], before: str, after: str) -> None:
    """What stands around placeholders: nothing that would change how the restored text reads, no new mathematics.

    Raises:
        ContractViolation: with the reason `placeholder_altered`, `placeholder_hidden` or `formula_invented`.
    """
    outside_before, outside_after = placeholder.sub("", before), placeholder.sub("", after)
    if len(_BRACKETS.findall(outside_after)) > len(_BRACKETS.findall(outside_before)):
        raise ContractViolation("placeholder_altered", outside_after[:200])
    if len(_DELIMITERS.findall(outside_after)) > len(_DELIMITERS.findall(outside_before)):
        raise ContractViolation("formula_invented", outside_after[:200])
    if len(_VERBATIM.findall(outside_after)) > len(_VERBATIM.findall(outside_before)):
        raise ContractViolation("placeholder_hidden", outside_after[:200])
    hidden = _inside(placeholder, after) - _inside(placeholder, before)
    if hidden:
        raise ContractViolation("placeholder_hidden", ", ".join(sorted(hidden))[:200])
    if _dollars(placeholder, before, after) != _dollars(placeholder, after, after):
        raise ContractViolation("placeholder_hidden", "a dollar that is no formula's stands elsewhere")
    touching = _touching(placeholder, after) - _touching(placeholder, before)
    if touching:
        raise ContractViolation("placeholder_hidden", ", ".join(" ".join(pair) for pair in sorted(touching))[:200])


def _inside(placeholder: re.Pattern[str], text: str) -> set[str]:
    """Placeholders inside what reads as code or as a comment."""
    if "`" not in text and "<!--" not in text:
        return set()
    spans = [match.span() for pattern in (INLINE_CODE, _COMMENT) for match in pattern.finditer(text)]
    spans += fences(text)
    return {name for start, end in spans for name in placeholder.findall(text, start, end)}


def _dollars(placeholder: re.Pattern[str], text: str, other: str) -> list[str]:
    """Bare dollars and the placeholders that `other` has, as they follow each other; nothing where no dollar is."""
    marks = re.compile(rf"{placeholder.pattern}|{_DOLLAR.pattern}").findall(text)
    if not _DOLLAR.search(placeholder.sub("", text)):
        return []
    known = set(placeholder.findall(other))
    return [mark for mark in marks if mark == "$" or mark in known]


def _touching(placeholder: re.Pattern[str], text: str) -> set[tuple[str, str]]:
    """Placeholders beside what would change how they read: another one, a backslash, a dollar; and for fenced code
    whatever else is on its line."""
    pairs: set[tuple[str, str]] = set()
    last, end = "", -1
    for match in placeholder.finditer(text):
        if match.start() == end:
            pairs.add((last, match.group()))
        if _ESCAPED.search(text, max(0, match.start() - 20), match.start()):
            pairs.add(("\\", match.group()))
        if text[match.start() - 1 : match.start()] == "$":
            pairs.add(("$", match.group()))
        if text[match.end() : match.end() + 1] == "$":
            pairs.add((match.group(), "$"))
        if _FENCED.search(match.group()):
            pairs.add((text[text.rfind("\n", 0, match.start()) + 1 : match.start()], match.group()))
            pairs.add((match.group(), text[match.end() :].partition("\n")[0]))
        last, end = match.group(), match.end()
    return pairs


def longest_increasing(numbers: Sequence[int]) -> int:
    """Length of the longest strictly increasing subsequence."""
    tails: list[int] = []
    for number in numbers:
        place = bisect.bisect_left(tails, number)
        tails[place : place + 1] = [number]
    return len(tails)


def _compare(
    formulas: Sequence[Mapping[str, Any]],
    text: str,
    placed: Sequence[Mapping[str, Any]],
    dropped: Sequence[DroppedParagraph],
) -> None:
    """The last check, of the restored text itself against the formulas that the document came with.

    Raises:
        ContractViolation: when a formula is neither kept to the letter where its offsets say, nor listed as dropped.
    """
    found = sorted([place["index"] for place in placed] + [number for each in dropped for number in each.formulas])
    if found != list(range(len(formulas))):
        raise ContractViolation(
            "formula_lost", f"{len(formulas)} formulas, {len(placed)} kept, {len(found) - len(placed)} dropped"
        )
    end = 0
    for place in placed:
        if place["start"] < end or text[place["start"] : place["end"]] != formula_text(formulas[place["index"]]):
            raise ContractViolation("formula_changed", text[place["start"] : place["end"]][:200])
        end = place["end"]


def _dropped(
    document: ProtectedDocument, formulas: Sequence[Mapping[str, Any]], index: int, reason: str
) -> DroppedParagraph:
    original = document.paragraphs[index]
    names = document.placeholder.findall(original)
    return DroppedParagraph(
        index=index,
        reason=reason,
        text=_restore(document, formulas, original)[0],
        formulas=tuple(number for name in names for number in document.spans[name].formulas),
    )


def _restore(
    document: ProtectedDocument, formulas: Sequence[Mapping[str, Any]], text: str
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
            whole = formula_text(formula)
            search = span.text.index(whole, search)
            placed.append({**formula, "index": number, "start": length + search, "end": length + search + len(whole)})
            search += len(whole)
        pieces.append(span.text)
        length += len(span.text)
        position = match.end()
    pieces.append(text[position:])
    return "".join(pieces), placed
