"""TeX between delimiters in text: which delimiters the page means, and where its formulas are.

The page's own MathJax 2, 3 or KaTeX auto-render configuration is read from its scripts. Where it says nothing,
`\\(..\\)`, `\\[..\\]`, `$$..$$` and mathematical environments count, and `$..$` only where the content is plainly
mathematics: money is not.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ops.extract.registry import Formula, clean_latex
from ops.extract.words import words

ENVIRONMENTS = words(
    "equation align gather multline eqnarray alignat flalign displaymath math matrix pmatrix bmatrix vmatrix "
    "Vmatrix Bmatrix cases array aligned gathered split smallmatrix subequations dcases CD"
)
LONGEST_INLINE = 3_000
"""Characters in which the end of an inline formula is looked for."""
LONGEST_DISPLAY = 100_000
MOST_UNMATCHED = 500
"""After so many opening delimiters without an end a run of text is given up: it is not TeX."""
BREAK = "\x1e"
"""Stands for `<br>` inside a run of text."""

_SCRIPT = re.compile(r"<script\b[^>]*>(.*?)</script", re.IGNORECASE | re.DOTALL)
_STRING = r"""(?:"((?:[^"\\\n]|\\.){1,20})"|'((?:[^'\\\n]|\\.){1,20})')"""
_PAIR = re.compile(rf"\s*[\[,\s]*\[\s*{_STRING}\s*,\s*{_STRING}\s*\]")
_KEY = re.compile(r"""\b(inlineMath|displayMath)["']?\]?\s*[:=]\s*(?:\{\s*["']?\[\+\]["']?\s*:)?\s*\[""")
_KATEX_PAIR = re.compile(
    rf"""\bleft["']?\s*:\s*{_STRING}\s*,\s*["']?right["']?\s*:\s*{_STRING}(?:\s*,\s*["']?display["']?\s*:\s*(true|false|!0|!1))?"""
)
_CLASSES = re.compile(r"""\b(ignore|process)(?:Html)?Class["']?\s*:\s*["']([^"'\n]{1,300})["']""")
_NO_ENVIRONMENTS = re.compile(r"""processEnvironments["']?\s*:\s*(?:false|!1)""")
_NAME = re.compile(r"[\w-]+")


_UNESCAPE = re.compile(r"\\(.)")
_CARRIERS = {"$": "tex-dollar", "$$": "tex-dollars", "\\(": "tex-parenthesis", "\\[": "tex-bracket"}
_DEFAULTS = {"inline": [("\\(", "\\)")], "display": [("$$", "$$"), ("\\[", "\\]")]}
_COMMAND = re.compile(r"\\[A-Za-z]+|[\^_]|\\[,;:!{}|]")
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{3,}")
_SIMPLE = re.compile(
    r"\s*(?:[A-Za-z]'*|[+-]?\d+(?:\.\d+)?|[A-Za-z0-9]{1,3}(?:\s*[-+*/=<>,|]\s*[A-Za-z0-9]{1,3})+|[A-Za-z]{1,2}\([^()$]{1,12}\))\s*"
)
_REGULAR_EXPRESSION = re.compile(r"\.[*+?]|\[\^|[*+?]\s*$|\\[wdsWDSbB1-9.*](?![A-Za-z])|\)\?|\|\|")
_BEGIN = re.compile(r"\\begin\s*\{([A-Za-z]+)\*?\}")
_MONEY = re.compile(
    r"\s*\d[\d,.]*\s*(?:[kKmMbB]n?\b)?(?:[-–—,;:/&()\s]*$(?<!\d)|[^\\^_={}]*(?<![A-Za-z\\])[A-Za-z]{2,}[^\\^_={}]*$)"
)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A pair of delimiters."""

    opening: str
    closing: str
    display: bool
    sure: bool
    """The page typesets this pair, so that its content is mathematics whatever it looks like."""


@dataclass(kw_only=True)
class TexRules:
    """Which TeX in a page's text is mathematics."""

    pairs: dict[str, Pair]
    """By opening delimiter."""
    opener: re.Pattern[str]
    environments: bool
    typesets: bool
    """The page loads MathJax or KaTeX."""
    ignored: frozenset[str]
    processed: frozenset[str]
    num_plain_dollars: int = 0
    """Inline formulas between dollars that were plainly mathematics: evidence for the next ones."""

    def may_hold(self, text: str) -> bool:
        """Quick: whether any delimiter can be in `text`."""
        return ("$" in text or "\\" in text) if len(self.pairs) <= 4 else self.opener.search(text) is not None


