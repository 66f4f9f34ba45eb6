"""MathJax: its script elements (version 2) and what it renders (versions 2 to 4)."""

import re
from collections.abc import Mapping

from selectolax.lexbor import LexborHTMLParser, LexborNode

from ops.extract.carriers.dom import ancestor_has_class, class_names, descendants, first, next_element
from ops.extract.carriers.mathml import from_math
from ops.extract.registry import SKIP, Formula, carrier, make_formula, undelimit

_DISPLAY = re.compile(r";\s*mode\s*=\s*[\"']?display", re.IGNORECASE)
_DISPLAY_CLASSES = frozenset(["MathJax_Display", "MathJax_SVG_Display", "MJXc-display"])


def _is_math_script(node: LexborNode | None) -> bool:
    return (
        node is not None
        and node.tag == "script"
        and (node.attributes.get("type") or "").strip().lower().startswith(("math/tex", "math/mml", "math/asciimath"))
    )


@carrier(tags=["script"])
def mathjax_script(node: LexborNode, attrs: Mapping[str, str | None]) -> Formula | object | None:
    """`<script type="math/tex">`, `math/tex; mode=display` in any spelling, and `math/mml`."""
    kind = (attrs.get("type") or "").strip().lower()
    if not kind.startswith("math/"):
        return None
    content = node.text() or ""
    if kind.startswith("math/mml"):
        parsed = LexborHTMLParser(content).body
        math = first(parsed, "math") if parsed is not None else None
        return SKIP if math is None else from_math(math, "mathjax-script-mml")
    if not kind.startswith("math/tex"):
        return None
    latex, display = undelimit(content)
    return make_formula(latex, display or _DISPLAY.search(kind) is not None, "mathjax-script")


@carrier(classes=["MathJax", "MathJax_Display", "MathJax_SVG", "MathJax_SVG_Display", "MathJax_CHTML", "mjx-chtml"])
def mathjax2_rendered(node: LexborNode, attrs: Mapping[str, str | None]) -> Formula | object | None:
    """What MathJax 2 rendered: a copy when its script follows, else its MathML is the formula."""
    if node.tag == "mjx-container":
        return None
    following = next_element(node)
    while following is not None and any(name.startswith(("MathJax", "mjx")) for name in class_names(following)):
        following = next_element(following)
    if _is_math_script(following):
        return SKIP
    if any(_is_math_script(script) for script in descendants(node, "script")):
        return None  # a wrapper around both
    display = not _DISPLAY_CLASSES.isdisjoint(class_names(node)) or ancestor_has_class(node, _DISPLAY_CLASSES, 2)
    source = attrs.get("data-mathml")
    if source is None:
        for below in node.traverse(include_text=False):
            source = below.attributes.get("data-mathml")
            if source or below.tag == "math":
                break
        else:
            return None
        if not source:
            math = first(node, "math")
            return None if math is None else from_math(math, "mathjax-assistive", display)
    parsed = LexborHTMLParser(source).body
    math = first(parsed, "math") if parsed is not None else None
    return None if math is None else from_math(math, "mathjax-data-mathml", display)


@carrier(tags=["mjx-container"])
def mathjax3_rendered(node: LexborNode, attrs: Mapping[str, str | None]) -> Formula | object | None:
    """What MathJax 3 and 4 render: its LaTeX when there (version 4), else its assistive MathML."""
    display = (attrs.get("display") or "").lower() in ("true", "block")
    latex = attrs.get("data-latex")
    if latex:
        return make_formula(latex, display, "mathjax-data-latex")
    for below in node.traverse(include_text=False):
        latex = below.attributes.get("data-latex") if below.tag in ("mjx-math", "math") else None
        if latex:
            return make_formula(latex, display, "mathjax-data-latex")
        if below.tag == "math":
            return from_math(below, "mathjax-assistive", display)
    return None
