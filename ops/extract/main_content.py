"""The main content of a page: boilerplate is marked as dropped, and the element that holds the article is chosen.

Rules of our own, on sizes that the tree carries. What an element's names say of it (`ops.extract.hints`) holds unless
the element is too much of the page; the innermost element with most of the running text is the article, and what leads
up to it from the title on stays; blocks that are nearly all links go. Formulas speak for keeping: an element with
formulas is dropped only when it is mostly links, and every formula that is left is in what is chosen.
"""

import re
from bisect import bisect_left, bisect_right

from ops.extract.hints import (
    BOILERPLATE,
    CAPTION,
    COMMENTS,
    FORUM,
    HEADER,
    HIDDEN,
    MAIN,
    META,
    NAVIGATION,
    TEASER,
    WEAK,
)
from ops.extract.leftovers import LARGEST_BOILERPLATE, drop_lines, drop_link_blocks, text_of
from ops.extract.tree import Element, Tree
from ops.extract.words import words

LARGEST_WEAK = 0.1
WEAK_LINKS = 0.3
LARGEST_META = 700
"""A byline, a teaser or a caption of more characters is kept, and one of more than `META_SHARE` of the running text."""
META_SHARE = 0.2
CAPTION_SHARE = 0.3
"""Captions are kept on pages where they are more than this share of the running text."""
LEAST_ARTICLE = 250
"""Comments are dropped if this much running text stays."""
FORMULA_WEIGHT = 40
"""A formula counts as this many characters of running text."""
LEAST_NARROWED = 500
"""Of a page with fewer characters outside of links nothing is left out for where it stands."""
NARROWER = 0.8
"""An element with this share of what the one around it holds is the article, or holds it."""
LEAST_BEHIND = 100
SHARE_BEHIND = 0.2
"""What stands behind the article stays from this much running text on (the larger one; the first, with formulas)."""
LINKED_BESIDE = 0.3
"""What stands beside the article goes with a larger share of its text in links."""

_ARTICLES = words("div section main article td center form span body html -document")
_TABLES = words("table tbody thead tfoot tr")
_LABELLED = re.compile(
    r"(?:fig(?:ure|\.)?|figura|abb(?:ildung|\.)?|tab(?:le|elle|\.)?|listing|algorithm|scheme|plate|exhibit)\s?\.?\s?"
    r"[0-9IVX]",
    re.IGNORECASE,
)


def select_main(tree: Tree) -> Element:
    """Mark boilerplate as dropped and return the element to render."""
    selection = _Selection(tree)
    selection.drop_hinted()
    main = selection.choose()
    drop_link_blocks(main, tree)
    drop_lines(main, tree)
    return main


def _weight(element: Element) -> int:
    return element.prose + FORMULA_WEIGHT * element.num_formulas


def _mostly_links(element: Element) -> bool:
    return element.link_chars > 0.5 * element.chars


