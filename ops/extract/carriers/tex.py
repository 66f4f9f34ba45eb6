"""Elements that say they hold TeX: by class name, tag or attribute, with or without delimiters inside."""

import json
import re
from collections.abc import Mapping
from urllib.parse import unquote

from selectolax.lexbor import LexborNode

from ops.extract.asciimath import asciimath_to_latex
from ops.extract.carriers.dom import class_names, first, in_code, own_text, parse_math, within
from ops.extract.carriers.mathml import from_math
from ops.extract.registry import SKIP, Formula, carrier, is_tex, is_tex_label, make_formula, undelimit
from ops.extract.symbols import concatenate, symbols
from ops.extract.words import words

_TEX = re.compile(r"\\[A-Za-z]+|[\^_=<>+]|^\s*[A-Za-z0-9]\s*$")
_WORD = re.compile(r"[A-Za-z]{4,}")
_INLINE_TAGS = frozenset(["span", "code", "tt", "i", "em", "math-renderer", "var", "tex-math", "inline-formula", "eq"])
_DISPLAY = re.compile(r"display|block(?!quote)|centered")
_ATTRIBUTES = (
    "data-expr", "data-tex", "data-latex", "data-formula", "data-katex", "data-math", "data-equation", "data-entry",
    "data-original-tex", "data-tex-source", "data-latex-source", "data-custom-copy-text", "data-value",
)  # fmt: skip
_SURE_ATTRIBUTES = words("data-expr data-tex data-latex data-katex data-original-tex data-tex-source")
_EDITORS = words("ql-formula hurmet-tex math-inline math-block katex math")
_MODES = frozenset(["true", "false", "inline", "block", "display"])
_FORMULA_NAMES = re.compile(r"math|katex|latex|formula|equation|(?<![a-z])(?:tex|eq)(?![a-z])")
_PARAMETER = re.compile(r"(?:^|\|)\s*(?:body|equation|formula|latex)=(.*?)(?:\||$)", re.DOTALL)
_LOOSE_CLASSES = words("formula equation eq mathjax")
"""Names that other things have, too."""
_OWN_TAGS = frozenset(["formula", "latex", "tex", "x-equation"])
_DELIMITED = re.compile(r"\$|\\\(|\\\[")
_CODE_CLASSES = words("math language-math math-inline math-display js-render-math")
_HTML_MATH = words("em i var b strong sub sup span a")
_WIRIS = str.maketrans({"«": "<", "»": ">", "¨": '"', "§": "&", "`": "'"})


@carrier(attributes=_ATTRIBUTES)
def data_attribute(node: LexborNode, attrs: Mapping[str, str | None]) -> Formula | object | None:
    """LaTeX in a data attribute of an element that is a formula by its name, as Zhihu, Temml and editors write it."""
    if node.tag in ("mjx-container", "mjx-math", "math", "img", "svg"):
        return None
    names = class_names(node)
    joined = " ".join([node.tag or "", *names]).lower()
    if _FORMULA_NAMES.search(joined) is None:
        return None
    own = not _EDITORS.isdisjoint(names)
    for name in _ATTRIBUTES:
        source = attrs.get(name)
        if source and source not in _MODES and (is_tex(source) or own or name in _SURE_ATTRIBUTES):
            latex, wide = undelimit(source)
            display = (
                bool(wide)
                or (node.tag in ("div", "p", "section", "figure") and "inline" not in joined)
                or _DISPLAY.search(joined) is not None
                or attrs.get("data-display") in ("true", "block", "1")
                or _holds_display(node)
            )
            return make_formula(latex, display, "data-attribute")
    return None


def _holds_display(node: LexborNode) -> bool:
    return any(
        "katex-display" in class_names(below)
        or (below.attributes.get("display") or "") in ("block", "true")
        or "mode=display" in (below.attributes.get("type") or "").replace(" ", "")
        for below in within(node)
    )


