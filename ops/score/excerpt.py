"""The parts of a document's text: excerpt, formulas, code and the prose between them.

Cleaned text is Markdown-like: `$...$` and `$$...$$` formulas, fenced or indented code, `inline code`.
"""

import re
from dataclasses import dataclass

FORMULA = re.compile(
    r"\$\$(?P<display>.+?)\$\$|\$(?P<inline>[^$\n]{1,2000}?)\$|\\\[(?P<bracket>.+?)\\\]|\\\((?P<paren>.+?)\\\)"
    r"|(?P<environment>\\begin\{(?P<name>equation|align|gather|eqnarray|multline)\*?\}.+?\\end\{(?P=name)\*?\})",
    re.S,
)
FENCED = re.compile(r"^(```|~~~)[^\n]*\n.*?(?:^\1[^\n]*$|\Z)", re.S | re.M)
INLINE_CODE = re.compile(r"`[^`\n]*`")
LINK = re.compile(r"https?://\S+|\bwww\.\S+")


@dataclass(frozen=True, kw_only=True)
class Excerpt:
    """A text taken apart. `prose` has a space for each inline formula or code, an empty line for each block."""

    text: str
    prose: str
    formulas: tuple[str, ...]
    num_display: int
    code_chars: int


def crop(text: str, max_chars: int) -> str:
    """The `max_chars` characters around the middle of `text`."""
    if len(text) <= max_chars:
        return text
    start = (len(text) - max_chars) // 2
    return text[start : start + max_chars]


def take_apart(text: str) -> Excerpt:
    """Separate formulas and code from prose."""
    code_chars = 0
    formulas: list[str] = []
    num_display = 0

    def remove_code(match: re.Match[str]) -> str:
        nonlocal code_chars
        code_chars += len(match.group())
        return "\n" if match.re is FENCED else " "

    def remove_formula(match: re.Match[str]) -> str:
        nonlocal num_display
        body = match.group(match.lastgroup or 0) if match.lastgroup != "name" else match.group("environment")
        formulas.append((body or "").strip())
        display = match.group("inline") is None and match.group("paren") is None
        num_display += display
        return "\n" if display else " "

    without_code = INLINE_CODE.sub(remove_code, FENCED.sub(remove_code, text))
    prose = FORMULA.sub(remove_formula, without_code)
    return Excerpt(text=text, prose=prose, formulas=tuple(formulas), num_display=num_display, code_chars=code_chars)