class _Selection:
    """The elements of a page that are dropped, and the choice among the others."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.root = tree.root
        self.left = _weight(tree.root)
        self.captions = sum(element.prose for element in tree.hinted if element.hint & CAPTION)
        self.forum_until = tree.root.last if tree.forum else 0
        for element in tree.hinted:
            if (
                element.hint & FORUM
                and not element.hint & (NAVIGATION | BOILERPLATE)
                and 2 * element.prose > tree.root.prose
            ):
                self.forum_until = max(self.forum_until, element.last)
        self.dropped: list[Element] = []
        self.orders: list[int] = []

    def drop_hinted(self) -> None:
        """Drop what its names say is not the article, the surest first."""
        for mask, holds in (
            (NAVIGATION, self._is_boilerplate),
            (BOILERPLATE | HEADER | HIDDEN | WEAK, self._is_hinted_boilerplate),
            (COMMENTS, self._is_comments),
            (META | TEASER | CAPTION, self._is_meta),
        ):
            last = 0
            for element in self.tree.hinted:
                if element.order <= last or element.tag == "main":
                    continue
                if element.dropped:
                    last = element.last
                elif element.hint & mask and holds(element):
                    element.dropped = True
                    self.left -= _weight(element)
                    self.tree.counters["dropped_boilerplate"] += 1
                    last = element.last
        last = 0
        for element in self.tree.hinted:
            if element.dropped and element.order > last:
                self.dropped.append(element)
                last = element.last
        self.orders = [element.order for element in self.dropped]

    def _is_boilerplate(self, element: Element) -> bool:
        if element.num_formulas and not _mostly_links(element):
            return False
        return element.prose <= LARGEST_BOILERPLATE * self.root.prose

    def _is_hinted_boilerplate(self, element: Element) -> bool:
        if not element.hint & (BOILERPLATE | HIDDEN):
            if element.hint & HEADER:
                headings = self.tree.headings
                index = bisect_left(headings, element.order)
                heading = index < len(headings) and headings[index] <= element.last
                if (heading or element.prose) and not _mostly_links(element):
                    return False
            elif element.link_chars < WEAK_LINKS * element.chars or element.prose > LARGEST_WEAK * self.root.prose:
                return False
        return self._is_boilerplate(element)

    def _is_comments(self, element: Element) -> bool:
        return not (
            element.num_formulas
            or element.hint & FORUM
            or element.order <= self.forum_until
            or self.left - _weight(element) < LEAST_ARTICLE
        )

    def _is_meta(self, element: Element) -> bool:
        if element.num_formulas or element.chars > LARGEST_META or element.prose > META_SHARE * self.root.prose:
            return False
        if element.hint & META:
            return True
        if element.hint & CAPTION:
            # Captions of a mathematical page are part of it; those of a press photograph are not.
            if self.root.num_formulas or self.captions > CAPTION_SHARE * self.root.prose:
                return False
            return not _LABELLED.match(text_of(element))
        return element.num_links > 0

    def _left_in(self, element: Element) -> tuple[int, int]:
        """What an element holds without what was dropped in it: weight, formulas."""
        weight, num_formulas = _weight(element), element.num_formulas
        for index in range(bisect_left(self.orders, element.order), bisect_right(self.orders, element.last)):
            weight -= _weight(self.dropped[index])
            num_formulas -= self.dropped[index].num_formulas
        return weight, num_formulas

    def choose(self) -> Element:
        """The article with its title: every element around it on the way in is cleared of what stands beside it."""
        if self.root.chars - self.root.link_chars < LEAST_NARROWED:
            return self.root
        path = [self.root]
        weight, num_formulas = self._left_in(self.root)
        while True:
            for child in path[-1].children:
                if isinstance(child, Element) and not child.dropped and child.tag in _ARTICLES | _TABLES:
                    inner, _ = self._left_in(child)
                    if inner >= NARROWER * weight and inner:
                        path.append(child)
                        break
            else:
                break
        while path[-1].tag in _TABLES:
            path.pop()
        headings = self.tree.headings
        before = bisect_left(headings, path[-1].order)
        title = headings[before - 1] if before else 0
        top = next((index for index in range(1, len(path)) if path[index].hint & MAIN), len(path) - 1)
        while top and not (
            (not title or path[top].order <= title <= path[top].last) and self._left_in(path[top])[1] == num_formulas
        ):
            top -= 1
        for index in range(top, len(path) - 1):
            behind = False
            for child in path[index].children:
                if child is path[index + 1]:
                    behind = True
                elif (
                    isinstance(child, Element)
                    and not child.dropped
                    and not self._belongs(child, path[-1].prose, title, behind)
                ):
                    child.dropped = True
                    self.tree.counters["dropped_beside"] += 1
        return path[top]

    def _belongs(self, element: Element, article: int, title: int, behind: bool) -> bool:
        if element.num_formulas or element.order <= title <= element.last:
            return True
        if element.link_chars > LINKED_BESIDE * element.chars:
            return False
        if behind:
            share = 0 if self.root.num_formulas or self.tree.forum else SHARE_BEHIND
            return element.prose >= max(LEAST_BEHIND, share * article)
        return element.prose > 0 and element.order > title
