"""Images of formulas with their TeX in `alt`, `title` or the address of the service that drew them."""

import re
from collections.abc import Iterator, Mapping
from html import unescape
from urllib.parse import unquote, unquote_plus

from selectolax.lexbor import LexborNode

from ops.extract.asciimath import asciimath_to_latex
from ops.extract.carriers.dom import ancestor_has_class, class_names, first, repeats_hidden
from ops.extract.carriers.mathml import unwrap_style
from ops.extract.carriers.tex import from_attribute
from ops.extract.registry import SKIP, Formula, carrier, is_tex, make_formula, undelimit
from ops.extract.words import words

_CLASSES = words(
    "math tex latex latexcenter texrender mimetex formulainl formuladsp formula mathimage tex-image equation "
    "wp-image-latex mwe-math-fallback-image-inline mwe-math-fallback-image-display ql-img-inline-formula "
    "ql-img-displayed-equation math-inline math-block latex-image latex-img org-latex latexmath tex2jax tex-img"
)
_DISPLAY_CLASSES = words(
    "formuladsp latexcenter display mwe-math-fallback-image-display ql-img-displayed-equation math-block"
)
_DISPLAY_PARENTS = words(
    "math equation displaymath math-display displayed-equation latexcenter ql-center-displayed-equation formulaDsp"
)
_MATHWORLD = words("inlineformula numberedequation displayformula")
_SOURCES = words("src data-src data-original data-lazy-src data-lazy srcset data-srcset data-latex-src")
_PARAMETER = (
    r"(?:wp\.com/latex\.php|latex\.php|codecogs\.com/editor/|quicklatex\.com/|sciweavers\.org/tex2img\.php"
    r"|chart\.(?:google)?apis\.(?:google\.)?com/chart|render\.githubusercontent\.com/render/math|/equation|/math"
    r"|math\.(?:now\.sh|vercel\.app)/?|tex\.z-dn\.net/?|/render_latex|/tex/|/latex(?:2png|2svg|img)?(?:/|\.\w+)?)"
)
_SERVICES = (
    (re.compile(r"codecogs\.com/[^?]*\?(.+)$", re.DOTALL), unquote),
    (
        re.compile(
            r"/(?:mimetex|mathtex|latex2png|tex|latexrender|render)\.(?:cgi|php|exe)\?(?:formula=|tex=)?(.+)$",
            re.DOTALL,
        ),
        unquote,
    ),
    (re.compile(rf"{_PARAMETER}\?(?:.*&)?(?:latex|chl|math|tex|formula|eq|f|from|inline|code)=([^&]+)"), unquote_plus),
    (re.compile(r"nlark\.com/.*[#&]code=([^&]+)"), unquote),
    (re.compile(r"(?:i\.upmath\.me|tex\.s2cms\.(?:ru|com))/(?:svg|png)/(.+)$", re.DOTALL), unquote),
    (re.compile(r"texify\.com/(?:img/)?(.+?)(?:\.gif|\.png)?$", re.DOTALL), unquote),
    (re.compile(r"/(?:formula|equation|latex|tex|math|eq)s?/((?:%5C|\\)[A-Za-z].*)$", re.DOTALL | re.I), unquote),
)
_MAYBE_SERVICE = re.compile(r"[?#]|upmath|s2cms|texify|%5[cC]|\\")
_SERVICE_NAME = re.compile(r"tex|math|codecogs|sciweavers|chart|render|equation|formula|nlark|s2cms|/eq", re.IGNORECASE)
"""In every address that `_SERVICES` knows; most images have none of them."""
_DRAWN = re.compile(
    r"latex\.artofproblemsolving\.com/|(?:^|/)_images/math/|quicklatex\.com/cache|ltximg/|/filter/tex/pix\.php"
)
_STYLE = re.compile(
    r"^(?:\\(?:inline|dpi\s*\{\d+\}|bg_\w+|fg_\w+|fn_\w+|tiny|small|normalsize|large|Large|LARGE|huge|Huge|textstyle"
    r"|displaystyle|reverse|png|gif|\d{2,3}dpi|color\{black\}|bg\{\w+\})(?![A-Za-z])\s*|(?:\\[\s!,])+)+"
)
_CODED = re.compile(r"&(space|plus|hash|amp);")
_CODES = {"space": " ", "plus": "+", "hash": "#", "amp": "&"}
_GARBAGE = re.compile(
    r"^(?:image|img|formula|equation|math|latex|tex|eq|\.\.\.|rendered by quicklatex\.com|\S+\.(?:png|gif|svg|jpe?g))$",
    re.IGNORECASE,
)
_TEX = re.compile(r"\\[A-Za-z]+|[\^_]\{?|\\\(|\\\[")
_WHOLE = re.compile(r"\s*(?:\\[A-Za-z]|[A-Za-z]{1,2}(?![A-Za-z])|[-+(\[{|\d])")
_PROSE = re.compile(r"(?<![\\A-Za-z{])[A-Za-z]{4,}")

