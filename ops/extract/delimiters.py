"""TeX between delimiters in text: which delimiters the page means, and where its formulas are.

The page's own MathJax 2, 3 or KaTeX auto-render configuration is read from its scripts. Where it says nothing,
`\\(..\\)`, `\\[..\\]`, `$$..$$` and mathematical environments count, and `$..$` only where the content is plainly
mathematics: money is not.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from selectolax.lexbor import LexborHTMLParser

from ops.extract.asciimath import asciimath_to_latex
from ops.extract.element import OverBudget
from ops.extract.macros import DEFINES, Macro, read_macros
from ops.extract.mathml import mathml_to_latex
from ops.extract.plausible import is_evidence, is_plausible, is_plausible_asciimath
from ops.extract.registry import Formula, clean_latex, is_invisible
from ops.extract.words import words

ENVIRONMENTS = words(
    "equation align gather multline eqnarray alignat flalign displaymath math matrix pmatrix bmatrix vmatrix "
    "Vmatrix Bmatrix cases array aligned gathered split smallmatrix subequations dcases CD"
)
LONGEST_INLINE = 3_000
"""Characters in which the end of an inline formula is looked for."""
LONGEST_DISPLAY = 100_000
MOST_UNMATCHED = 500
"""After so many opening delimiters without an end, or with one too far off, a run of text is given up: no TeX."""
BREAK = "\x1e"
"""Stands for `<br>` inside a run of text."""

_SCRIPT = re.compile(r"<script\b([^>]{0,4000}+)>", re.IGNORECASE)
_SCRIPT_END = re.compile(r"</script", re.IGNORECASE)
_STRING = r"""(?:"((?:[^"\\\n]|\\.){1,20})"|'((?:[^'\\\n]|\\.){1,20})')"""
_PAIR = re.compile(rf"[\[,\s]*\[\s*{_STRING}\s*,\s*{_STRING}\s*\]")
_KEY = re.compile(r"""\b(inlineMath|displayMath)["']?\]?\s*[:=]\s*(?:\{\s*["']?\[\+\]["']?\s*:)?\s*\[""")
_KATEX_PAIR = re.compile(
    rf"""\bleft["']?\s*:\s*{_STRING}\s*,\s*["']?right["']?\s*:\s*{_STRING}(?:\s*,\s*["']?display["']?\s*:\s*(true|false|!0|!1))?"""
)
_CLASSES = re.compile(r"""\b(ignore|process)(?:Html)?Class["']?\s*:\s*["']([^"'\n]{1,300})["']""")
_NO_ENVIRONMENTS = re.compile(r"""processEnvironments["']?\s*:\s*(?:false|!1)""")
_NAME = re.compile(r"[\w-]+")


_ASCIIMATH = re.compile(
    r"asciimath2jax|input/asciimath|asciimath(?:ml|tex)?\w{0,40}(?:[.-]min)?\.js|(?<![A-Za-z])AM_(?:CHTML|HTMLorMML|SVG)",
    re.IGNORECASE,
)
_ASCIIMATH_DELIMITERS = re.compile(
    r"""\bascii-?math(?:2jax)?["']?\s*:\s*\{[^{}]{0,400}?\bdelimiters["']?\s*:\s*(?:\{\s*["']?\[\+\]["']?\s*:)?\s*\[""",
    re.IGNORECASE,
)
_BRACKET_CLOSING = re.compile(r"\[/(i?tex|i?latex|i?math|dmath|katex|formula|equation|eq|displaymath)\]", re.IGNORECASE)
_BRACKET_DISPLAY = frozenset(["tex", "dmath", "displaymath", "equation"])
_MATH_TAG = "</math>"
_WORDPRESS = re.compile(r"latex(?![A-Za-z])\s*(.*?)\s*(?:&(?:amp;)?(?:bg|fg|s|zoom)=[-\w]*)*\s*$", re.DOTALL)
_UNESCAPE = re.compile(r"\\(.)")
_CARRIERS = {"$": "tex-dollar", "$$": "tex-dollars", "\\(": "tex-parenthesis", "\\[": "tex-bracket"}
_DEFAULTS = {"inline": [("\\(", "\\)")], "display": [("$$", "$$"), ("\\[", "\\]")]}
_BEGIN = re.compile(r"\\begin\s*\{([A-Za-z]+)\*?\}")


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A pair of delimiters."""

    opening: str
    closing: str
    display: bool
    sure: bool
    """The page typesets this pair, so that its content is mathematics whatever it looks like."""
    asciimath: bool = False


@dataclass(kw_only=True)
class TexRules:
    """Which TeX in a page's text is mathematics."""

    pairs: dict[str, Pair]
    """By opening delimiter."""
    opener: re.Pattern[str]
    usual: bool
    """Every opening delimiter has a dollar or a backslash."""
    environments: bool
    typesets: bool
    """The page loads MathJax or KaTeX."""
    ignored: frozenset[str]
    processed: frozenset[str]
    macros: dict[str, Macro]
    """Of the configuration; those that formulas define are added when they are met."""
    defines: bool
    """Macros may be defined in the page's formulas."""
    budget: int
    """How many opening delimiters may still be looked at."""
    seen_dollars: bool = False
    """An inline formula between dollars was plainly mathematics: evidence for the next ones."""

    def may_hold(self, text: str) -> bool:
        """Quick: whether any delimiter can be in `text`."""
        return ("$" in text or "\\" in text) if self.usual else self.opener.search(text) is not None