@carrier(attributes=["data-attrs"])
def substack(node: LexborNode, attrs: Mapping[str, str | None]) -> Formula | object | None:
    """Substack's `<div class="latex-rendered" data-attrs='{"persistentExpression": ...}'>`."""
    source = attrs.get("data-attrs") or ""
    if "persistentExpression" not in source:
        return None
    try:
        values = json.loads(source)
    except json.JSONDecodeError:
        return None
    latex = values.get("persistentExpression") if isinstance(values, dict) else None
    return make_formula(latex, node.tag != "span", "data-attribute") if isinstance(latex, str) else None


@carrier(attributes=["data-macro-name"])
def confluence(node: LexborNode, attrs: Mapping[str, str | None]) -> Formula | object | None:
    """Confluence's macros of mathematics, with the TeX among the parameters."""
    name = (attrs.get("data-macro-name") or "").lower()
    if not any(word in name for word in ("math", "latex", "formula")):
        return None
    parameter = _PARAMETER.search(attrs.get("data-macro-parameters") or "")
    if parameter is None:
        return None
    body = parameter.group(1)
    latex, wide = undelimit(unquote(body.removeprefix("--uriencoded--")))
    return make_formula(latex, bool(wide) or "block" in name or node.tag == "div", "data-attribute")


@carrier(attributes=["data-mathml"])
def data_mathml(node: LexborNode, attrs: Mapping[str, str | None]) -> Formula | object | None:
    """MathML in an attribute, in WIRIS' own notation («math»..«/math») or plain; images come through `image`."""
    return None if node.tag == "img" else from_attribute(attrs)


def from_attribute(attrs: Mapping[str, str | None]) -> Formula | object | None:
    """The formula of a `data-mathml` attribute."""
    source = attrs.get("data-mathml") or ""
    math = parse_math(source.translate(_WIRIS) if "«" in source else source)
    return None if math is None else from_math(math, "data-mathml")


@carrier(attributes=["role"])
def role_math(node: LexborNode, attrs: Mapping[str, str | None]) -> Formula | object | None:
    """`role="math"` (or an image) with TeX for a label."""
    if attrs.get("role") not in ("math", "img") or node.tag in ("math", "svg", "img", "mjx-container"):
        return None
    label = attrs.get("aria-label") or ""
    if not is_tex_label(label):
        return None
    if first(node, "math", "script") is not None:
        return None  # there is something better inside
    latex, wide = undelimit(label)
    names = " ".join(class_names(node)).lower()
    return make_formula(latex, bool(wide) or node.tag == "div" or "display" in names, "aria-label")


@carrier(classes=["wp-katex-eq", "katex-eq"])
def wordpress_katex(node: LexborNode, attrs: Mapping[str, str | None]) -> Formula | object | None:
    """The KaTeX plugins of WordPress before they render: TeX without delimiters."""
    if first(node, "math") is not None:
        return None
    latex, wide = undelimit(own_text(node))
    display = attrs.get("data-display") or attrs.get("data-katex-display") or ""
    return make_formula(latex, bool(wide) or display == "true", "marked-text")


@carrier(classes=["mq-math-mode", "mathquill-rendered-math"])
def mathquill(node: LexborNode, attrs: Mapping[str, str | None]) -> Formula | object | None:
    """MathQuill: the LaTeX lies in a part that can be selected."""
    for below in within(node):
        if not {"mq-selectable", "selectable"}.isdisjoint(class_names(below)):
            return make_formula(undelimit(own_text(below))[0], False, "marked-text")
    return None


@carrier(classes=["katex-error"])
def katex_error(node: LexborNode, attrs: Mapping[str, str | None]) -> Formula | object | None:
    """TeX that KaTeX could not read, shown as it is."""
    around = class_names(node.parent)
    latex, wide = undelimit(own_text(node))
    return make_formula(latex, bool(wide) or "math-display" in around or "katex-display" in around, "katex-error")