LONGEST_NOSCRIPT = 20
"""Characters of text in a `<noscript>` that stands for an image alone."""


@carrier(tags=["img"])
def image(node: LexborNode, attrs: Mapping[str, str | None]) -> Formula | object | None:
    """An `<img>` that draws a formula; any other image is left out."""
    found = _image(node, attrs)
    return SKIP if found is not SKIP and repeats_hidden(node) else found


def _image(node: LexborNode, attrs: Mapping[str, str | None]) -> Formula | object:
    if attrs.get("data-mathml"):
        return from_attribute(attrs) or SKIP
    names = frozenset((attrs.get("class") or "").lower().split())
    alt = (attrs.get("alt") or "").strip()
    source, drawn = "", False
    from_service: str | None = None
    for address in _addresses(attrs):
        source = source or address
        drawn = drawn or _DRAWN.search(address) is not None
        from_service = from_service or _from_address(address)
    if not _MATHWORLD.isdisjoint(names) and alt:
        display = "inlineformula" not in names
        return make_formula(alt if is_tex(alt) and "\\" in alt else asciimath_to_latex(alt), display, "image-alt")
    marked = not _CLASSES.isdisjoint(names) or from_service is not None or drawn
    if not marked:
        if _TEX.search(alt) is None:
            return SKIP
        delimited, wide = undelimit(alt)
        whole = (wide is not None or alt.startswith("\\begin{")) and _TEX.search(delimited)
        if not whole and not _is_formula(alt):
            return SKIP
    title = (attrs.get("title") or "").strip()
    stated = (attrs.get("data-latex") or attrs.get("data-tex") or attrs.get("data-formula") or "").strip()
    written = next((text for text in (stated, alt, title) if text and not _GARBAGE.match(text)), "")
    if from_service is not None and (not written or not _TEX.search(written)):
        written = from_service if not written or _TEX.search(from_service) else written
    latex, wide = undelimit(unescape(written) if "&" in written and _CODED.search(written) is None else written)
    around = node.parent
    display = (
        bool(wide)
        or not _DISPLAY_CLASSES.isdisjoint(names)
        or "displaystyle" in source
        or alt.startswith(("\\begin{", "\\["))
        or (("math" in names or drawn) and ancestor_has_class(node, _DISPLAY_PARENTS, 2))
        or (around is not None and not _DISPLAY_PARENTS.isdisjoint(class_names(around)))
    )
    if latex.startswith("\\begin{math}"):
        display = False
    latex = _CODED.sub(lambda match: _CODES[match.group(1)], latex)
    return make_formula(unwrap_style(_STYLE.sub("", latex)), display, "image-url" if not alt else "image-alt")


@carrier(tags=["noscript"])
def noscript(node: LexborNode, attrs: Mapping[str, str | None]) -> Formula | object | None:
    """The image of a formula that only readers without scripts are given; a copy of the element before is not."""
    drawn = first(node, "img")
    if drawn is None or len((node.text(deep=True) or "").strip()) > LONGEST_NOSCRIPT:
        return None
    before = node.prev
    while before is not None and before.tag == "-text" and not (before.text_content or "").strip():
        before = before.prev
    if before is not None and before.tag != "-text" and (before.tag == "img" or first(before, "img", "math", "svg")):
        return SKIP
    after = node.next
    if after is not None and after.tag == "img":
        return SKIP
    return image(drawn, drawn.attributes)


def _addresses(attrs: Mapping[str, str | None]) -> Iterator[str]:
    """The image's addresses; pages that load images late keep the real one beside a placeholder."""
    for name in attrs:
        if name in _SOURCES:
            value = (attrs[name] or "").strip()
            if value and not value.startswith("data:"):
                yield value.partition(" ")[0] if "srcset" in name else value


def _from_address(source: str) -> str | None:
    if not _MAYBE_SERVICE.search(source) or not _SERVICE_NAME.search(source):
        return None
    for pattern, decode in _SERVICES:
        match = pattern.search(source)
        if match:
            return decode(match.group(1)).strip()
    return None


def _is_formula(alt: str) -> bool:
    """Whether an unmarked image's text can only be TeX: it has commands, and no words outside them."""
    return (
        "\\" in alt
        and is_tex(alt)
        and _WHOLE.match(alt) is not None
        and re.search(r"\\[A-Za-z]+\s*[{^_(\[]|[\^_]\{|\\(?:le|ge|ne|in|to|cdot|times|infty|pi|alpha)\b", alt)
        is not None
        and len(_PROSE.findall(alt)) <= alt.count("{")
    )