def read_rules(html: str, budget: int) -> TexRules:
    """Read the page's MathJax and KaTeX configuration out of its scripts.

    Args:
        html: the page.
        budget: how many opening delimiters are looked at.
    """
    typesets = "MathJax" in html or "mathjax" in html or "katex" in html or "renderMathInElement" in html
    configured: dict[str, list[tuple[str, str]]] = {"inline": [], "display": []}
    ignored = {"tex2jax_ignore", "mathjax_ignore"}
    processed = {"tex2jax_process", "mathjax_process"}
    environments = True
    macros: dict[str, Macro] = {}
    ascii_pairs: list[tuple[str, str]] = []
    asciimath = False
    ascii_named = "sciimath" in html or "SCIIMath" in html or "sciiMath" in html
    for attributes, text in _scripts(html) if typesets or ascii_named else ():
        asciimath = asciimath or _ASCIIMATH.search(attributes) is not None or _ASCIIMATH.search(text) is not None
        if "Math" not in text and "delimiters" not in text:
            continue
        for key in _KEY.finditer(text):
            configured["inline" if key.group(1) == "inlineMath" else "display"] += _pairs(text, key.end() - 1)
        for pair in _KATEX_PAIR.finditer(text):
            opening, closing = _unescape(pair, 1), _unescape(pair, 3)
            wide = pair.group(5) in ("true", "!0") if pair.group(5) else opening in ("$$", "\\[")
            configured["display" if wide else "inline"].append((opening, closing))
        for match in _CLASSES.finditer(text):
            (ignored if match.group(1) == "ignore" else processed).update(_NAME.findall(match.group(2)))
        if _NO_ENVIRONMENTS.search(text):
            environments = False
        if "acros" in text:
            macros.update(read_macros(text))
        for key in _ASCIIMATH_DELIMITERS.finditer(text):
            ascii_pairs += _pairs(text, key.end() - 1)
    pairs: dict[str, Pair] = {}
    for kind, found in configured.items():
        for opening, closing in found or (_DEFAULTS[kind] if typesets else ()):
            if not opening.startswith("\\begin"):
                pairs[opening] = Pair(opening=opening, closing=closing, display=kind == "display", sure=True)
    for kind, defaults in _DEFAULTS.items():
        for opening, closing in defaults:
            unsure = Pair(opening=opening, closing=closing, display=kind == "display", sure=False)
            pairs.setdefault(opening, unsure)
    for name in {match.group(1) for match in _BRACKET_CLOSING.finditer(html)}:
        display = name.lower() in _BRACKET_DISPLAY
        pairs.setdefault(f"[{name}]", Pair(opening=f"[{name}]", closing=f"[/{name}]", display=display, sure=False))
    if "&lt;/math&gt;" in html:
        pairs["<math>"] = Pair(opening="<math>", closing=_MATH_TAG, display=False, sure=False)
    if asciimath:
        for opening, closing in ascii_pairs or [("`", "`")]:
            pairs[opening] = Pair(opening=opening, closing=closing, display=False, sure=True, asciimath=True)
    if not configured["inline"]:
        pairs.setdefault("$", Pair(opening="$", closing="$", display=False, sure=False))
    alternatives = [re.escape(opening) for opening in sorted(pairs, key=len, reverse=True)]
    # A backslash takes the character behind it along, so that `\\(` (a line break, a bracket) opens nothing.
    opener = re.compile("|".join([*alternatives, _BEGIN.pattern.replace("(", "(?:"), r"\\[\s\S]"]))
    return TexRules(
        pairs=pairs,
        opener=opener,
        usual=all("$" in opening or "\\" in opening for opening in pairs),
        environments=environments,
        typesets=typesets,
        ignored=frozenset(ignored),
        processed=frozenset(processed),
        macros=macros,
        defines=DEFINES.search(html) is not None,
        budget=budget,
    )


def _scripts(html: str) -> Iterator[tuple[str, str]]:
    """Attributes and text of each script element."""
    position = 0
    while (start := _SCRIPT.search(html, position)) and (end := _SCRIPT_END.search(html, start.end())):
        yield start.group(1), html[start.end() : end.start()]
        position = end.end()


def _pairs(text: str, start: int) -> Iterator[tuple[str, str]]:
    while match := _PAIR.match(text, start):
        yield _unescape(match, 1), _unescape(match, 3)
        start = match.end()


