"""Text that is Markdown or TeX already: it stays as it is, and its mathematics is found between delimiters.

A dollar sign opens a formula as Pandoc reads it: no white space behind the first, none before the second and no digit
behind that, no blank line between. Code is left alone.
"""

import re
from collections.abc import Iterator

from ops.extract.delimiters import BREAK, TexRules, read_rules, split_formulas
from ops.extract.registry import Formula
from ops.extract.writer import Writer

_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})[^\n]*\n(?:.*?^ {0,3}\1[`~]*[ \t]*$|.*\Z)", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"(?<![`\\])(`+)(?!`)[^`](?:[^\n]|\n(?!\s*\n)){0,400}?(?<!`)\1(?!`)")
_DOLLARS = re.compile(
    r"\\.|\$\$(?:\\.|[^$\\]|\$(?!\$)){1,100000}?\$\$"
    r"|(?P<inline>\$(?=[^\s$])(?:\\.|[^$\\\n]|\n(?!\s*\n)){0,3000}?(?<=[^\s\\])\$(?![\d$]))|(?P<single>\$)",
    re.DOTALL,
)
_BLANK_LINES = re.compile(r"\n[ \t]*\n(?:[ \t]*\n)+")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f\ufeff]")


def usual_rules(max_formulas: int) -> TexRules:
    """The rules of a page that typesets every usual pair of delimiters, and looks at `max_formulas` of them."""
    script = r"""<script>MathJax = {tex: {inlineMath: [["$", "$"], ["\\(", "\\)"]]}}</script>"""
    return read_rules(script, max_formulas)


def clean_text(text: str) -> str:
    """Line ends as line feeds, without control characters and repeated blank lines."""
    text = _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    return _BLANK_LINES.sub("\n\n", text).strip("\n").rstrip()


def write_text(writer: Writer, text: str, rules: TexRules) -> int:
    """Write cleaned text, its formulas as such; how many fenced blocks of code were in it.

    Raises:
        OverBudget: when the text has more opening delimiters than `rules` look at.
    """
    num_code_blocks = position = 0
    for fence in _FENCE.finditer(text):
        _write_prose(writer, text[position : fence.start()], rules)
        writer.raw(fence.group())
        position = fence.end()
        num_code_blocks += 1
    _write_prose(writer, text[position:], rules)
    return num_code_blocks


def _write_prose(writer: Writer, text: str, rules: TexRules) -> None:
    for part, code in _split_spans(text):
        if code or not ("$" in part or "\\" in part):
            writer.raw(part)
            continue
        for piece in split_formulas(_DOLLARS.sub(_escape, part), rules):
            if isinstance(piece, Formula):
                writer.put([piece], one_line=False)
            else:
                writer.raw(piece.replace(BREAK, "\n"))


def _split_spans(text: str) -> Iterator[tuple[str, bool]]:
    position = 0
    for span in _SPAN.finditer(text):
        yield text[position : span.start()], False
        yield span.group(), True
        position = span.end()
    yield text[position:], False


def _escape(match: re.Match[str]) -> str:
    return "\\$" if match.group("single") else match.group()
