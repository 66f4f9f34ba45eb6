"""MathML to LaTeX: presentation, content, and both mixed.

`nodes` reads the element into a light tree; every other module writes some elements of it.
"""

import re

from selectolax.lexbor import LexborNode

from ops.extract.mathml import content_elements, elementary, rows, scripts, tables, tokens  # noqa: F401  (they register)
from ops.extract.mathml.core import convert
from ops.extract.mathml.nodes import Node, read, settle, token

_SPACES = re.compile(r" {2,}")


def mathml_to_latex(math: LexborNode) -> str:
    """The LaTeX of a `<math>` element (its children), without delimiters."""
    return nodes_to_latex(read(math))


def nodes_to_latex(root: Node) -> str:
    """The LaTeX of a tree of MathML."""
    return _SPACES.sub(" ", convert(root)).strip()


__all__ = ["Node", "mathml_to_latex", "nodes_to_latex", "read", "settle", "token"]
