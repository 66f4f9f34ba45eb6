"""The page as extraction sees it: a light tree whose leaves are text and formulas.

One pass over the parser's DOM builds it. On the way carriers of mathematics (see `ops.extract.registry`) claim their
subtrees and become `Formula` leaves, and what is never text (scripts, styles, forms) is left out.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from selectolax.lexbor import LexborNode

from ops.extract.delimiters import BREAK, TexRules, split_formulas
from ops.extract.element import Element, OverBudget, Tree
from ops.extract.hints import MAIN, TAG_HINTS, attribute_hint, hint
from ops.extract.macros import expand_formulas
from ops.extract.registry import BY_ATTRIBUTE, BY_CLASS, BY_TAG, SKIP, TOO_LARGE, CarrierFunction, Formula
from ops.extract.words import words

DROPPED_TAGS = words(
    "script style noscript template iframe object embed applet audio video canvas svg map link meta base head "
    "button input select option textarea datalist progress meter dialog frameset frame rt rp"
)
CODE_TAGS = words("pre code kbd samp tt var listing xmp")
CODE_CLASSES = words(
    "fragment CodeMirror-code syntaxhighlighter ace_text-layer cm-content view-lines js-file-line-container "
    "blob-code-content"
)
"""Containers of code that is no `<pre>`."""
LEAST_PROSE = 25
"""A piece of text is counted as running text from this many characters on."""
LEAST_NOSCRIPT = 500
"""A `<noscript>` with so many characters of text is the page for readers without scripts."""
NO_TEX_TAGS = CODE_TAGS - {"var"}
UNHINTED_TAGS = CODE_TAGS | words("html body -document tr tbody thead tfoot b i em strong sub sup br")
_DROPPED_CLASSES = words(
    "headerlink hash-link anchor-link header-anchor heading-anchor permalink anchorjs-link mw-editsection "
    "mw-jump-link noprint sr-only visually-hidden screen-reader-text linenos linenodiv lineno line-numbers gutter "
    "sphinxsidebar navfooter navheader copybtn viewcode-link MathJax_Preview"
)
_TOKEN_TAGS = frozenset(["span", "b", "i", "em", "strong", "font", "ins"])
_NOT_TOKEN = re.compile(r"lineno|line-?num|gutter|gp\b.{0,99}no-?copy|math|katex|tex|ltx|copy|MathJax|\bline\b|\brow\b")
_SPACES = " \t\n\r\u00a0"
"""What white space is of; Python also takes some control characters for it."""
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def build_tree(document: LexborNode, rules: TexRules, *, max_depth: int, max_nodes: int, max_formulas: int) -> Tree:
    """Walk the DOM once, without recursion.

    Raises:
        OverBudget: when the page has more than `max_nodes` nodes or `max_formulas` formulas.
    """
    root = Element("body", {})
    tree = Tree(root=root)
    counters = tree.counters
    processed, ignored = rules.processed, rules.ignored
    no_look = _look("", processed, ignored)
    looks: dict[str, _Look] = {}
    # Per open DOM node: itself, what its element goes to, do TeX delimiters count there, a link?, sizes before.
    stack: list[tuple[LexborNode, Element, bool, bool, int, int, int, int, int]] = []
    parent, tex = root, True
    chars = link_chars = num_formulas = num_links = links = prose = order = 0
    num_nodes = 0
    attrs: Mapping[str, str | None] = {}
    look = no_look
    usual = rules.usual
    carrier_attributes = frozenset(BY_ATTRIBUTE)
    never_text = DROPPED_TAGS - BY_TAG.keys() - {"head", "noscript"}
    node = document.first_child
    while node is not None:
        num_nodes += 1
        if num_nodes > max_nodes:
            raise OverBudget("too_many_nodes", f"more than {max_nodes} nodes")
        tag = node.tag or "-document"
        descend = False
        if tag == "-text":
            text = node.text_content
            if text:
                if text.isspace():
                    parent.children.append(" " if text.strip(_SPACES) else text)
                else:
                    if not text.isprintable():
                        text = _CONTROL.sub("", text)
                    parent.children.append(text)
                    length = len(text)
                    chars += length
                    if links:
                        link_chars += length
                    elif length >= LEAST_PROSE:
                        prose += length
                    if tex and (("$" in text or "\\" in text) if usual else rules.may_hold(text)):
                        parent.may_hold_tex = True
        elif tag[0] in "-!":
            pass
        elif tag in never_text:
            counters[f"dropped_{tag}"] += 1
        else:
            attrs = node.attributes
            look = no_look
            if attrs:
                names = attrs.get("class")
                if names:
                    look = looks.get(names)
                    if look is None:
                        look = looks[names] = _look(names, processed, ignored)
            claimed = None
            if tag in BY_TAG or look.carriers or (attrs and not carrier_attributes.isdisjoint(attrs)):
                claimed = _claim(node, tag, attrs, look)
            if claimed is not None:
                if isinstance(claimed, Formula):
                    parent.children.append(claimed)
                    num_formulas += 1
                    if num_formulas > max_formulas:
                        raise OverBudget("too_many_formulas", f"more than {max_formulas} formulas")
                elif claimed is TOO_LARGE:
                    counters["formulas_too_large"] += 1
            elif tag == "title" and tree.title is None:
                tree.title = " ".join((node.text() or "").split()) or None
            elif tag == "head":
                descend = True
            elif tag in DROPPED_TAGS and not (tag == "noscript" and len(node.text() or "") >= LEAST_NOSCRIPT):
                counters[f"dropped_{tag}"] += 1
            elif look.dropped and tag not in CODE_TAGS:
                counters["dropped_by_class"] += 1
            elif tag == "pre" and (code := _plain_code(node)) is not None:
                element = Element(tag, attrs)
                text, child = code
                element.children.append(child)
                element.chars = len(text)
                element.prose = len(text)
                chars += len(text)
                prose += len(text)
                parent.children.append(element)
            else:
                descend = True
        if descend:
            first = node.first_child
            stack.append((node, parent, tex, tag == "a", chars, link_chars, num_formulas, num_links, prose))
            if len(stack) <= max_depth:
                element = Element(tag, attrs)
                parent.children.append(element)
                parent = element
                if tag in NO_TEX_TAGS:
                    tex = False
                if look.tex is not None:
                    tex = look.tex
                order += 1
                element.order = order
                if tag not in UNHINTED_TAGS:
                    flags = TAG_HINTS.get(tag, 0) if tag != "aside" or not look.hint & MAIN else 0
                    if attrs:
                        flags |= look.hint | attribute_hint(attrs)
                    if flags:
                        element.hint = flags
                        tree.hinted.append(element)
                    if tag == "h1":
                        tree.headings.append(order)
            if tag == "a":
                links += 1
                num_links += 1
            if first is not None:
                node = first
                continue
            # An element without children is closed below, like one whose last child was seen.
        else:
            node = node.next
            if node is not None:
                continue
        node = None
        while stack:
            closed, outer, tex, link, chars_0, link_chars_0, formulas_0, links_0, prose_0 = stack.pop()
            if link:
                links -= 1
            if parent is not outer:
                if parent.may_hold_tex:
                    num_formulas += split_children(parent, rules)
                parent.chars = chars - chars_0
                parent.link_chars = link_chars - link_chars_0
                parent.num_formulas = num_formulas - formulas_0
                parent.num_links = num_links - links_0
                parent.prose = prose - prose_0
                parent.last = order
                parent = outer
            node = closed.next
            if node is not None:
                break
    if root.may_hold_tex:
        num_formulas += split_children(root, rules)
    root.chars, root.link_chars, root.num_formulas, root.num_links = chars, link_chars, num_formulas, num_links
    root.prose, root.last = prose, order
    if rules.macros or rules.defines:
        num_formulas -= expand_formulas(root, rules.macros)
        root.num_formulas = num_formulas
    if num_formulas > max_formulas:
        raise OverBudget("too_many_formulas", f"{num_formulas}, the budget is {max_formulas}")
    counters["nodes"] = num_nodes
    return tree


def split_children(element: Element, rules: TexRules) -> int:
    """Turn TeX between delimiters in the runs of text and line breaks of an element into formulas; how many."""
    children: list[Element | Formula | str] = []
    run: list[str] = []
    added = 0

    def flush() -> None:
        nonlocal added
        for piece in split_formulas("".join(run), rules) if run else ():
            if isinstance(piece, Formula):
                children.append(piece)
                added += 1
                continue
            for index, text in enumerate(piece.split(BREAK)):
                if index:
                    children.append(Element("br", {}))
                if text:
                    children.append(text)
        run.clear()

    for child in element.children:
        if isinstance(child, str):
            run.append(child)
        elif isinstance(child, Element) and child.tag in ("br", "wbr"):
            run.append(BREAK if child.tag == "br" else "")
        else:
            flush()
            children.append(child)
    flush()
    element.children = children
    return added


def _claim(node: LexborNode, tag: str, attrs: Mapping[str, str | None], look: "_Look") -> "Formula | object | None":
    """Ask the carriers that are registered for this element; the first that knows it has it."""
    for carrier in BY_TAG.get(tag, ()):
        found = carrier(node, attrs)
        if found is not None:
            return found
    for carrier in look.carriers:
        found = carrier(node, attrs)
        if found is not None:
            return found
    if attrs and not BY_ATTRIBUTE.keys().isdisjoint(attrs):
        for name in attrs:
            for carrier in BY_ATTRIBUTE.get(name, ()):
                found = carrier(node, attrs)
                if found is not None:
                    return found
    return None


class _Look(NamedTuple):
    """What a `class` attribute says; the answers are remembered."""

    carriers: tuple[CarrierFunction, ...]
    dropped: bool
    hint: int
    tex: bool | None
    """Whether delimiters count inside; None: as around."""


@lru_cache(maxsize=1 << 15)
def _look(names: str, processed: frozenset[str], ignored: frozenset[str]) -> _Look:
    split = names.split()
    carriers: tuple[CarrierFunction, ...] = ()
    if not BY_CLASS.keys().isdisjoint(split):
        carriers = tuple(dict.fromkeys(carrier for name in split for carrier in BY_CLASS.get(name, ())))
    tex = None if ignored.isdisjoint(split) and CODE_CLASSES.isdisjoint(split) else False
    if not processed.isdisjoint(split):
        tex = True
    return _Look(carriers, not _DROPPED_CLASSES.isdisjoint(split), hint(split), tex)


def _plain_code(pre: LexborNode) -> "tuple[str, Element | str] | None":
    """The content of a `<pre>` that holds highlighted text alone: its text, and that in its `<code>` if it has one.

    None when anything in it needs a closer look (line breaks, line numbers, formulas). Highlighters write an element
    for every token, so that this is most elements of many pages.
    """
    code: LexborNode | None = None
    for node in pre.traverse(include_text=False):
        tag = node.tag or ""
        if tag == "code" and code is None and node.parent is not None and node.parent.mem_id == pre.mem_id:
            code = node
        elif tag not in _TOKEN_TAGS and node.mem_id != pre.mem_id:
            return None
        names = node.attributes.get("class")
        if names and _NOT_TOKEN.search(names):
            return None
    text = _CONTROL.sub("", pre.text(deep=True) or "")
    if not text:
        return None
    if code is None:
        return text, text
    element = Element("code", code.attributes)
    element.children.append(text)
    return text, element


__all__ = ["SKIP", "CarrierFunction", "Element", "Formula", "OverBudget", "Tree", "build_tree"]
