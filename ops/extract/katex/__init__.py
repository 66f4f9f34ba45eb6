"""KaTeX HTML without its LaTeX: the formula from the boxes.

KaTeX's class names keep what a box is (`mfrac`, `msupsub`, `mop`), its font and, in `top` styles, which box of a stack
is above which. The boxes become a tree of MathML, which the converter for MathML writes. Spaces narrower than a quad
are not kept: KaTeX writes those between operators the same way. Versions 0.6 to 0.19 are read; since 0.17 the generic
class names have a prefix.
"""

from selectolax.lexbor import LexborNode

from ops.extract.katex import builders, tables  # noqa: F401  (they register)
from ops.extract.katex.dom import elements, names_of, text_of
from ops.extract.katex.walk import children
from ops.extract.mathml import Node, nodes_to_latex, settle


def boxes_to_latex(boxes: LexborNode) -> str | None:
    """The LaTeX of a `katex-html` element; None when its boxes hold no character."""
    latex = nodes_to_latex(settle(Node("math", children(boxes, 0))))
    tag = next((child for child in elements(boxes) if "tag" in names_of(child)), None)
    if tag is not None and latex:
        latex += f" \\tag{{{' '.join(text_of(tag).split()).strip('()')}}}"
    return latex or None
