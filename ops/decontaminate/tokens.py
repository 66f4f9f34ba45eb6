"""Normalised tokens of mathematical text.

Two streams. The *word* stream holds words (case folded), numbers (canonical: `1,000` and `1000.0` are `1000`), LaTeX
commands (canonical: `\\dfrac` is `\\frac`, `\\le` is `\\leq`; spacing, sizing and font commands vanish) and
single-letter variables; punctuation, operators and delimiters vanish, so that `x^2` is the same with and without
dollars. The *formula* stream holds the tokens of the delimited formulas, operators included.

Variables, Latin or Greek, are compared up to renaming: a variable stands for the distance to its last occurrence, or 0
where that lies outside the window (parameterised matching: Baker, "Parameterized pattern matching", 1996). `$f(x) =
2x$` and `$g(t) = 2t$` are the same, `$f(x) = 2y$` is not.
"""

import hashlib
import re
import unicodedata
from dataclasses import dataclass, field
from functools import lru_cache

_GREEK_NAMES = """
alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho varrho sigma tau
upsilon phi varphi chi psi omega
"""
_GREEK = frozenset(_GREEK_NAMES.split())
_SILENT_NAMES = """
left right big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr Biggl Biggr middle quad qquad hspace vspace hfill
displaystyle textstyle scriptstyle limits nolimits text textrm textbf textit textsf texttt textnormal mathrm mathbf
mathit mathsf mathtt mathnormal operatorname mbox hbox rm bf it boldsymbol label tag nonumber notag phantom smash
mathstrut strut allowbreak nobreak par item begin end dollar
"""
_SILENT = frozenset(_SILENT_NAMES.split())
_SYNONYMS = {
    "dfrac": "frac", "tfrac": "frac", "cfrac": "frac", "dbinom": "binom", "tbinom": "binom", "le": "leq",
    "leqslant": "leq", "ge": "geq", "geqslant": "geq", "ne": "neq", "to": "rightarrow", "longrightarrow": "rightarrow",
    "implies": "Rightarrow", "iff": "Leftrightarrow", "lbrace": "{", "rbrace": "}", "lvert": "|", "rvert": "|",
    "vert": "|", "mid": "|", "dots": "ldots", "cdots": "ldots", "dotsc": "ldots", "dotsb": "ldots", "land": "wedge",
    "lor": "vee", "lnot": "neg", "emptyset": "varnothing", "bmod": "mod", "pmod": "mod", "prime": "'",
}  # fmt: skip
_SAME_AS_COMMAND = str.maketrans(
    {
        "≤": "\\leq ", "≥": "\\geq ", "≠": "\\neq ", "×": "\\times ", "·": "\\cdot ", "⋅": "\\cdot ", "÷": "\\div ",
        "±": "\\pm ", "∞": "\\infty ", "π": "\\pi ", "√": "\\sqrt ", "∑": "\\sum ", "∏": "\\prod ", "∫": "\\int ",
        "∈": "\\in ", "∉": "\\notin ", "⊂": "\\subset ", "⊆": "\\subseteq ", "∪": "\\cup ", "∩": "\\cap ",
        "→": "\\rightarrow ", "⇒": "\\Rightarrow ", "⇔": "\\Leftrightarrow ", "∀": "\\forall ", "∃": "\\exists ",
        "°": "\\circ ", "−": "-", "–": "-", "—": "-", "’": "'", "‘": "'", "“": '"', "”": '"', "…": "\\ldots ",
    }
)  # fmt: skip

_OPENING = re.compile(r"(?<!\\)\$\$?|\\\[|\\\(")
_CLOSING = {"$$": "$$", "$": "$", "\\[": "\\]", "\\(": "\\)"}
_BLANK_LINE = re.compile(r"\n[ \t]*\n")
_MAX_FORMULA = 2000  # characters
_CALCULATOR = re.compile(r"<<[^<>\n]*>>")  # GSM8K's annotations
_ENVIRONMENT = re.compile(r"\\(?:begin|end)\s*\{\s*[A-Za-z]+\*?\s*\}")
_NUMBER = r"\d+(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+"
# Commands, numbers, words, ends of lines and sentences, operators, and other escapes.
_TOKEN = re.compile(rf"\\[A-Za-z]+|{_NUMBER}|[^\W\d_]+(?:'[^\W\d_]+)?|\n|[.?!](?=\s)|[-+=<>*/^_|!&]|\\.")
_LETTERS = re.compile(r"(\\[A-Za-z]+|\\\\)|([A-Za-z])(?=[A-Za-z])")
_TEXT_GROUP = re.compile(r"\\(?:text(?:rm|bf|it|normal)?|mbox|mathrm|operatorname)\s*\{([^{}]*)\}")

_PLAIN_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{3,}")

WORD, NUMBER, COMMAND, VARIABLE, OPERATOR, SENTENCE_END, LINE_END, SILENT = range(8)


@lru_cache(maxsize=1 << 18)
def _classify(raw: str) -> tuple[int, str, int]:
    """Kind, normalised form and hash (0 for a variable) of a piece of text that `_TOKEN` found."""
    kind, token = _normalise(raw)
    if kind == VARIABLE:
        return kind, token, 0
    return kind, token, int.from_bytes(hashlib.blake2b(_utf8(token), digest_size=8).digest(), "little")


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _normalise(raw: str) -> tuple[int, str]:
    first = raw[0]
    if first == "\\":
        name = raw[1:]
        if not name.isalpha() or name in _SILENT:
            return SILENT, raw
        return (VARIABLE, raw) if name in _GREEK else (COMMAND, f"\\{_SYNONYMS.get(name, name)}")
    if first.isalpha():
        return (VARIABLE, raw) if len(raw) == 1 else (WORD, raw.casefold())
    if first == "\n":
        return LINE_END, raw
    if first.isdecimal() or len(raw) > 1:
        return NUMBER, canonical_number(raw)
    return (SENTENCE_END if first in ".?!" else OPERATOR), raw


