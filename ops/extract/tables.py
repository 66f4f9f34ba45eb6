"""Which tables are data, and their rows. Tables that lay out a page are read as blocks."""

from ops.extract.registry import Formula
from ops.extract.tree import Element
from ops.extract.words import words

_BLOCK_CONTENT = words("table pre ul ol dl blockquote h1 h2 h3 h4 h5 h6 form figure")
_EQUATION = ("eqn", "equation", "align", "gather")
MOST_PARAGRAPHS = 2
"""A cell with more paragraphs is part of a layout."""


def table_rows(table: Element) -> list[list[Element]] | None:
    """Rows of cells of a data table; None for a table that lays out a page or an equation."""
    if table.attrs.get("role") in ("presentation", "none") or any(
        word in name for name in table.classes for word in _EQUATION
    ):
        return None
    rows: list[list[Element]] = []
    for row in _rows(table):
        cells = [child for child in row.children if isinstance(child, Element) and child.tag in ("td", "th")]
        cells = [cell for cell in cells if not cell.dropped]
        if cells:
            rows.append(cells)
    if len(rows) < 2 or max(map(len, rows)) < 2:
        return None
    if any(_is_layout(cell) for row in rows for cell in row):
        return None
    if _num_equation_cells(rows) >= 0.9 * sum(map(len, rows)):
        return None
    return rows


def _rows(table: Element) -> list[Element]:
    found: list[Element] = []
    for child in table.children:
        if isinstance(child, Element) and not child.dropped:
            if child.tag == "tr":
                found.append(child)
            elif child.tag in ("tbody", "thead", "tfoot"):
                found += [row for row in child.children if isinstance(row, Element) and row.tag == "tr"]
            elif child.tag == "caption" and child.chars:
                return []  # read as blocks, so that the caption stays
    return found


def _is_layout(cell: Element) -> bool:
    paragraphs = 0
    pending = [cell]
    while pending:
        for child in pending.pop().children:
            if isinstance(child, Element) and not child.dropped:
                if child.tag in _BLOCK_CONTENT:
                    return True
                if child.tag == "p":
                    paragraphs += 1
                    if paragraphs > MOST_PARAGRAPHS:
                        return True
                pending.append(child)
    return False


def _num_equation_cells(rows: list[list[Element]]) -> int:
    """Cells that hold a display formula or nothing."""
    count = 0
    for row in rows:
        for cell in row:
            parts = [child for child in cell.children if not (isinstance(child, str) and child.isspace())]
            count += not parts or (len(parts) == 1 and isinstance(parts[0], Formula) and parts[0].display)
    return count
