"""KaTeX: the LaTeX in its annotation, its MathML, or the boxes alone."""

import re
from collections.abc import Mapping

from selectolax.lexbor import LexborNode

from ops.extract.carriers.dom import class_names, first, repeats_hidden, within
from ops.extract.carriers.mathml import from_math, tex_annotation
from ops.extract.katex import boxes_to_latex
from ops.extract.registry import SKIP, Formula, carrier, is_tex, make_formula

_BLANK_LINE = re.compile(r"\n[ \t]*\n")


@carrier(classes=["katex"])
def katex(node: LexborNode, attrs: Mapping[str, str | None]) -> Formula | object | None:
    """`<span class="katex">`, inline or in a `katex-display`."""
    if repeats_hidden(node):
        return SKIP
    display = "katex-display" in class_names(node.parent) or "katex-display" in class_names(node)
    boxes = None
    for below in within(node):
        if below.tag == "math":
            latex = tex_annotation(below)
            return make_formula(latex, display, "katex") if latex else from_math(below, "katex-mathml", display)
        names = class_names(below)
        if "katex-mathml" in names and first(below, "math") is None:
            # MathML without its tags, as a site's sanitizer leaves it: the text ends with the annotation.
            latex = _BLANK_LINE.split((below.text(deep=True) or "").strip())[-1].strip()
            if is_tex(latex):
                return make_formula(latex, display, "katex-text")
        if "katex-html" in names:
            boxes = below
            break
    if boxes is None:
        return None
    latex = boxes_to_latex(boxes)
    return make_formula(latex, display, "katex-html") if latex else None
