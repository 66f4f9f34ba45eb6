"""MathJax output without its source: MathML from the boxes of versions 2 to 4.

MathJax names every box after the MathML element it draws: as an element (`mjx-msub`, versions 3 and 4), as a class name
(`mjx-msubsup`, version 2) or in `data-mml-node` (SVG). Characters are text, code points in class names (`mjx-c1D6FC`)
or code points in `data-c`. That is the MathML again, up to attributes that leave no trace.
"""

from ops.extract.mathjax.convert import boxes_to_mathml, is_too_large

__all__ = ["boxes_to_mathml", "is_too_large"]
