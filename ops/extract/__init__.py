"""Extract: HTML pages to text with their mathematics as LaTeX.

    from ops.extract import extract_page
    page = extract_page(html)          # bytes or text
    page.title, page.text, page.formulas, page.encoding, page.num_replaced, page.counters

`python -m ops.extract FILE|-` prints the text of a page, with `--json` all of it;
`python -m ops.extract --input pages=DIR --out DIR` runs the stage over parts.
"""

from ops.extract.config import ExtractConfig
from ops.extract.page import Page, PageRejected, extract_page

__all__ = ["ExtractConfig", "Page", "PageRejected", "extract_page"]
