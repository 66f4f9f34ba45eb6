"""The light tree that a page is read into: elements whose leaves are text and formulas."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from ops.errors import InputError
from ops.extract.registry import Formula


class Element:
    """An element that is kept."""

    __slots__ = (
        "attrs",
        "chars",
        "children",
        "dropped",
        "hint",
        "last",
        "link_chars",
        "may_hold_tex",
        "num_formulas",
        "num_links",
        "order",
        "prose",
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
        self.prose = 0
        """Characters below in pieces of running text: long enough, and in no link."""
        self.hint = 0
        """What its names say (`ops.extract.hints`)."""
        self.order = 0
        self.last = 0
        """Its number in page order and that of the last element below it."""
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
    hinted: list[Element] = field(default_factory=list)
    """Elements whose names, tag or role say what they are, in page order."""
    forum: bool = False
    """The page is a discussion, as its address says."""
    headings: list[int] = field(default_factory=list)
    """Numbers (`Element.order`) of the first level's headings."""
    counters: Counter[str] = field(default_factory=Counter)


class OverBudget(InputError):
    """The page holds more than is looked at; `reason` says more of what."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
