"""AsciiMath to LaTeX.

The grammar is that of asciimath.org: an expression is a row of `S_S^S` and `I/I`, where `S` is a constant, a bracketed
expression or an operator with its arguments; the longest symbol that matches is read; brackets around an argument of an
operator are not written. Rows in brackets are matrices.
"""

from ops.extract.asciimath.parser import asciimath_to_latex

__all__ = ["asciimath_to_latex"]
