"""KaTeX: the LaTeX in its annotation, its MathML, or the boxes alone."""

from collections.abc import Mapping

from selectolax.lexbor import LexborNode

from ops.extract.carriers.dom import class_names
from ops.extract.carriers.mathml import from_math, tex_annotation
from ops.extract.katex_boxes import boxes_to_latex
from ops.extract.registry import Formula, carrier, make_formula


@carrier(classes=["katex"])
def katex(node: LexborNode, attrs: Mapping[str, str | None]) -> Formula | object | None:
    """`<span class="katex">`, inline or in a `katex-display`."""
    display = "katex-display" in class_names(node.parent) or "katex-display" in class_names(node)
    boxes = None
    for below in node.traverse(include_text=False):
        if below.tag == "math":
            latex = tex_annotation(below)
            return make_formula(latex, display, "katex") if latex else from_math(below, "katex-mathml", display)
        if "katex-html" in class_names(below):
            boxes = below
            break
    if boxes is None:
        return None
    latex = boxes_to_latex(boxes)
    return make_formula(latex, display, "katex-html") if latex else None
