"""Images of formulas with their TeX in `alt`, `title` or the address of the service that drew them."""

import re
from collections.abc import Mapping
from urllib.parse import unquote, unquote_plus

from selectolax.lexbor import LexborNode

from ops.extract.carriers.dom import ancestor_has_class
from ops.extract.carriers.mathml import unwrap_style
from ops.extract.registry import SKIP, Formula, carrier, make_formula, undelimit
from ops.extract.words import words

_CLASSES = words(
    "math tex latex latexcenter texrender mimetex formulainl formuladsp formula mathimage tex-image equation "
    "wp-image-latex mwe-math-fallback-image-inline mwe-math-fallback-image-display"
)
_DISPLAY_CLASSES = frozenset(["formuladsp", "latexcenter", "display", "mwe-math-fallback-image-display"])
_DISPLAY_PARENTS = frozenset(["math", "equation", "displaymath", "math-display", "displayed-equation", "latexcenter"])
_SERVICES = (
    (re.compile(r"codecogs\.com/[^?]*\?(.+)$", re.DOTALL), unquote),
    (
        re.compile(r"/(?:mimetex|mathtex|latex2png|tex|latexrender)\.(?:cgi|php|exe)\?(?:formula=)?(.+)$", re.DOTALL),
        unquote,
    ),
    (re.compile(r"wp\.com/latex\.php\?(?:.*&)?latex=([^&]+)"), unquote_plus),
    (re.compile(r"latex\.php\?(?:.*&)?latex=([^&]+)"), unquote_plus),
    (re.compile(r"chart\.(?:google)?apis\.(?:google\.)?com/chart\?(?:.*&)?chl=([^&]+)"), unquote_plus),
    (re.compile(r"render\.githubusercontent\.com/render/math\?(?:.*&)?math=([^&]+)"), unquote_plus),
    (re.compile(r"i\.upmath\.me/(?:svg|png)/(.+)$", re.DOTALL), unquote),
    (re.compile(r"zhihu\.com/equation\?(?:.*&)?tex=([^&]+)"), unquote_plus),
)
_DRAWN = re.compile(r"latex\.artofproblemsolving\.com/|/_images/math/|quicklatex\.com/cache")
_STYLE = re.compile(
    r"^(?:\\(?:inline|dpi\{\d+\}|bg_\w+|fg_\w+|small|large|Large|LARGE|huge|textstyle|displaystyle)\b\s*|(?:\\\s)+)+"
)
_GARBAGE = re.compile(
    r"^(?:image|img|formula|equation|math|latex|tex|\.\.\.|\S+\.(?:png|gif|svg|jpe?g))$", re.IGNORECASE
)
_TEX = re.compile(r"\\[A-Za-z]+|[\^_]\{?|\\\(|\\\[")


@carrier(tags=["img"])
def image(node: LexborNode, attrs: Mapping[str, str | None]) -> Formula | object | None:
    """An `<img>` that draws a formula; any other image is left out."""
    source = (attrs.get("src") or attrs.get("data-src") or "").strip()
    names = frozenset((attrs.get("class") or "").lower().split())
    alt = (attrs.get("alt") or "").strip()
    from_service = _from_address(source)
    marked = not _CLASSES.isdisjoint(names) or from_service is not None or _DRAWN.search(source) is not None
    delimited, wide = undelimit(alt)
    if not marked and not ((wide is not None or alt.startswith("\\begin{")) and _TEX.search(delimited)):
        return SKIP
    title = (attrs.get("title") or "").strip()
    written = next((text for text in (alt, title) if text and not _GARBAGE.match(text)), "")
    if from_service is not None and (not written or not _TEX.search(written)):
        written = from_service if not written or _TEX.search(from_service) else written
    latex, wide = undelimit(written)
    display = (
        bool(wide)
        or not _DISPLAY_CLASSES.isdisjoint(names)
        or "displaystyle" in source
        or alt.startswith("\\begin{")
        or ("math" in names and node.parent is not None and ancestor_has_class(node, _DISPLAY_PARENTS, 2))
    )
    return make_formula(unwrap_style(_STYLE.sub("", latex)), display, "image-url" if not alt else "image-alt")


def _from_address(source: str) -> str | None:
    if "?" not in source and "upmath" not in source:
        return None
    for pattern, decode in _SERVICES:
        match = pattern.search(source)
        if match:
            return decode(match.group(1)).strip()
    return None
