"""Scorer of formula extraction against pages whose formulas are known.

Delimited recall: share of the expected formulas that are found between TeX delimiters in the extracted text, after a
loose normalisation (white space and spacing commands, braces, `\\left`/`\\right`, style commands, synonyms, the
punctuation at the end). Precision: share of the delimited formulas in the text that were expected. Both count with
multiplicity, so that a formula that comes out twice costs precision.
"""

import gzip
import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BENCH = Path(__file__).resolve().parents[3] / "shared" / "data" / "mathbench"

_DELIMITED = re.compile(
    r"(?<!\\)\$\$(.+?)(?<!\\)\$\$|(?<![\\$])\$(?!\$)((?:[^$\\]|\\[\s\S])+?)\$|(?<!\\)\\\((.+?)\\\)|(?<!\\)\\\[(.+?)\\\]",
    re.DOTALL,
)
_FENCED = re.compile(
    r"^([ >]*)(?:[-*]|\d+\.)?\s*(`{3,})[^\n]*\n.*?^[ >]*\2\s*$|(`+)[^`\n]+\3", re.MULTILINE | re.DOTALL
)
_SPACING = re.compile(
    r"\\(?:quad|qquad|enspace|thinspace|,|;|:|!|>| |hfill|noindent|displaystyle|textstyle|scriptstyle|limits|nolimits"
    r"|mathstrut|nonumber|notag|hspace\*?\s*\{[^{}]*\}|label\s*\{[^{}]*\}|tag\*?\s*\{[^{}]*\})(?![A-Za-z])|\\\s|~|\s+"
)
_SPACE_SYMBOL = re.compile(r"\\[,;:!> ]")
_STYLE = re.compile(
    r"\\(?:mathrm|text|textrm|mathit|textit|mathnormal|operatorname\*?|mbox|hbox|ensuremath|left|right|[bB]igg?[lrm]?"
    r"|mathop|mathbin|mathrel|mathord|mathopen|mathclose|textnormal|rm|it|boldmath|middle)(?![A-Za-z])"
)
_SYNONYMS = {
    "le": "leq", "ge": "geq", "ne": "neq", "to": "rightarrow", "gets": "leftarrow", "dots": "ldots", "dotsc": "ldots",
    "dotsb": "cdots", "dotsm": "cdots", "land": "wedge", "lor": "vee", "lnot": "neg", "iff": "Longleftrightarrow",
    "implies": "Longrightarrow", "impliedby": "Longleftarrow", "lbrace": "\\{", "rbrace": "\\}", "lbrack": "[",
    "rbrack": "]", "vert": "|", "lvert": "|", "rvert": "|", "mid": "|", "Vert": "\\|", "lVert": "\\|",
    "rVert": "\\|", "parallel": "\\|", "colon": ":", "ast": "*", "prime": "'", "dfrac": "frac", "tfrac": "frac",
    "cfrac": "frac",
    "dbinom": "binom", "tbinom": "binom", "bf": "mathbf", "boldsymbol": "mathbf", "bm": "mathbf", "pmb": "mathbf",
    "textbf": "mathbf", "cal": "mathcal", "mathscr": "mathcal", "Bbb": "mathbb", "frak": "mathfrak",
    "texttt": "mathtt", "tt": "mathtt", "textsf": "mathsf", "sf": "mathsf", "emptyset": "varnothing", "owns": "ni",
    "setminus": "smallsetminus", "backslash": "smallsetminus", "hslash": "hbar", "lt": "<", "gt": ">",
    "widehat": "hat", "widetilde": "tilde", "overline": "bar", "colonequals": ":=", "coloneqq": ":=",
    "overrightarrow": "vec", "eqsim": "simeq", "doublecap": "Cap", "stackrel": "overset", "ldotp": ".", "cdotp": "cdot",
    "longrightarrow": "rightarrow", "longleftarrow": "leftarrow", "Rightarrow": "Longrightarrow",
    "Leftrightarrow": "Longleftrightarrow", "Leftarrow": "Longleftarrow", "longmapsto": "mapsto",
    "blacksquare": "square", "Box": "square", "triangleq": "triangleq", "bmod": "mod", "pmod": "(mod",
    "lq": "`", "rq": "'", "substack": "", "displaylines": "", "smash": "", "cdots": "ldots", "bullet": "cdot",
}  # fmt: skip
_COMMAND = re.compile(r"\\([A-Za-z]+)")
_ENVIRONMENT = re.compile(
    r"\\(begin|end)\s*\{(align|equation|gather|aligned|gathered|eqnarray|split|multline|displaymath|math|alignat|flalign)"
    r"\*?\}(?:\[[a-z]\])?"
)


