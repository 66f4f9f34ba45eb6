"""Carriers of mathematics: one small function each, found by tag, class name or attribute.

A carrier is given an element and says what it is: a `Formula`, `SKIP` (a copy of a formula that comes from elsewhere,
nothing to keep), `TOO_LARGE`, or None (not mine). Adding one is one decorated function in one file of
`ops/extract/carriers`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from selectolax.lexbor import LexborNode

SKIP = object()
"""A carrier's answer for an element that only repeats a formula."""
TOO_LARGE = object()
"""A carrier's answer for a formula that is over what it reads: counted, and left out."""


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


_DOCUMENT = re.compile(r"\\begin\{document\}(.*)\\end\{document\}", re.DOTALL)
_BARE = re.compile(r"\\begin\s*\{(displaymath|math)\}(.*)\\end\s*\{\1\}", re.DOTALL)
_OUTER = (("$$", "$$", True), ("\\[", "\\]", True), ("\\(", "\\)", False), ("$", "$", False))
_CDATA = re.compile(r"^\s*+%?\s*+<!\[CDATA\[|%?\s{0,99}\]\]>\s{0,99}$")
_BLANK_LINES = re.compile(r"\n[ \t\r]*(?=\n)")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_LINE_JOIN = re.compile(r"(?<!\\)%[ \t]*\n\s*")


def clean_latex(latex: str) -> str:
    """A formula's LaTeX without what surrounds it: white space, CDATA marks, blank lines, joined lines, a document."""
    latex = _CONTROL.sub("", latex.replace("\r\n", "\n").replace("\r", "\n").replace("\u00a0", " "))
    if "]]>" in latex or "<![CDATA[" in latex:
        latex = _CDATA.sub("", _CDATA.sub("", latex))
    if "%" in latex:
        latex = _LINE_JOIN.sub("", latex)
    latex = latex.strip()
    if latex.startswith("\\documentclass"):
        body = _DOCUMENT.search(latex)
        latex = undelimit(body.group(1))[0] if body else latex
    if latex.startswith("\\begin"):
        bare = _BARE.fullmatch(latex)
        latex = bare.group(2).strip() if bare else latex
    if "\n" in latex:
        latex = _BLANK_LINES.sub("", latex)
    if latex.endswith("\\"):
        latex += " "  # a control space or a line break: the delimiter must not join it
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


_IS_TEX = re.compile(
    r"\\[A-Za-z]+|\\[\\,;:!{}|]|[A-Za-z0-9)}\]][\^_](?:\{|\\|[A-Za-z0-9+*-](?![A-Za-z]))|^\s*\$[^$]+\$\s*$"
)


_INVISIBLE = re.compile(
    r"(?:\s|\\[\s,;:!]|\\q?quad(?![A-Za-z])|%[^\n]*(?:\n|$)|\\(?:begingroup|endgroup|displaystyle|textstyle|nonumber|notag|null|require\s*\{[^{}]*\}"
    r"|definecolor\s*(?:\{[^{}]*\}){3}|label\s*\{[^{}]*\}|setcounter\s*(?:\{[^{}]*\}){2})(?![A-Za-z]))+"
)


def is_invisible(latex: str) -> bool:
    """Whether a formula shows nothing: comments and commands that only set something."""
    return latex[:1] in "\\%" and _INVISIBLE.fullmatch(latex) is not None


def is_tex(text: str) -> bool:
    """Whether a text is plainly TeX: a label may be, or speech."""
    return _IS_TEX.search(text) is not None


_IS_LABEL = re.compile(r"\\[A-Za-z]{2,}|[\^_]\{|\w\^[\w(\\]")


def is_tex_label(text: str) -> bool:
    """Whether a label or title is TeX; `icon_1` is not."""
    return _IS_LABEL.search(text) is not None


def make_formula(latex: str | None, display: bool, name: str) -> "Formula | object":
    """The formula, or SKIP when nothing is left of it."""
    cleaned = clean_latex(latex or "")
    return Formula(cleaned, display, name) if cleaned and not is_invisible(cleaned) else SKIP
