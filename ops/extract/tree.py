"""The page as extraction sees it: a light tree whose leaves are text and formulas.

One pass over the parser's DOM builds it. On the way carriers of mathematics (see `ops.extract.registry`) claim their
subtrees and become `Formula` leaves, and what is never text (scripts, styles, forms) is left out.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from selectolax.lexbor import LexborNode

from ops.errors import InputError
from ops.extract.delimiters import BREAK, TexRules, split_formulas
from ops.extract.registry import BY_ATTRIBUTE, BY_CLASS, BY_TAG, SKIP, CarrierFunction, Formula
from ops.extract.words import words

DROPPED_TAGS = words(
    "script style noscript template iframe object embed applet audio video canvas svg map link meta base head "
    "button input select option textarea datalist progress meter dialog frameset frame"
)
CODE_TAGS = words("pre code kbd samp tt var listing xmp")
NO_TEX_TAGS = CODE_TAGS - {"var"}
CONTAINER_TAGS = words("div section ul ol dl aside header footer nav table form p span td main article a")
_DROPPED_CLASSES = words(
    "headerlink hash-link anchor-link header-anchor heading-anchor permalink anchorjs-link mw-editsection "
    "mw-jump-link noprint sr-only visually-hidden screen-reader-text linenos linenodiv lineno line-numbers gutter "
    "sphinxsidebar navfooter navheader related copybtn toc-backref viewcode-link MathJax_Preview"
)
_BOILERPLATE = re.compile(
    r"(?:^|[\s_-])(?:nav|navbar|navigation|navpath|navbox|menu|menubar|side-?bar|breadcrumbs?|footer|foot|header|"
    r"masthead|cookies?|consent|gdpr|share|sharing|social|related|recommend(?:ed|ations?)?|advert(?:isement)?|ads?|"
    r"sponsor(?:ed)?|banner|popup|modal|newsletter|subscribe|promo|pagination|pager|prev-?next|toc|tableofcontents|"
    r"table-of-contents|search|login|signup|skip|toolbar|widgets?|catlinks|copyright|summary-nav|edit-page|"
    r"book-summary|book-header|mobile-nav|theme-doc-toc-[a-z]+|rellinks?|metadata_page)(?:$|[\s_-])",
    re.IGNORECASE,
)
_BOILERPLATE_TAGS = frozenset(["nav", "aside", "header", "footer"])
_BOILERPLATE_ROLES = words("navigation banner contentinfo search complementary dialog alertdialog menu")
_MAIN_CLASSES = words(
    "main-content post-content entry-content article-content article-body mw-parser-output theme-doc-markdown "
    "markdown-body post-body ltx_page_content rst-content question-page"
)
_MAIN_IDS = frozenset(["content", "main-content", "mw-content-text", "bodyContent", "main"])
_TOKEN_TAGS = frozenset(["span", "b", "i", "em", "strong", "font", "ins"])
_NOT_TOKEN = re.compile(r"lineno|line-?num|gutter|gp\b.*no-?copy|math|katex|tex|ltx|copy|MathJax|\bline\b|\brow\b")
_CONTROL = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f]")


class Element:
    """An element that is kept."""

    __slots__ = (
        "attrs",
        "chars",
        "children",
        "dropped",
        "link_chars",
        "may_hold_tex",
        "num_formulas",
        "num_links",
        "tag",
    )

    def __init__(self, tag: str, attrs: Mapping[str, str | None]) -> None:
        self.tag = tag
        self.attrs = attrs
        self.children: list[Element | Formula | str] = []
        self.chars = 0
        """Characters of text below, `link_chars` of them in links."""
        self.link_chars = 0
        self.num_formulas = 0
        self.num_links = 0
        self.dropped = False
        """Boilerplate: not rendered."""
        self.may_hold_tex = False
        """A piece of its own text has a TeX delimiter in it."""

    @property
    def classes(self) -> list[str]:
        return (self.attrs.get("class") or "").split()


@dataclass(kw_only=True)
class Tree:
    """A page's light tree and what was noticed while building it."""

    root: Element
    title: str | None = None
    boilerplate: list[Element] = field(default_factory=list)
    """Candidates by tag, role or class name."""
    mains: list[Element] = field(default_factory=list)
    """Candidates for the main content, in page order."""
    counters: Counter[str] = field(default_factory=Counter)


class TooManyNodes(InputError):
    """The page has more nodes than its budget."""


