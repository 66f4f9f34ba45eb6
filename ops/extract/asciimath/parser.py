"""A recursive descent over AsciiMath."""

import re

from ops.extract.asciimath.layout import Node, braced, closed, fenced, join, trimmed
from ops.extract.asciimath.table import (
    ACCENTS,
    AROUND,
    CLOSING,
    CONSTANTS,
    FUNCTION_NAMES,
    LETTER_FUNCTIONS,
    OPENING,
    SYMBOL,
    TEXTS,
    TWO,
)
from ops.extract.symbols import FUNCTIONS, symbols, text_command

LONGEST = 3_000
"""Longest formula converted, in characters."""
MOST_STEPS = 20_000
"""Symbols read at most: bars that do not match are read again."""
LONGEST_DEPTH = 60
_NUMBER = re.compile(r"\d+(?:\.\d+)?|\.\d+|\d+\.(?=\s)")


class AsciiMathTooLong(ValueError):
    """More symbols or levels than are read."""


def asciimath_to_latex(source: str) -> str | None:
    """LaTeX of an AsciiMath formula; None when it is too long to be one.

    Source of the grammar and the symbols: the AsciiMath page, asciimath.org.
    """
    if len(source) > LONGEST:
        return None
    parser = Parser(source.replace("\u00a0", " ").replace("−", "-"))
    try:
        return trimmed(join(parser.expression(0, top=True)))
    except AsciiMathTooLong:
        return None


