"""Extract: pages (HTML, XHTML, notebooks, Markdown, TeX) to text with their mathematics as LaTeX.

    from ops.extract import extract_page
    page = extract_page(html, url, content_type)  # bytes or text; the other two may be left out
    page.title, page.text, page.formulas, page.kind, page.metadata, page.encoding, page.num_replaced, page.counters

`python -m ops.extract FILE|-` prints the text of a page, with `--json` all of it;
`python -m ops.extract --input pages=DIR --out DIR` runs the stage over parts.
"""

from ops.extract.config import ExtractConfig
from ops.extract.page import Page, PageRejected, extract_page

__all__ = ["ExtractConfig", "Page", "PageRejected", "extract_page"]
