"""MathML: its TeX annotation, its `alttext`, or a conversion of the presentation itself."""

import re
from collections.abc import Mapping

from selectolax.lexbor import LexborNode

from ops.extract.carriers.dom import class_names, descendants
from ops.extract.mathml import mathml_to_latex
from ops.extract.registry import SKIP, Formula, carrier, make_formula, undelimit

_TEX_ENCODING = re.compile(r"(?:(?:application|text|math)/)?(?:x-)?(?:la)?tex(?![a-z])", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z]{4,}")


def tex_annotation(math: LexborNode) -> str | None:
    """The TeX in an annotation of a `<math>` element."""
    for annotation in descendants(math, "annotation"):
        if _TEX_ENCODING.match((annotation.attributes.get("encoding") or "").strip()):
            latex = (annotation.text() or "").strip()
            if latex:
                return latex
    return None


def from_math(math: LexborNode, name: str, display: bool | None = None) -> Formula | object:
    """The formula of a `<math>` element."""
    attrs = math.attributes
    if display is None:
        parent = class_names(math.parent)
        display = (
            (attrs.get("display") or "").lower() == "block"
            or (attrs.get("mode") or "").lower() == "display"
            or "display" in parent
        )
    latex = tex_annotation(math)
    if latex:
        return make_formula(unwrap_style(undelimit(latex)[0]), display, f"{name}-annotation")
    alttext = (attrs.get("alttext") or "").strip()
    if alttext and "\ufffd" not in alttext and not _is_speech(alttext):
        return make_formula(unwrap_style(undelimit(alttext)[0]), display, f"{name}-alttext")
    return make_formula(mathml_to_latex(math), display, name)


def _is_speech(alttext: str) -> bool:
    """Whether an `alttext` is words for a screen reader ("x squared") and not TeX."""
    return not any(mark in alttext for mark in "\\^_{}") and _WORD.search(alttext) is not None


@carrier(tags=["math"])
def mathml(node: LexborNode, attrs: Mapping[str, str | None]) -> Formula | object | None:
    """A `<math>` element in the page."""
    found = from_math(node, "mathml")
    return SKIP if found is None else found


def unwrap_style(latex: str) -> str:
    """Without the `{\\displaystyle ...}` that Wikipedia's renderer puts around everything."""
    for style in ("\\displaystyle", "\\textstyle"):
        prefix = "{" + style
        if latex.startswith(prefix) and latex.endswith("}") and _closes_at_end(latex):
            return latex[len(prefix) : -1].strip()
    return latex


def _closes_at_end(latex: str) -> bool:
    depth = 0
    escaped = False
    for index, character in enumerate(latex):
        if escaped:
            escaped = False
        elif character == "\\":
            escaped = True
        elif character == "{":
            depth += 1
        elif character == "}":
            depth -= 1
            if depth == 0:
                return index == len(latex) - 1
    return False
