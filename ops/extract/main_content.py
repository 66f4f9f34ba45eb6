"""The main content of a page: what is boilerplate is marked, and the element that holds the article is chosen.

Rules of our own, on sizes that the tree carries: an element with the tag, role or class name of boilerplate goes unless
it holds a good part of the page; a block that is nearly all links goes; formulas speak for keeping.
"""

from ops.extract.tree import Element, Tree
from ops.extract.words import words

LARGEST_BOILERPLATE = 0.35
"""A boilerplate candidate with more than this share of the page's text is kept."""
LINK_DENSITY = 0.66
"""A block with more than this share of its text in links is navigation."""
LEAST_LINKS = 4
LEAST_MAIN = 0.3
"""A main-content candidate must hold this share of the page's text that is not in links."""
_LINK_BLOCKS = words("ul ol div section table nav form dl p")
_ALWAYS = frozenset(["nav"])
_HEADINGS = frozenset(["h1", "h2"])


def select_main(tree: Tree) -> Element:
    """Mark boilerplate as dropped and return the element to render."""
    root = tree.root
    for element in tree.boilerplate:
        if _is_boilerplate(element, root):
            element.dropped = True
            tree.counters["dropped_boilerplate"] += 1
    main = _choose(tree)
    _drop_link_blocks(main, tree)
    return main


def _plain_chars(element: Element) -> int:
    return element.chars - element.link_chars


def _is_boilerplate(element: Element, root: Element) -> bool:
    navigation = element.tag in _ALWAYS or element.attrs.get("role") == "navigation"
    if navigation:
        return element.num_formulas == 0 or element.link_chars > 0.5 * element.chars
    if element.num_formulas and element.link_chars <= 0.5 * element.chars:
        return False
    if element.tag == "header" and any(
        isinstance(child, Element) and _has_heading(child) for child in element.children
    ):
        return element.link_chars > 0.5 * element.chars
    return _plain_chars(element) <= LARGEST_BOILERPLATE * max(1, _plain_chars(root))


def _has_heading(element: Element) -> bool:
    return element.tag in _HEADINGS or any(
        isinstance(child, Element) and child.tag in _HEADINGS for child in element.children
    )


def _choose(tree: Tree) -> Element:
    """The candidate with the most plain text if it holds enough of it and all but a few formulas; else the page."""
    root = tree.root
    articles = [main for main in tree.mains if not main.dropped]
    total = _plain_chars(root) - sum(_plain_chars(element) for element in tree.boilerplate if element.dropped)
    formulas = root.num_formulas - sum(element.num_formulas for element in tree.boilerplate if element.dropped)
    chosen = root
    for main in articles:
        # Smaller candidates inside the chosen one come later in page order: each must hold nearly all of it.
        enough = LEAST_MAIN * total if chosen is root else 0.8 * _plain_chars(chosen)
        if _plain_chars(main) >= enough and _plain_chars(main) > 0 and main.num_formulas >= 0.9 * formulas:
            chosen = main
    return chosen


def _drop_link_blocks(main: Element, tree: Tree) -> None:
    pending = [main]
    while pending:
        element = pending.pop()
        for child in element.children:
            if not isinstance(child, Element) or child.dropped:
                continue
            if (
                child.tag in _LINK_BLOCKS
                and child.num_links >= LEAST_LINKS
                and child.num_formulas == 0
                and child.link_chars > LINK_DENSITY * child.chars
                and child.chars <= LARGEST_BOILERPLATE * max(1, main.chars)
                and child.link_chars < 60 * child.num_links
            ):
                child.dropped = True
                tree.counters["dropped_links"] += 1
            elif child.num_links >= LEAST_LINKS:
                pending.append(child)
