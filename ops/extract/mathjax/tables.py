"""Rows, cells and equation numbers of MathJax's tables."""

import re
from html import unescape

from selectolax.lexbor import LexborNode

from ops.extract.mathjax.boxes import TOKENS, boxes_below, kind_of
from ops.extract.mathjax.tokens import token_markup


def rows_of(table: LexborNode) -> list[LexborNode]:
    return [child for kind, child in boxes_below(table) if kind in ("mtr", "mlabeledtr")]


def cells_of(row: LexborNode) -> list[LexborNode]:
    return [child for kind, child in boxes_below(row) if kind == "mtd"]


def labels_of(table: LexborNode) -> list[str]:
    """The numbers beside the rows of an equation."""
    found: list[str] = []
    for below in table.traverse(include_text=False):
        if kind_of(below) in ("labels", "label") or below.attributes.get("data-labels") is not None:
            cells = [node for node in below.traverse(include_text=False) if kind_of(node) == "mtd"]
            for cell in cells:
                tokens = [node for node in cell.traverse(include_text=False) if kind_of(node) in TOKENS]
                text = "".join(unescape(re.sub(r"<[^>]*>", "", token_markup("mtext", token))) for token in tokens)
                if text.strip():
                    found.append(text.strip())
            return found
    return found