def loose(latex: str) -> str:
    """A formula without what does not matter."""
    text = latex.strip()
    text = re.sub(r"(?<!\\)%[^\n]*\n\s*", "", text)
    text = _ENVIRONMENT.sub("", text)
    text = text.replace("\\\\", "\x01")
    text = _SPACE_SYMBOL.sub("", text)
    text = _SPACING.sub(" ", text)
    text = _STYLE.sub(" ", text)
    text = text.replace("\\lim\\sup", "\\limsup").replace("\\not=", "\\neq").replace("\\not =", "\\neq")

    def synonym(match: re.Match[str]) -> str:
        name = match.group(1)
        other = _SYNONYMS.get(name)
        if other is None:
            # Functions such as \\sin are compared by their letters: \\mathrm{sin} and \\operatorname{sin} are the same.
            return name if name in _LETTERS else f"\\{name}"
        return other if not other.isalpha() else (other if other == "mod" else f"\\{other}")

    text = _COMMAND.sub(synonym, text)
    text = _COMMAND.sub(synonym, text)
    text = text.replace("\\{", "\x02").replace("\\}", "\x03")
    text = text.replace("^\\'", "'").replace("^{'}", "'").replace("^'", "'")
    text = re.sub(r"[\s{}~&]|\x01(?:\[[^\]]*\])?", "", text)
    return text.rstrip(".,;:")


_LETTERS = frozenset(
    [
        "arccos",
        "arcsin",
        "arctan",
        "arg",
        "cos",
        "cosh",
        "cot",
        "coth",
        "csc",
        "deg",
        "det",
        "dim",
        "exp",
        "gcd",
        "hom",
        "inf",
        "ker",
        "lg",
        "lim",
        "liminf",
        "limsup",
        "ln",
        "log",
        "max",
        "min",
        "Pr",
        "sec",
        "sin",
        "sinh",
        "sup",
        "tan",
        "tanh",
    ]
)


def delimited(text: str) -> list[str]:
    """Formulas between delimiters in text, code left out."""
    outside = _FENCED.sub(" ", text)
    return [next(group for group in match.groups() if group is not None) for match in _DELIMITED.finditer(outside)]


@dataclass(kw_only=True)
class Score:
    """Counts of one group of pages."""

    expected: int = 0
    found: int = 0
    delimited: int = 0
    right: int = 0

    @property
    def recall(self) -> float:
        return self.found / self.expected if self.expected else 1.0

    @property
    def precision(self) -> float:
        return self.right / self.delimited if self.delimited else 1.0

    def add(self, expected: Iterable[str], found: Iterable[str], tolerated: Iterable[str] = ()) -> None:
        """Compare one page. `tolerated` formulas are neither expected nor wrong."""
        want, have = Counter(map(loose, expected)), Counter(map(loose, found))
        allowed = Counter(map(loose, tolerated))
        common = sum((want & have).values())
        extra = sum(((have - want) & allowed).values())
        self.expected += sum(want.values())
        self.found += common
        self.delimited += sum(have.values()) - extra
        self.right += common


def load(name: str) -> list[dict[str, Any]]:
    """Rows of one file of the benchmark."""
    with gzip.open(BENCH / name, "rt", encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


def score_pages(
    pages: Iterable[Mapping[str, Any]], extract: Callable[[str], str], *, least_chars: int = 1
) -> dict[str, Score]:
    """Score `extract` (HTML to text) on pages, by format and in `all`."""
    scores: dict[str, Score] = defaultdict(Score)
    for page in pages:
        found = [latex for latex in delimited(extract(page["html"])) if len(latex.strip()) >= least_chars]
        wanted = [item["latex"] for item in page["formulas"] if len(item["latex"].strip()) >= least_chars]
        spare = [item if isinstance(item, str) else item["latex"] for item in page["unverified"]]
        for group in (page["format"], "all"):
            scores[group].add(wanted, found, spare)
    return dict(scores)