def build_tree(document: LexborNode, rules: TexRules, *, max_depth: int, max_nodes: int) -> Tree:
    """Walk the DOM once, without recursion.

    Raises:
        TooManyNodes: when the page has more than `max_nodes` nodes.
    """
    root = Element("body", {})
    tree = Tree(root=root)
    counters = tree.counters
    looks: dict[str, _Look] = {}
    no_look = _look("", rules)
    # One entry per open DOM node: (the element its children go to, do TeX delimiters count there, sizes at its start).
    stack: list[tuple[Element, bool, int, int, int, int]] = []
    parent, tex = root, True
    chars = link_chars = num_formulas = num_links = links = 0
    num_nodes = 0
    node = document.first_child
    while node is not None:
        num_nodes += 1
        if num_nodes > max_nodes:
            raise TooManyNodes(f"more than {max_nodes} nodes")
        tag = node.tag or "-document"
        attrs: Mapping[str, str | None] = {}
        look = no_look
        descend = False
        if tag == "-text":
            text = node.text_content
            if text:
                text = _CONTROL.sub("", text)
                parent.children.append(text)
                if not text.isspace():
                    chars += len(text)
                    if links:
                        link_chars += len(text)
                    if tex and rules.may_hold(text):
                        parent.may_hold_tex = True
        elif tag[0] in "-!":
            pass
        else:
            attrs = node.attributes
            if attrs:
                names = attrs.get("class")
                if names:
                    known = looks.get(names)
                    look = looks[names] = known if known is not None else _look(names, rules)
            claimed = _claim(node, tag, attrs, look)
            if claimed is not None:
                if isinstance(claimed, Formula):
                    parent.children.append(claimed)
                    num_formulas += 1
            elif tag == "title" and tree.title is None:
                tree.title = " ".join((node.text() or "").split()) or None
            elif tag == "head":
                descend = True
            elif tag in DROPPED_TAGS:
                counters[f"dropped_{tag}"] += 1
            elif look.dropped:
                counters["dropped_by_class"] += 1
            elif tag == "pre" and (code := _plain_code(node)) is not None:
                element = Element(tag, attrs)
                text, child = code
                element.children.append(child)
                element.chars = len(text)
                chars += len(text)
                parent.children.append(element)
            else:
                descend = True
        if descend:
            first = node.first_child
            stack.append((parent, tex, chars, link_chars, num_formulas, num_links))
            if len(stack) <= max_depth:
                element = Element(tag, attrs)
                parent.children.append(element)
                parent = element
                if tag in NO_TEX_TAGS:
                    tex = False
                if look.tex is not None:
                    tex = look.tex
                if tag in CONTAINER_TAGS:
                    if look.main or tag in ("main", "article") or (attrs and _is_main(attrs)):
                        tree.mains.append(element)
                    elif look.boilerplate or tag in _BOILERPLATE_TAGS or (attrs and _is_boilerplate(attrs)):
                        tree.boilerplate.append(element)
            if tag == "a":
                links += 1
                num_links += 1
            if first is not None:
                node = first
                continue
            # An element without children is closed below, like one whose last child was seen.
        else:
            sibling = node.next
            if sibling is not None:
                node = sibling
                continue
            node = node.parent
        while node is not None:
            if not stack:
                node = None
                break
            if node.tag == "a":
                links -= 1
            outer, tex, start_chars, start_link_chars, start_formulas, start_links = stack.pop()
            if parent is not outer:
                if parent.may_hold_tex:
                    num_formulas += split_children(parent, rules)
                parent.chars = chars - start_chars
                parent.link_chars = link_chars - start_link_chars
                parent.num_formulas = num_formulas - start_formulas
                parent.num_links = num_links - start_links
                parent = outer
            sibling = node.next
            if sibling is not None:
                node = sibling
                break
            node = node.parent
    if root.may_hold_tex:
        num_formulas += split_children(root, rules)
    root.chars, root.link_chars, root.num_formulas, root.num_links = chars, link_chars, num_formulas, num_links
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


@dataclass(frozen=True, slots=True)
class _Look:
    """What a `class` attribute says; worked out once for each distinct one of a page."""

    carriers: tuple[CarrierFunction, ...]
    dropped: bool
    main: bool
    boilerplate: bool
    tex: bool | None
    """Whether delimiters count inside; None: as around."""


def _look(names: str, rules: TexRules) -> _Look:
    split = names.split()
    return _Look(
        carriers=tuple(dict.fromkeys(carrier for name in split for carrier in BY_CLASS.get(name, ()))),
        dropped=not _DROPPED_CLASSES.isdisjoint(split),
        main=not _MAIN_CLASSES.isdisjoint(split),
        boilerplate=_BOILERPLATE.search(names) is not None,
        tex=True if not rules.processed.isdisjoint(split) else False if not rules.ignored.isdisjoint(split) else None,
    )


def _is_main(attrs: Mapping[str, str | None]) -> bool:
    return (
        attrs.get("id") in _MAIN_IDS
        or attrs.get("role") == "main"
        or attrs.get("itemprop") in ("articleBody", "mainEntity")
    )


def _is_boilerplate(attrs: Mapping[str, str | None]) -> bool:
    return attrs.get("role") in _BOILERPLATE_ROLES or _BOILERPLATE.search(attrs.get("id") or "") is not None


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


__all__ = ["SKIP", "CarrierFunction", "Element", "Formula", "TooManyNodes", "Tree", "build_tree"]
