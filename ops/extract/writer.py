"""Text with formulas at known places."""

import re
from dataclasses import dataclass

from ops.extract.registry import Formula

_SPACES = re.compile(r"[ \t\n\r\f\v\u00a0\u2000-\u200a\u202f\u205f\u3000]+")
_INVISIBLE = re.compile("[\u200b\u200e\u200f\u2060\ufeff\u00ad]")
_COMMENT = re.compile(r"(?<!\\)%[^\n]*+\n?")
_LOOSE = re.compile(r"[\s{}]|\\(?:displaystyle|textstyle)(?![A-Za-z])|\\[,;:!]|[.,;]$")
_COLUMNS = re.compile(r"\\begin\{(?:array|tabular)\}(?:\[[a-z]\])?\{[^{}]*\}")
_BAR = re.compile(r"\\\\|\\\||\|")
_BARS = {"|": "\\vert ", "\\|": "\\Vert "}
LINE = "\x1e"
"""A piece that is a line break. The character cannot be in a page's text: control characters are left out of it."""


@dataclass(frozen=True, kw_only=True)
class PlacedFormula:
    """A formula and where it stands in the text, delimiters included."""

    latex: str
    display: bool
    carrier: str
    start: int
    end: int


class Writer:
    """Collects the text of a page line by line. Nothing written is changed later, so offsets hold."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.length = 0
        self.formulas: list[PlacedFormula] = []
        self.prefixes: list[str] = []
        self.num_copies = 0
        """Formulas left out because they repeat the one before."""
        self._markers: list[str] = []  # stand in for the innermost prefixes on the next line
        self._tight = True  # no blank line before the next block
        self._last = ""
        self._previous: PlacedFormula | None = None  # a formula with nothing but white space behind it

    def _write(self, text: str) -> None:
        if text:
            self.pieces.append(text)
            self.length += len(text)
            self._last = text[-1]
            if self._previous is not None and not text.isspace():
                self._previous = None

    def _place(self, formula: Formula, *, one_line: bool, cell: bool = False) -> None:
        latex = formula.latex
        if cell and "|" in latex:
            latex = _without_bars(latex)
        if "\n" in latex and (one_line or not formula.display):
            before, _, last = latex.rpartition("\n")
            latex = _COMMENT.sub("\n", f"{before}\n") + last
            latex = " ".join(line for line in map(str.strip, latex.split("\n")) if line)
        mark = "$$" if formula.display else "$"
        if self._last == "$":
            self._write(" ")
        start = self.length
        self._write(f"{mark}{latex}{mark}")
        self._previous = PlacedFormula(
            latex=latex, display=formula.display, carrier=formula.carrier, start=start, end=self.length
        )
        self.formulas.append(self._previous)

    def push(self, prefix: str, marker: str | None = None) -> None:
        """Put `prefix` before every line from here on, and `marker` in its place before the first."""
        self.prefixes.append(prefix)
        self._markers.append(prefix if marker is None else marker)

    def pop(self) -> None:
        """Take the innermost prefix off again, and its marker when nothing was written behind it."""
        if self._markers:
            self._markers.pop()
        self.prefixes.pop()

    def tighten(self) -> None:
        """The next block follows without a blank line (items of a list)."""
        self._tight = True

    def start_block(self) -> None:
        """End the block before and write the prefix of the first line of a new one."""
        outer = "".join(self.prefixes[: len(self.prefixes) - len(self._markers)])
        if self.length:
            self._write("\n" if self._tight else f"\n{outer.rstrip()}\n")
        self._write(outer + "".join(self._markers))
        self._markers.clear()
        self._tight = False

    def inline(self, pieces: list[str | Formula], *, lead: str = "", one_line: bool = False) -> None:
        """Write a block of running text; display formulas stand on their own unless `one_line`."""
        formulas = [piece for piece in pieces if isinstance(piece, Formula)]
        if formulas:
            pieces = self._without_copies(pieces)
        if one_line or not any(formula.display for formula in formulas):
            self._run(pieces, lead=lead, one_line=one_line or bool(self.prefixes))
            return
        run: list[str | Formula] = []
        for piece in pieces:
            if isinstance(piece, Formula) and piece.display:
                self._run(run, lead=lead, one_line=bool(self.prefixes))
                self._run([piece], one_line=bool(self.prefixes))
                run, lead = [], ""
            else:
                run.append(piece)
        self._run(run, lead=lead, one_line=bool(self.prefixes))

    def _without_copies(self, pieces: list[str | Formula]) -> list[str | Formula]:
        """Without formulas that stand right behind the same one from another carrier: a page's second copy."""
        kept: list[str | Formula] = []
        before: Formula | PlacedFormula | None = self._previous
        for piece in pieces:
            if isinstance(piece, str):
                if before is not None and not (piece == LINE or piece.isspace() or not piece):
                    before = None
            elif before is not None and before.carrier != piece.carrier and _same(before.latex, piece.latex):
                self.num_copies += 1
                continue
            else:
                before = piece
            kept.append(piece)
        return kept

    def _run(self, pieces: list[str | Formula], *, lead: str = "", one_line: bool) -> None:
        normal = normalize(pieces)
        if not normal:
            return
        self.start_block()
        self._write(lead)
        self.put(normal, one_line=one_line)

    def put(self, pieces: list[str | Formula], *, one_line: bool, cell: bool = False) -> None:
        """Write normalised pieces where the text stands; line ends get the prefix. In a table's cell bars go."""
        prefix = "\n" + "".join(self.prefixes)
        for piece in pieces:
            if isinstance(piece, Formula):
                self._place(piece, one_line=one_line, cell=cell)
            elif piece == LINE:
                self._write(prefix)
            else:
                self._write(piece)

    def raw(self, text: str) -> None:
        """Write text as it is, line ends with the prefix."""
        self._write(text.replace("\n", "\n" + "".join(self.prefixes)))

    def text(self) -> str:
        return "".join(self.pieces)


def _same(left: str, right: str) -> bool:
    return left == right or _LOOSE.sub("", left) == _LOOSE.sub("", right)


def _without_bars(latex: str) -> str:
    """The same formula without a `|`, which ends the cell of a table: `\\vert`, `\\Vert`, columns without lines."""
    latex = _COLUMNS.sub(lambda match: match.group().replace("|", ""), latex)
    return _BAR.sub(lambda match: _BARS.get(match.group(), match.group()), latex)


def normalize(pieces: list[str | Formula]) -> list[str | Formula]:
    """Collapse white space across pieces; a piece that is `LINE` is a line break."""
    normal: list[str | Formula] = []
    space = True  # leading white space goes
    for piece in pieces:
        if isinstance(piece, Formula):
            normal.append(piece)
            space = False
            continue
        if piece == LINE:
            while normal and isinstance(normal[-1], str) and normal[-1] == " ":
                normal.pop()
            if normal and isinstance(normal[-1], str):
                normal[-1] = normal[-1].rstrip(" ")
            if normal:
                normal.append(LINE)
            space = True
            continue
        text = _SPACES.sub(" ", _INVISIBLE.sub("", piece))
        if space and text.startswith(" "):
            text = text[1:]
        if text:
            normal.append(text)
            space = text.endswith(" ")
    while normal and isinstance(normal[-1], str):
        stripped = normal[-1].rstrip(f" {LINE}")
        if stripped:
            normal[-1] = stripped
            break
        normal.pop()
    return normal
