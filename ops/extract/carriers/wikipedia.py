"""Wikipedia and other MediaWiki sites: MathML, a fallback image, or both, of one formula."""

from collections.abc import Mapping

from selectolax.lexbor import LexborNode

from ops.extract.carriers.dom import class_names, first
from ops.extract.carriers.mathml import from_math, unwrap_style
from ops.extract.registry import Formula, carrier, make_formula


@carrier(classes=["mwe-math-element"])
def mediawiki(node: LexborNode, attrs: Mapping[str, str | None]) -> Formula | object | None:
    """`<span class="mwe-math-element">`: hidden MathML beside an image; the MathML is the formula."""
    math = first(node, "math")
    image = first(node, "img")
    display = any("display" in name for part in (node, image) for name in class_names(part)) or (
        math is not None and (math.attributes.get("display") or "") == "block"
    )
    if math is not None:
        return from_math(math, "mediawiki", display)
    if image is not None:
        return make_formula(unwrap_style((image.attributes.get("alt") or "").strip()), display, "mediawiki-image")
    return None