def read_rules(html: str) -> TexRules:
    """Read the page's MathJax and KaTeX configuration out of its scripts."""
    typesets = "MathJax" in html or "mathjax" in html or "katex" in html or "renderMathInElement" in html
    configured: dict[str, list[tuple[str, str]]] = {"inline": [], "display": []}
    ignored = {"tex2jax_ignore", "mathjax_ignore"}
    processed = {"tex2jax_process", "mathjax_process"}
    environments = True
    for script in _SCRIPT.finditer(html) if typesets else ():
        text = script.group(1)
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
    pairs: dict[str, Pair] = {}
    for kind, found in configured.items():
        for opening, closing in found or (_DEFAULTS[kind] if typesets else ()):
            if not opening.startswith("\\begin"):
                pairs[opening] = Pair(opening=opening, closing=closing, display=kind == "display", sure=True)
    for kind, defaults in _DEFAULTS.items():
        for opening, closing in defaults:
            unsure = Pair(opening=opening, closing=closing, display=kind == "display", sure=False)
            pairs.setdefault(opening, unsure)
    if not configured["inline"]:
        pairs.setdefault("$", Pair(opening="$", closing="$", display=False, sure=False))
    alternatives = [re.escape(opening) for opening in sorted(pairs, key=len, reverse=True)]
    # A backslash takes the character behind it along, so that `\\(` (a line break, a bracket) opens nothing.
    opener = re.compile("|".join([*alternatives, _BEGIN.pattern.replace("(", "(?:"), r"\\[\s\S]"]))
    return TexRules(
        pairs=pairs,
        opener=opener,
        environments=environments,
        typesets=typesets,
        ignored=frozenset(ignored),
        processed=frozenset(processed),
    )


def _pairs(text: str, start: int) -> Iterator[tuple[str, str]]:
    while match := _PAIR.match(text, start):
        yield _unescape(match, 1), _unescape(match, 3)
        start = match.end()


def _unescape(match: re.Match[str], group: int) -> str:
    string = match.group(group) if match.group(group) is not None else match.group(group + 1)
    return _UNESCAPE.sub(r"\1", string)


def split_formulas(text: str, rules: TexRules) -> list[str | Formula]:
    """Cut a run of text into text and formulas. Text keeps `BREAK`; in formulas it becomes a line end."""
    pieces: list[str | Formula] = []
    done = position = unmatched = 0
    while unmatched < MOST_UNMATCHED:
        match = rules.opener.search(text, position)
        if match is None:
            break
        opening = match.group()
        position = match.end()
        pair = rules.pairs.get(opening)
        if pair is not None:
            end = _find_closing(text, position, pair)
            inner = text[position:end] if end is not None else ""
            after = (end or 0) + len(pair.closing)
            if end is None:
                unmatched += 1
                continue
            if not _accept(inner, text[after : after + 1], pair, rules):
                continue
            formula = Formula(
                clean_latex(inner.replace(BREAK, "\n")), pair.display, _CARRIERS.get(opening, "tex-delimiters")
            )
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
            pieces += [text[done : match.start()], formula]
            done = position = after
    pieces.append(text[done:])
    return [piece for piece in pieces if piece != ""]


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
        escaped = (nearest - len(text[:nearest].rstrip("\\"))) % 2 if nearest and text[nearest - 1] == "\\" else 0
        if depth <= 0 and not escaped:
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


def _accept(inner: str, following: str, pair: Pair, rules: TexRules) -> bool:
    """Whether the text between delimiters is mathematics."""
    if not inner.strip() or (pair.opening == "$$" and not inner.strip("$ ")):
        return False
    dollar = pair.opening == "$"
    if dollar and _MONEY.match(inner):
        return False
    if pair.sure:
        return not (dollar and inner[:1].isspace() and inner[-1:].isspace() and not _COMMAND.search(inner))
    if dollar and (inner[0].isspace() or inner[-1].isspace() or following.isdigit() or BREAK in inner):
        return False
    commands = len(_COMMAND.findall(inner))
    words = len(_WORD.findall(inner))
    if not dollar and _REGULAR_EXPRESSION.search(inner):
        return False
    if "\\" in inner or "{" in inner:
        plain = commands > 0 and words <= 2 + 2 * commands
    else:
        plain = commands > 0 and words == 0 and not inner.startswith("_") and (rules.typesets or not dollar)
    if plain:
        rules.num_plain_dollars += dollar
        return True
    if words > 1:
        return False
    if dollar:
        return (rules.num_plain_dollars > 0 or rules.typesets) and _SIMPLE.fullmatch(inner) is not None
    return (words == 0 and len(inner) < 60 and any(map(str.isalnum, inner))) or ("=" in inner and len(inner) < 200)