@dataclass(kw_only=True)
class Stream:
    """Tokens of one text, or of several one behind the other.

    `value` is a token's hash, for a variable 0; `back` for a variable the distance to its last occurrence in the same
    text (0 if there is none), else 0. `lines` and `sentences` are the (start, end) of those that hold a token; in the
    formula stream `lines` are the formulas.
    """

    tokens: list[str] = field(default_factory=list)
    kind: list[int] = field(default_factory=list)
    value: list[int] = field(default_factory=list)
    back: list[int] = field(default_factory=list)
    lines: list[tuple[int, int]] = field(default_factory=list)
    sentences: list[tuple[int, int]] = field(default_factory=list)
    _last: dict[str, int] = field(default_factory=dict)
    _line_start: int = 0
    _sentence_start: int = 0

    def __len__(self) -> int:
        return len(self.tokens)

    def read(self, text: str, *, operators: bool) -> None:
        """Append the tokens of `text`, the last line ended."""
        tokens, kinds, values, backs, last = self.tokens, self.kind, self.value, self.back, self._last
        for raw in _TOKEN.findall(text):
            kind, token, value = _classify(raw)
            if kind == VARIABLE:
                here = len(tokens)
                backs.append(here - last.get(token, here))
                last[token] = here
            elif kind <= COMMAND or (kind == OPERATOR and operators):
                backs.append(0)
            else:
                if kind == LINE_END:
                    self._end_line()
                elif kind == SENTENCE_END:
                    self._end_sentence()
                continue
            tokens.append(token)
            kinds.append(kind)
            values.append(value)
        self._end_line()

    def _end_sentence(self) -> None:
        if len(self.tokens) > self._sentence_start:
            self.sentences.append((self._sentence_start, len(self.tokens)))
        self._sentence_start = len(self.tokens)

    def _end_line(self) -> None:
        self._end_sentence()
        if len(self.tokens) > self._line_start:
            self.lines.append((self._line_start, len(self.tokens)))
        self._line_start = len(self.tokens)

    def forget_variables(self) -> None:
        """The next text has variables of its own."""
        self._last.clear()


def canonical_number(text: str) -> str:
    """`1,000`, `1000.0` and `01000` are `1000`; `.50` is `0.5`."""
    whole, _, fraction = text.replace(",", "").partition(".")
    whole, fraction = whole.lstrip("0") or "0", fraction.rstrip("0")
    return f"{whole}.{fraction}" if fraction else whole


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A text ready to be cut into tokens, and the formulas in it."""

    text: str
    formulas: tuple[str, ...]


def prepare(text: str) -> Prepared:
    """Unicode compatibility forms, mathematical signs as commands, and letters side by side in a formula set apart."""
    text = unicodedata.normalize("NFKC", _CALCULATOR.sub("", text).translate(_SAME_AS_COMMAND))
    text = _ENVIRONMENT.sub(" ", text)
    pieces: list[str] = []
    formulas: list[str] = []
    position = 0
    while (opening := _OPENING.search(text, position)) is not None:
        body = _body(text, opening)
        if body is None:  # a price, or a lone delimiter
            pieces.append(text[position : opening.end()])
            position = opening.end()
            continue
        formulas.append(_set_apart(body))
        pieces += [text[position : opening.start()], " ", formulas[-1], " "]
        position = opening.end() + len(body) + len(opening.group())
    pieces.append(text[position:])
    return Prepared(text="".join(pieces), formulas=tuple(formulas))


def _body(text: str, opening: re.Match[str]) -> str | None:
    """What stands between `opening` and its closing delimiter, if that is a formula.

    It has no empty line. Between single dollars it has no word of three letters or more, unless it is LaTeX that
    touches both, and no digit follows.
    """
    end = text.find(_CLOSING[opening.group()], opening.end(), opening.end() + _MAX_FORMULA)
    if end <= opening.end():
        return None
    body = text[opening.end() : end]
    if _BLANK_LINE.search(body):
        return None
    if opening.group() == "$" and text[end + 1 : end + 2].isdigit():
        return None
    if opening.group() == "$" and _PLAIN_WORD.search(_TEXT_GROUP.sub("", body)):
        is_latex = any(sign in body for sign in "\\^_")
        if not is_latex or body[0].isspace() or body[-1].isspace():
            return None
    return body


def _set_apart(body: str) -> str:
    """A formula with its letters apart, but for those in text groups and commands."""
    pieces, position = [], 0
    for group in _TEXT_GROUP.finditer(body):
        pieces += [_apart(body[position : group.start()]), f" {group.group(1)} "]
        position = group.end()
    pieces.append(_apart(body[position:]))
    return " ".join("".join(pieces).split())


def _apart(formula: str) -> str:
    return _LETTERS.sub(lambda match: f"{match.group(1)} " if match.group(1) else f"{match.group(2)} ", formula)


def read_words(prepared: Prepared, stream: Stream) -> None:
    """Append the word stream of a prepared text."""
    stream.read(prepared.text, operators=False)


def read_formulas(prepared: Prepared, stream: Stream) -> None:
    """Append the formula stream of a prepared text: each formula is a line and has variables of its own."""
    for formula in prepared.formulas:
        stream.forget_variables()
        stream.read(formula, operators=True)