@carrier(tags=["tex-math", "asciimath", "x-tex"], classes=["asciimath"])
def source_element(node: LexborNode, attrs: Mapping[str, str | None]) -> Formula | object | None:
    """JATS' `<tex-math>`, and elements of AsciiMath."""
    text = own_text(node)
    if node.tag == "asciimath" or "asciimath" in class_names(node):
        if first(node, "math", "mjx-container", "script") is not None or "\\(" in text:
            return None
        return make_formula(asciimath_to_latex(text.strip().strip("`")), node.tag == "div", "asciimath")
    latex, wide = undelimit(text)
    display = node.parent is not None and node.parent.tag in ("disp-formula", "div")
    if latex.startswith("\\documentclass"):
        wide = "$$" in latex or "\\[" in latex
    return make_formula(latex, display if wide is None else wide, "marked-text")


@carrier(
    classes=[
        "math", "Math", "language-math", "arithmatex", "tex", "latex", "math-inline", "math-display", "math-block",
        "inline-math", "display-math", "math-container", "math-equation", "mathjax-tex", "mathp", "katex-block",
        "katex-inline", "js-render-math", "latex-inline", "latex-block", "render_latex", "inline_math", "SimpleMath",
        "mathquill-embedded-latex", "formula", "math-formula", "math-tex", "latex-math", "mathjax-inline",
        "mathjax-block", "equation", "eq", "mathjax",
    ],
    tags=["math-renderer", "formula", "latex", "tex", "x-equation"],
)  # fmt: skip
def marked_text(node: LexborNode, attrs: Mapping[str, str | None]) -> Formula | object | None:
    """Raw TeX in an element of class `math` and the like, with delimiters or without."""
    tag = node.tag
    if tag in ("img", "a", "table", "body", "html", "main", "article", "svg", "math", "ul", "ol"):
        return None
    names = class_names(node)
    if tag in ("pre", "code") and _CODE_CLASSES.isdisjoint(names):
        return None  # a listing of TeX
    if tag != "math-renderer" and in_code(node):
        return None
    shaped = False
    for below in within(node):
        if below.mem_id == node.mem_id:
            continue
        if below.tag in _HTML_MATH and below.tag != "span":
            shaped = shaped or below.tag != "a"
        elif below.tag not in ("br", "wbr", "code", "span") or below.attributes.get("class"):
            return None
    if shaped:
        return _from_html(node) if ("inline" in names and "math" in names) or "SimpleMath" in names else None
    text = own_text(node)
    latex, wide = undelimit(text)
    if wide is None:
        if tag in _OWN_TAGS and not _DELIMITED.search(latex):
            return make_formula(latex, "inline" not in names, "marked-text")
        if not _TEX.search(latex) or "\\(" in latex or "\\[" in latex or "$" in latex:
            return None  # several formulas, or words: the delimiters in its text decide
        if not _LOOSE_CLASSES.isdisjoint(names) and not is_tex_label(latex):
            return None
        if not is_tex(latex) and len(_WORD.findall(latex)) > 1:
            return None
        joined = " ".join(names)
        style = (attrs.get("data-math-style") or "").lower()
        wide = style == "display" or (
            style != "inline"
            and "inline" not in joined
            and (tag not in _INLINE_TAGS or _DISPLAY.search(joined) is not None or _in_pre(node))
        )
    return make_formula(latex, wide, "marked-text")


def _in_pre(node: LexborNode) -> bool:
    return node.tag == "code" and node.parent is not None and node.parent.tag == "pre"


def _from_html(node: LexborNode) -> Formula | object | None:
    """Mathematics in plain HTML, as Pandoc writes what it can without MathJax: letters, `<sub>` and `<sup>`."""
    latex = _html_latex(node)
    return make_formula(latex, False, "html-math") if latex.strip() else SKIP


def _html_latex(node: LexborNode) -> str:
    pieces: list[str] = []
    child = node.first_child
    while child is not None:
        if child.tag == "-text":
            pieces.append(symbols(" ".join((child.text_content or "").split())))
        elif child.tag in ("sub", "sup"):
            script = _html_latex(child).strip()
            mark = "_" if child.tag == "sub" else "^"
            pieces.append(mark + (script if len(script) == 1 else f"{{{script}}}"))
        elif child.tag in ("b", "strong"):
            pieces.append(f"\\mathbf{{{_html_latex(child).strip()}}}")
        else:
            pieces.append(_html_latex(child))
        child = child.next
    return concatenate(pieces)