def _unescape(match: re.Match[str], group: int) -> str:
    string = match.group(group) if match.group(group) is not None else match.group(group + 1)
    return _UNESCAPE.sub(r"\1", string)


def split_formulas(text: str, rules: TexRules) -> list[str | Formula]:
    """Cut a run of text into text and formulas. Text keeps `BREAK`; in formulas it becomes a line end.

    Raises:
        OverBudget: when the page has more opening delimiters than `rules.budget`.
    """
    pieces: list[str | Formula] = []
    done = position = unmatched = 0
    while unmatched < MOST_UNMATCHED:
        match = rules.opener.search(text, position)
        if match is None:
            break
        opening = match.group()
        position = match.end()
        pair = rules.pairs.get(opening)
        rules.budget -= pair is not None
        if rules.budget < 0:
            raise OverBudget("too_many_formulas", "more opening delimiters than the budget")
        if pair is not None:
            end = _find_closing(text, position, pair)
            if end is None:
                unmatched += 1
                continue
            after = end + len(pair.closing)
            before = text[match.start() - 1 : match.start()]
            formula = _between(text[position:end], before, text[after : after + 1], pair, rules)
            if formula is None:
                if pair.asciimath:
                    position = after  # quoted words: their closing backtick opens nothing
                unmatched += end - match.end() > LONGEST_INLINE
                continue
        elif opening.startswith("\\begin") and rules.environments:
            begin = _BEGIN.match(opening)
            if begin is None or begin.group(1) not in ENVIRONMENTS:
                continue
            after_environment = _find_end(text, match.start(), opening)
            if after_environment is None:
                unmatched += 1
                continue
            after = after_environment
            latex = clean_latex(text[match.start() : after].replace(BREAK, "\n"))
            formula = Formula(latex, True, "tex-environment")
        else:
            continue  # an escaped character, or an environment that is not ours
        if formula.latex:
            pieces.append(text[done : match.start()])
            if not is_invisible(formula.latex):
                pieces.append(formula)
            done = position = after
    pieces.append(text[done:])
    return [piece for piece in pieces if piece != ""]


def _between(inner: str, before: str, following: str, pair: Pair, rules: TexRules) -> Formula | None:
    """The formula between a pair of delimiters, if it is one."""
    if not pair.sure and pair.opening != pair.closing and pair.opening in inner:
        return None
    wordpress = _WORDPRESS.match(inner) if pair.opening[0] == "$" and inner.startswith("latex") else None
    if wordpress is not None and wordpress.group(1):
        return Formula(clean_latex(wordpress.group(1).replace(BREAK, "\n")), pair.display, "tex-wordpress")
    if pair.asciimath:
        latex = asciimath_to_latex(inner.replace(BREAK, " ")) if is_plausible_asciimath(inner) else None
        return Formula(clean_latex(latex), False, "asciimath") if latex else None
    plausible = is_plausible(
        inner,
        opening=pair.opening,
        before=before,
        following=following,
        sure=pair.sure,
        typesets=rules.typesets,
        seen=rules.seen_dollars,
        broken=BREAK in inner,
    )
    if not plausible and not (rules.defines and DEFINES.search(inner)):
        return None
    rules.seen_dollars = rules.seen_dollars or (pair.opening == "$" and is_evidence(inner))
    inner = inner.replace(BREAK, "\n")
    if pair.closing == _MATH_TAG and inner.lstrip().startswith("<"):
        parsed = LexborHTMLParser(f"<math>{inner}</math>").body
        math = None if parsed is None else parsed.first_child
        return None if math is None else Formula(mathml_to_latex(math), False, "mathml-escaped")
    return Formula(clean_latex(inner), pair.display, _CARRIERS.get(pair.opening, "tex-delimiters"))


def _find_closing(text: str, start: int, pair: Pair) -> int | None:
    """Where the closing delimiter is, at brace level 0, as MathJax looks for it."""
    limit = min(len(text), start + (LONGEST_DISPLAY if pair.display else LONGEST_INLINE))
    closing = pair.closing
    depth, position = 0, start
    while True:
        nearest = text.find(closing, position, limit)
        if nearest < 0:
            return None
        between = text[position:nearest]
        if "{" in between or "}" in between:
            between = between.replace("\\\\", "").replace("\\{", "").replace("\\}", "")
            depth += between.count("{") - between.count("}")
        slashes = nearest
        while slashes > position and text[slashes - 1] == "\\":
            slashes -= 1
        if depth <= 0 and (nearest - slashes) % 2 == 0:
            return nearest
        position = nearest + len(closing)


def _find_end(text: str, start: int, begin: str) -> int | None:
    """Behind the `\\end` that belongs to the environment that begins at `start`."""
    end = begin.replace("\\begin", "\\end", 1)
    depth, position = 1, start + len(begin)
    limit = start + LONGEST_DISPLAY
    while depth:
        nearest = text.find(end, position, limit)
        if nearest < 0:
            return None
        depth += text.count(begin, position, nearest) - 1
        position = nearest + len(end)
    return position
