"""Elements that say they hold TeX: by class name, tag or data attribute, with or without delimiters inside."""

import re
from collections.abc import Mapping

from selectolax.lexbor import LexborNode

from ops.extract.carriers.dom import class_names, own_text
from ops.extract.registry import Formula, carrier, make_formula, undelimit

_TEX = re.compile(r"\\[A-Za-z]+|[\^_=<>+]|^\s*[A-Za-z0-9]\s*$")
_CLASSES = (
    "math",
    "language-math",
    "arithmatex",
    "tex",
    "latex",
    "math-inline",
    "math-display",
    "mathp",
    "katex-block",
    "katex-inline",
)
_INLINE_TAGS = frozenset(["span", "code", "tt", "i", "em", "math-renderer"])


@carrier(attributes=["data-expr", "data-tex", "data-formula", "data-katex", "data-math"])
def data_attribute(node: LexborNode, attrs: Mapping[str, str | None]) -> Formula | object | None:
    """LaTeX in a data attribute of an element that is a formula by its class name, as Zhihu and others write it."""
    names = " ".join(class_names(node)).lower()
    if not any(word in names for word in ("tex", "math", "formula", "equation")):
        return None
    for name in ("data-expr", "data-tex", "data-formula", "data-katex", "data-math"):
        if attrs.get(name):
            latex, wide = undelimit(attrs[name] or "")
            return make_formula(latex, wide or node.tag == "div" or "display" in names, "data-attribute")
    return None


@carrier(classes=_CLASSES)
def marked_text(node: LexborNode, attrs: Mapping[str, str | None]) -> Formula | object | None:
    """Raw TeX in an element of class `math` and the like, with delimiters or without."""
    for below in node.traverse(include_text=False):
        if below.mem_id != node.mem_id and below.tag not in ("br", "wbr", "code", "span"):
            return None
        if below.mem_id != node.mem_id and below.attributes.get("class"):
            return None
    text = own_text(node)
    latex, wide = undelimit(text)
    names = class_names(node)
    if wide is None:
        if not _TEX.search(latex) or "\\(" in latex or "\\[" in latex or "$" in latex:
            return None  # several formulas, or words: the delimiters in its text decide
        wide = node.tag not in _INLINE_TAGS or "display" in names or "math-display" in names
    return make_formula(latex, wide, "marked-text")
