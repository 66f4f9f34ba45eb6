"""What KaTeX draws as paths and stacked pieces: tall fences, wide accents, braces and arrows."""

import re

from selectolax.lexbor import LexborNode

_PIECES = {
    **dict.fromkeys("⎛⎜⎝", "("), **dict.fromkeys("⎞⎟⎠", ")"), **dict.fromkeys("⎡⎢⎣", "["),
    **dict.fromkeys("⎤⎥⎦", "]"), **dict.fromkeys("⎧⎨⎩", "{"), **dict.fromkeys("⎫⎬⎭", "}"), "∣": "|", "∥": "‖",
    "⎰": "⎰", "⎱": "⎱", "⟮": "⟮", "⟯": "⟯",
}  # fmt: skip
_FENCE_PATHS = (
    (re.compile(r"M863,9c0"), "("),
    (re.compile(r"M76,0c-16"), ")"),
    (re.compile(r"M403 1759 V84 H666 V0 H319 V1759.{0,40}h347"), "["),
    (re.compile(r"M347 1759 V0 H0 V84 H263 V1759.{0,40}H0"), "]"),
    (re.compile(r"M403 1759 V84 H666"), "⌈"),
    (re.compile(r"M347 1759 V0 H0"), "⌉"),
    (re.compile(r"M319 602 V0 H403 V602.{0,30}h263"), "⌊"),
    (re.compile(r"M319 602 V0 H403 V602.{0,30}H0"), "⌋"),
)
"""How the outline of each tall fence begins, the longer patterns before those that they begin with."""
_MARK_PATHS = (
    ("M377 20c0", "→"), ("M529 0h5", "^"), ("M1181 0h2", "^"), ("M529,159", "ˇ"), ("M1181,220", "ˇ"),
    ("M200 55", "~"), ("M344 55", "~"), ("M786 5", "~"), ("M6 548l", "⏞"), ("M0 6l", "⏟"),
    ("M0 241v40h399891", "→"), ("M400000 241H110", "←"), ("M262 157", "⇐"), ("M399738 392", "⇒"),
    ("M0 241v40h399993", "⇀"), ("M0 267c.7", "↼"), ("M40 281 V448", "↦"), ("M400000 281 H103", "↩"),
    ("M399859 241", "↪"), ("M0 50 h400000", "⟶"),
)  # fmt: skip
_BOTH_WAYS = {("←", "→"): "↔", ("⇐", "⇒"): "⇔", ("↦", "→"): "↦"}
_STACKED = "⎧⎨⎩⎛⎝⎜⎡⎢⎣⎫⎬⎭⎞⎟⎠⎤⎥⎦"


def fence_of(node: LexborNode, text: str) -> str:
    """The character of a fence of any height; empty for none."""
    for character in text:
        if character in _PIECES and (character in _STACKED or len(set(text)) == 1):
            return _PIECES[character]
    stripped = text.strip()
    if stripped:
        return next((character for character in stripped if character not in "⏐‖"), stripped[0])
    svg = node.css_first("svg")
    outline = _outline(svg)
    if outline.startswith("M145 15"):
        return "‖" if (svg is not None and (svg.attributes.get("width") or "").startswith("0.55")) else "|"
    return next((fence for pattern, fence in _FENCE_PATHS if pattern.match(outline)), "")


def _outline(svg: LexborNode | None) -> str:
    path = svg.css_first("path") if svg is not None else None
    return " ".join(((path.attributes.get("d") or "") if path is not None else "").split())


def mark_of(node: LexborNode) -> str | None:
    """The accent, brace or arrow that is drawn in a box; None when it is none that is known."""
    marks: list[str] = []
    for svg in node.css("svg"):
        outline = _outline(svg)
        mark = next((mark for start, mark in _MARK_PATHS if outline.startswith(start)), None)
        if mark is not None and mark not in marks:
            marks.append(mark)
    if len(marks) > 1:
        return _BOTH_WAYS.get((marks[0], marks[1]), marks[0])
    return marks[0] if marks else None
