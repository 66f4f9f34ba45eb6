"""Carriers of mathematics: one small function each, found by tag, class name or attribute.

A carrier is given an element and says what it is: a `Formula`, `SKIP` (a copy of a formula that comes from elsewhere,
nothing to keep), or None (not mine). Adding one is one decorated function in one file of `ops/extract/carriers`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from selectolax.lexbor import LexborNode

SKIP = object()
"""A carrier's answer for an element that only repeats a formula."""


@dataclass(slots=True, frozen=True)
class Formula:
    """One formula of a page, without its delimiters."""

    latex: str
    display: bool
    carrier: str


CarrierFunction = Callable[[LexborNode, Mapping[str, str | None]], "Formula | object | None"]
BY_TAG: dict[str, list[CarrierFunction]] = {}
BY_CLASS: dict[str, list[CarrierFunction]] = {}
BY_ATTRIBUTE: dict[str, list[CarrierFunction]] = {}
_F = TypeVar("_F", bound=CarrierFunction)


def carrier(
    *, tags: Sequence[str] = (), classes: Sequence[str] = (), attributes: Sequence[str] = ()
) -> Callable[[_F], _F]:
    """Register a carrier for elements with one of these tags, class names or attributes."""

    def register(function: _F) -> _F:
        for table, names in ((BY_TAG, tags), (BY_CLASS, classes), (BY_ATTRIBUTE, attributes)):
            for name in names:
                table.setdefault(name, []).append(function)
        return function

    return register


_OUTER = (("$$", "$$", True), ("\\[", "\\]", True), ("\\(", "\\)", False), ("$", "$", False))
_CDATA = re.compile(r"^\s*%?\s*<!\[CDATA\[|%?\s*\]\]>\s*$")
_BLANK_LINES = re.compile(r"\n[ \t\r]*(?=\n)")
_LINE_JOIN = re.compile(r"(?<!\\)%[ \t]*\n\s*")


def clean_latex(latex: str) -> str:
    """A formula's LaTeX without what surrounds it: white space, CDATA marks, blank lines, joined lines."""
    latex = latex.replace("\r\n", "\n").replace("\r", "\n").replace("\u00a0", " ")
    if "]]>" in latex or "<![CDATA[" in latex:
        latex = _CDATA.sub("", _CDATA.sub("", latex))
    if "%" in latex:
        latex = _LINE_JOIN.sub("", latex)
    latex = latex.strip()
    if "\n" in latex:
        latex = _BLANK_LINES.sub("", latex)
    if latex.endswith("\\") and (len(latex) - len(latex.rstrip("\\"))) % 2:
        latex += " "  # a control space: the delimiter must not join it
    return latex


def undelimit(latex: str) -> tuple[str, bool | None]:
    """Take off a pair of TeX delimiters around the whole. Returns the rest and whether they meant display."""
    text = latex.strip()
    for opening, closing, display in _OUTER:
        if len(text) > len(opening) + len(closing) and text.startswith(opening) and text.endswith(closing):
            inner = text[len(opening) : -len(closing)]
            if closing not in inner or opening in ("\\[", "\\("):
                return inner.strip(), display
    return text, None


def make_formula(latex: str | None, display: bool, name: str) -> "Formula | object":
    """The formula, or SKIP when nothing is left of it."""
    cleaned = clean_latex(latex or "")
    return Formula(cleaned, display, name) if cleaned else SKIP