class Parser:
    def __init__(self, source: str) -> None:
        self.source = source
        self.position = 0
        self.steps = 0

    def _peek(self) -> tuple[str, str]:
        """The next symbol and its kind, without reading it."""
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise AsciiMathTooLong
        source = self.source
        while self.position < len(source) and source[self.position].isspace():
            self.position += 1
        position = self.position
        if position >= len(source):
            return "", "end"
        if source[position] == "\\" and source[position + 1 : position + 2] not in ("\\", " ", ""):
            position = self.position = position + 1
        number = _NUMBER.match(source, position)
        if number:
            return number.group(), "number"
        if source[position] == '"':
            return '"', "quote"
        match = SYMBOL.match(source, position)
        if match:
            return match.group(), "symbol"
        return source[position], "character"

    def expression(self, depth: int, *, top: bool = False, bar: bool = False) -> list[Node]:
        """A row, up to a closing bracket (not read); at the top such a bracket is a character."""
        if depth > LONGEST_DEPTH:
            raise AsciiMathTooLong
        items: list[Node] = []
        while True:
            text, kind = self._peek()
            if kind == "end" or (bar and text == "|"):
                return items
            if kind == "symbol" and text in CLOSING:
                if not top:
                    return items
                self.position += len(text)
                items.append(Node(CLOSING[text]))
                continue
            node = self._scripted(depth)
            text, kind = self._peek()
            if kind == "symbol" and text == "/" and node is not None:
                self.position += 1
                below = self._scripted(depth)
                node = Node(f"\\frac{{{trimmed(node.argument)}}}{{{trimmed(below.argument) if below else ''}}}")
            if node is not None:
                items.append(node)

    def _scripted(self, depth: int) -> Node | None:
        symbol = self._peek()[0]
        node = self._simple(depth)
        if node is None:
            return None
        scripts = ""
        for mark in "_^":
            text, kind = self._peek()
            if kind == "symbol" and text == mark:
                self.position += 1
                script = self._simple(depth)
                scripts += f"{mark}{braced(script.argument if script else '')}"
        if not scripts:
            return node
        latex = trimmed(node.latex) + scripts
        if symbol in FUNCTION_NAMES:
            text, kind = self._peek()
            ends = kind == "end" or (kind == "symbol" and (text in CLOSING or text in "/_^|"))
            if not ends and (symbol not in LETTER_FUNCTIONS or text in OPENING):
                rest = self._scripted(depth)
                if rest is not None:
                    latex = join([Node(latex + " "), rest])
        return Node(latex)

    def _simple(self, depth: int) -> Node | None:
        if depth > LONGEST_DEPTH:
            raise AsciiMathTooLong
        text, kind = self._peek()
        if kind == "end" or (kind == "symbol" and text in CLOSING):
            return None
        if kind == "quote":
            end = self.source.find('"', self.position + 1)
            end = len(self.source) if end < 0 else end
            written = self.source[self.position + 1 : end]
            self.position = end + 1
            return Node(text_command(written))
        self.position += len(text)
        if kind == "number":
            return Node(text)
        if kind == "character":
            if text == "-":
                return self._minus(depth)
            return Node({"%": "\\%", "&": "\\&", "#": "\\#", "$": "\\$", "`": "", "\\": ""}.get(text, symbols(text)))
        if text in OPENING:
            return self._bracketed(text, depth)
        if text == "|":
            return self._bars(depth)
        if text in FUNCTION_NAMES:
            return self._function(text, depth)
        if text in TEXTS:
            return self._text()
        if text in ACCENTS or text in AROUND:
            return self._unary(text, depth)
        if text in TWO:
            return self._binary(text, depth)
        latex = CONSTANTS.get(text, f"\\{text}")
        if text in ("/", "_", "^"):
            latex = "/" if text == "/" else ""
        return Node(latex)

    def _minus(self, depth: int) -> Node:
        """A sign belongs to the number behind it where one argument is wanted: `x_-3`."""
        before = self.source[: self.position - 1].rstrip()[-1:]
        after = self.source[self.position : self.position + 1]
        if before and before in "_^" and after and not after.isspace():
            node = self._simple(depth + 1)
            if node is not None:
                return Node("-" + node.latex)
        return Node("-")

    def _bracketed(self, opening: str, depth: int) -> Node:
        items = self.expression(depth + 1)
        text, _ = self._peek()
        left = OPENING[opening]
        if text not in CLOSING:
            return Node(fenced(left, join(items), None), join(items), (left, ""))
        self.position += len(text)
        return closed(left, items, CLOSING[text])

    def _bars(self, depth: int) -> Node:
        start = self.position
        items = [] if self._peek()[0] == "," else self.expression(depth + 1, bar=True)
        if items and self._peek()[0] == "|":
            self.position += 1
            return closed("|", items, "|")
        self.position = start
        return Node("|", symbol="|")

    def _function(self, name: str, depth: int) -> Node:
        latex = name if name in LETTER_FUNCTIONS else f"\\{name}" if name in FUNCTIONS else f"\\operatorname{{{name}}}"
        text, kind = self._peek()
        ends = kind == "end" or (kind == "symbol" and (text in CLOSING or text in "/_^|"))
        if ends or text == "," or (name in LETTER_FUNCTIONS and text != "("):
            return Node(latex)
        argument = self._simple(depth + 1)
        return Node(latex) if argument is None else Node(join([Node(latex), argument]))

    def _text(self) -> Node:
        source, start = self.source, self.position
        closing = {"(": ")", "[": "]", "{": "}"}.get(source[start : start + 1])
        if closing is None:
            return Node("")
        end = source.find(closing, start)
        end = len(source) if end < 0 else end
        self.position = end + 1
        return Node(text_command(source[start + 1 : end]))

    def _unary(self, name: str, depth: int) -> Node:
        node = self._simple(depth + 1)
        argument = trimmed(node.argument) if node is not None else ""
        if name in AROUND:
            left, right = AROUND[name]
            return Node(fenced(left, argument, right))
        single, wide = ACCENTS[name]
        command = single if re.fullmatch(r"[A-Za-z0-9]|\\[A-Za-z]+", argument) else wide
        return Node(f"{command}{{{argument}}}")

    def _binary(self, name: str, depth: int) -> Node:
        if name in ("color", "id", "class") and self._peek()[0] in OPENING:
            end = self.source.find({"(": ")", "[": "]", "{": "}"}.get(self._peek()[0], ")"), self.position)
            self.position = len(self.source) if end < 0 else end + 1
            coloured = self._simple(depth + 1)
            return Node(coloured.argument if coloured is not None else "")
        first = self._simple(depth + 1)
        second = self._simple(depth + 1)
        one, two = (trimmed(node.argument) if node is not None else "" for node in (first, second))
        if name == "root":
            return Node(f"\\sqrt[{one}]{{{two}}}")
        if name == "frac":
            return Node(f"\\frac{{{one}}}{{{two}}}")
        if name == "underset":
            return Node(f"\\underset{{{one}}}{{{two}}}")
        return Node(f"\\overset{{{one}}}{{{two}}}") if name in ("stackrel", "overset") else Node(two)
