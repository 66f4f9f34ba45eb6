"""Which tables are data, and their rows. Tables that lay out a page are read as blocks."""

from ops.extract.registry import Formula
from ops.extract.tree import Element
from ops.extract.words import words

_BLOCK_CONTENT = words("table pre ul ol dl blockquote h1 h2 h3 h4 h5 h6 form figure")
_LISTS = frozenset(["ul", "ol"])
_EQUATION = ("eqn", "equation", "align", "gather")
MOST_PARAGRAPHS = 2
"""A cell with more paragraphs is part of a layout."""
LONGEST_LISTING_CELL = 300
"""Characters of a cell that may hold a list, in a table with header cells."""
WIDEST_SPAN = 50
MOST_CELLS = 20_000
"""Of a table whose cells span more than these, no span is followed."""


def table_rows(table: Element) -> list[list[Element | None]] | None:
    """Rows of cells of a data table, None where a cell spans; None for a table that lays out a page or an equation."""
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
    headed = any(cell.tag == "th" for row in rows for cell in row)
    if any(_is_layout(cell, lists=headed and cell.chars < LONGEST_LISTING_CELL) for row in rows for cell in row):
        return None
    if _num_equation_cells(rows) >= 0.9 * sum(map(len, rows)):
        return None
    return _grid(rows)


def captions(table: Element) -> list[Element]:
    return [
        child
        for child in table.children
        if isinstance(child, Element)
        and child.tag == "caption"
        and not child.dropped
        and (child.chars or child.num_formulas)
    ]


def _rows(table: Element) -> list[Element]:
    found: list[Element] = []
    for child in table.children:
        if isinstance(child, Element) and not child.dropped:
            if child.tag == "tr":
                found.append(child)
            elif child.tag in ("tbody", "thead", "tfoot"):
                found += [row for row in child.children if isinstance(row, Element) and row.tag == "tr"]
    return found


def _grid(rows: list[list[Element]]) -> list[list[Element | None]]:
    """Every cell in its column: the places that cells of several columns or rows take are empty."""
    spans = [[(_span(cell, "colspan"), _span(cell, "rowspan")) for cell in row] for row in rows]
    if sum(columns * down for row in spans for columns, down in row) > MOST_CELLS:
        return [list(row) for row in rows]
    grid: list[list[Element | None]] = []
    taken: dict[int, int] = {}
    for row, row_spans in zip(rows, spans, strict=True):
        line: list[Element | None] = []
        below: dict[int, int] = {column: left - 1 for column, left in taken.items() if left > 1}
        for cell, (columns, down) in zip(row, row_spans, strict=True):
            while len(line) in taken:
                line.append(None)
            for offset in range(columns):
                if down > 1:
                    below[len(line)] = down - 1
                line.append(cell if offset == 0 else None)
        while len(line) in taken:
            line.append(None)
        grid.append(line)
        taken = below
    return grid


def _span(cell: Element, name: str) -> int:
    value = (cell.attrs.get(name) or "").strip()
    return min(WIDEST_SPAN, max(1, int(value))) if value.isascii() and value.isdigit() and len(value) < 7 else 1


def _is_layout(cell: Element, *, lists: bool) -> bool:
    paragraphs = 0
    pending = [cell]
    while pending:
        for child in pending.pop().children:
            if isinstance(child, Element) and not child.dropped:
                if child.tag in _BLOCK_CONTENT and not (lists and child.tag in _LISTS):
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
