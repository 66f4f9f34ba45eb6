"""MathJax: its script elements (version 2) and what it renders (versions 2 to 4)."""

import re
from collections.abc import Mapping

from selectolax.lexbor import LexborNode

from ops.extract.asciimath import asciimath_to_latex
from ops.extract.carriers.dom import (
    ancestor_has_class,
    children,
    class_names,
    descendants,
    first,
    next_element,
    own_text,
    parse_math,
    repeats_hidden,
    within,
)
from ops.extract.carriers.mathml import from_math
from ops.extract.mathjax import boxes_to_mathml, is_too_large
from ops.extract.mathml import mathml_to_latex
from ops.extract.registry import SKIP, TOO_LARGE, Formula, carrier, is_tex, is_tex_label, make_formula, undelimit

_DISPLAY = re.compile(r";\s*mode\s*=\s*[\"']?display", re.IGNORECASE)
_DISPLAY_CLASSES = frozenset(["MathJax_Display", "MathJax_SVG_Display", "MJXc-display"])
_SCRIPTS = ("math/tex", "math/latex", "math/mml", "math/asciimath")
_MOST_COPIES = 4
"""Elements of MathJax between a rendered formula and its script."""


def _is_math_script(node: LexborNode | None) -> bool:
    return (
        node is not None
        and node.tag == "script"
        and (node.attributes.get("type") or "").strip().lower().startswith(_SCRIPTS)
    )


@carrier(tags=["script"])
def mathjax_script(node: LexborNode, attrs: Mapping[str, str | None]) -> Formula | object | None:
    """`<script type="math/tex">`, `math/tex; mode=display` in any spelling, `math/mml` and `math/asciimath`."""
    kind = (attrs.get("type") or "").strip().lower()
    if not kind.startswith(_SCRIPTS):
        return None
    content = node.text() or ""
    display = _DISPLAY.search(kind) is not None
    if kind.startswith("math/mml"):
        math = parse_math(content)
        return SKIP if math is None else from_math(math, "mathjax-script-mml", display or None)
    if kind.startswith("math/asciimath"):
        return make_formula(asciimath_to_latex(content.strip().strip("`")), display, "asciimath")
    latex, wide = undelimit(content)
    return make_formula(latex, bool(wide) or display, "mathjax-script")


@carrier(
    classes=[
        "MathJax",
        "MathJax_Display",
        "MathJax_SVG",
        "MathJax_SVG_Display",
        "MathJax_CHTML",
        "MathJax_PlainSource",
        "mjx-chtml",
        "MJXc-display",
    ]
)
def mathjax2_rendered(node: LexborNode, attrs: Mapping[str, str | None]) -> Formula | object | None:
    """What MathJax 2 rendered: a copy when its script follows, else its MathML is the formula."""
    if node.tag == "mjx-container":
        return None
    following = next_element(node)
    for _ in range(_MOST_COPIES):
        if following is None or not any(name.startswith(("MathJax", "mjx")) for name in class_names(following)):
            break
        following = next_element(following)
    if _is_math_script(following):
        return SKIP
    if any(_is_math_script(script) for script in descendants(node, "script")):
        return None  # a wrapper around both
    display = not _DISPLAY_CLASSES.isdisjoint(class_names(node)) or ancestor_has_class(node, _DISPLAY_CLASSES, 2)
    for below in (node, *within(node)):
        source = below.attributes.get("data-mathml")
        math = parse_math(source) if source else below if below.tag == "math" else None
        if math is not None:
            return from_math(math, "mathjax-data-mathml" if source else "mathjax-assistive", display)
        label = below.attributes.get("aria-label")
        if label and is_tex_label(label):
            return make_formula(label, display, "mathjax-label")
        if below.tag == "title" and is_tex_label(below.text() or ""):
            return make_formula(below.text(), display, "mathjax-label")
    return _from_boxes(node, display)


@carrier(classes=["MathJax_Preview"])
def preview(node: LexborNode, attrs: Mapping[str, str | None]) -> Formula | object | None:
    """What MathJax 2 shows until it has rendered: the formula, on a page that was saved without the rest."""
    following = next_element(node)
    if following is not None and (
        _is_math_script(following) or any(name.startswith(("MathJax", "mjx")) for name in class_names(following))
    ):
        return None
    latex, wide = undelimit(own_text(node))
    return make_formula(latex, bool(wide), "mathjax-preview") if is_tex(latex) else None


@carrier(tags=["mjx-container"])
def mathjax3_rendered(node: LexborNode, attrs: Mapping[str, str | None]) -> Formula | object | None:
    """What MathJax 3 and 4 render: its LaTeX when there (version 4), else its MathML, else its boxes."""
    if repeats_hidden(node):
        return SKIP
    display = (attrs.get("display") or "").lower() in ("true", "block")
    latex = attrs.get("data-latex")
    if latex:
        return make_formula(latex, display, "mathjax-data-latex")
    for below in within(node):
        if below.tag == "math" or below.tag == "mjx-math" or below.attributes.get("data-mml-node") == "math":
            latex = below.attributes.get("data-latex")
            if latex:
                return make_formula(latex, display, "mathjax-data-latex")
    math = first(node, "math")
    if math is not None:
        return from_math(math, "mathjax-assistive", display)
    label = attrs.get("aria-label") or ""
    if is_tex_label(label):
        return make_formula(label, display, "mathjax-label")
    return _from_boxes(node, display)


@carrier(tags=["svg"])
def svg(node: LexborNode, attrs: Mapping[str, str | None]) -> Formula | object | None:
    """A drawing of a formula: what MathJax drew outside its container, or a title or label in TeX."""
    label = attrs.get("aria-label") or ""
    if not is_tex_label(label):
        title = first(node, "title") if "aria-labelledby" in attrs or attrs.get("role") in ("img", "math") else None
        label = (title.text() or "").strip() if title is not None else ""
    display = "display: block" in (attrs.get("style") or "") or ancestor_has_class(node, _DISPLAY_CLASSES, 2)
    if is_tex_label(label):
        latex, wide = undelimit(label)
        return make_formula(latex, display or bool(wide), "svg-label")
    for group in children(node, "g"):
        for math in children(group, "g"):
            if math.attributes.get("data-mml-node") == "math":
                latex = math.attributes.get("data-latex")
                return make_formula(latex, display, "mathjax-data-latex") if latex else _from_boxes(node, display)
    return None


def _from_boxes(node: LexborNode, display: bool) -> Formula | object | None:
    if is_too_large(node):
        return TOO_LARGE
    markup = boxes_to_mathml(node)
    math = parse_math(markup) if markup else None
    if math is None:
        return None
    return make_formula(mathml_to_latex(math), display, "mathjax-boxes")
