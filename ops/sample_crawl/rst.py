"""Docstrings as HTML: numpydoc sections by Sphinx's napoleon, reStructuredText by docutils, formulas by a carrier."""

import html
import re
from functools import cache
from typing import Any, ClassVar

from docutils import frontend, nodes, utils
from docutils.parsers.rst import Directive, Parser, directives, roles
from docutils.parsers.rst.directives.body import MathBlock
from docutils.readers import standalone
from docutils.statemachine import StringList
from docutils.writers import html5_polyglot
from sphinx.ext.napoleon import Config
from sphinx.ext.napoleon.docstring import NumpyDocstring

from ops.sample_crawl.formulas import Carrier
from ops.sample_crawl.sources import BACKTICK_MATH, Docstring, PageSource

DOCUTILS_ROLES = frozenset(
    """
    abbreviation ac acronym code emphasis literal math pep pep-reference raw rfc rfc-reference strong sub
    subscript sup superscript t title title-reference
    """.split()  # noqa: SIM905
)
DOCUTILS_DIRECTIVES = frozenset(
    """
    admonition attention caution class code code-block compound container contents csv-table danger date
    default-role epigraph error figure footer header highlights hint image important include line-block
    list-table math meta note parsed-literal pull-quote raw replace role rubric section-numbering sidebar
    sourcecode table tip title topic unicode warning
    """.split()  # noqa: SIM905
)
LITERAL_DIRECTIVES = frozenset(
    """
    doctest digraph graphviz ipython jupyter-execute jupyterlite literalinclude plot productionlist prompt
    testcode testoutput testsetup try_examples
    """.split()  # noqa: SIM905
)
SILENT_DIRECTIVES = frozenset(
    """
    currentmodule index toctree module tabularcolumns highlight
    """.split()  # noqa: SIM905
)

FIELD_NAMES = {
    "returns": "Returns",
    "rtype": "Return type",
    "raises": "Raises",
    "yields": "Yields",
    "ytype": "Yield type",
    "warns": "Warns",
}

VERSION_TITLES = {
    "versionadded": "Added in version",
    "versionchanged": "Changed in version",
    "deprecated": "Deprecated since version",
}

_ROLE = re.compile(r":([A-Za-z][A-Za-z0-9_.+:-]*):`")
_DIRECTIVE = re.compile(r"^\s*\.\. ([A-Za-z][A-Za-z0-9_.+:-]*)::", re.MULTILINE)
_TITLED_TARGET = re.compile(r"(.+?)\s*<[^<>]+>", re.DOTALL)
_OPTION_LINE = re.compile(r"\s*:\w[\w-]*:(\s.*)?")
_FIELD = re.compile(r"^:(returns|rtype|raises|yields|ytype|warns)\b", re.MULTILINE)
_DOLLARS = re.compile(r"(?<![\\\w$`])\$(?![\s\d$])([^$`\n]+)(?<![\s\\])\$(?![\w$])")


def render(page: PageSource, carrier: Carrier) -> str:
    """The main content of a page as HTML, without a title of the page."""
    parts = [_render_object(page, docstring, carrier) for docstring in page.docstrings]
    return "\n".join(parts)


def _render_object(page: PageSource, docstring: Docstring, carrier: Carrier) -> str:
    body = render_rst(_to_rst(page.package, docstring.text), carrier, backtick_math=page.package in BACKTICK_MATH)
    if docstring.kind == "module":
        return f'<section class="module">\n{body}</section>'
    owner, _, name = docstring.qualname.rpartition(".")
    prefix = html.escape(f"{page.module}.{owner}." if owner else f"{page.module}.")
    signature = f"({html.escape(docstring.signature, quote=False)})" if docstring.kind == "function" else ""
    keyword = '<em class="property">class </em>' if docstring.kind == "class" else ""
    return (
        f'<dl class="py {docstring.kind}">\n<dt class="sig sig-object py" id="{html.escape(docstring.qualname)}">'
        f'{keyword}<code class="sig-prename">{prefix}</code><code class="sig-name">{name}</code>{signature}</dt>\n'
        f"<dd>{body}</dd></dl>"
    )


def _to_rst(package: str, text: str) -> str:
    if package in BACKTICK_MATH:
        lines = text.split("\n")
        text = "\n".join(
            line if line.lstrip().startswith((">>>", "...")) else _DOLLARS.sub(r":math:`\1`", line) for line in lines
        )
    rst = str(NumpyDocstring(text, _napoleon())).replace("*) -- ", "*) \N{EN DASH} ")
    return _FIELD.sub(lambda match: ":" + FIELD_NAMES[match[1]], rst)


@cache
def _napoleon() -> Any:  # sphinx's own annotation asks for a whole project's configuration
    return Config(napoleon_use_param=False, napoleon_use_rtype=False, napoleon_use_ivar=True)


def render_rst(text: str, carrier: Carrier, *, backtick_math: bool) -> str:
    """reStructuredText as an HTML fragment. Markup that docutils does not know keeps its text."""
    for name in set(_ROLE.findall(text)) - DOCUTILS_ROLES:
        roles.register_local_role(name, _generic_role)
    for name in set(_DIRECTIVE.findall(text)) - DOCUTILS_DIRECTIVES:
        kind = Silent if name in SILENT_DIRECTIVES else Listing if name in LITERAL_DIRECTIVES else Block
        directives.register_directive(name, kind)
    directives.register_directive("math", NumberedMath)
    roles.register_local_role("obj", _generic_role)
    document = utils.new_document("docstring", _settings())
    default_role = "math" if backtick_math else "obj"
    parser = Parser()
    parser.parse(f".. default-role:: {default_role}\n\n{text}\n", document)
    document.transformer.populate_from_components((standalone.Reader(parser=parser), parser, html5_polyglot.Writer()))
    document.transformer.apply_transforms()
    translator = Translator(document, carrier)
    document.walkabout(translator)
    return "".join(translator.body)


@cache
def _settings() -> Any:
    components: Any = (Parser, standalone.Reader, html5_polyglot.Writer)
    settings = frontend.get_default_settings(*components)
    settings.report_level = 5  # other people's markup: no warnings on the terminal, and
    settings.halt_level = 6  # none in the page
    settings.raw_enabled = False
    settings.file_insertion_enabled = False
    settings.syntax_highlight = "none"
    settings.doctitle_xform = False
    settings.docinfo_xform = False
    settings.initial_header_level = 2
    settings.embed_stylesheet = False
    settings.math_output = "LaTeX"
    settings._disable_config = True
    return settings


class Translator(html5_polyglot.HTMLTranslator):
    """docutils' HTML5 writer with formulas by a carrier and code as Sphinx wraps it."""

    def __init__(self, document: nodes.document, carrier: Carrier) -> None:
        super().__init__(document)
        self.carrier = carrier

    def visit_math(self, node: nodes.Element, *_: Any) -> None:
        self.body.append(self.carrier.write(node.astext(), display=False))
        raise nodes.SkipNode

    def visit_math_block(self, node: nodes.Element, *_: Any) -> None:
        self.body.append(self.carrier.write(node.astext(), display=True))
        raise nodes.SkipNode

    def visit_literal(self, node: nodes.Element) -> None:
        self.body.append(f'<code class="docutils literal notranslate">{html.escape(node.astext(), quote=False)}</code>')
        raise nodes.SkipNode

    def visit_doctest_block(self, node: nodes.Element) -> None:
        self.body.append('<div class="highlight-pycon notranslate"><div class="highlight"><pre>')

    def depart_doctest_block(self, node: nodes.Element) -> None:
        self.body.append("\n</pre></div></div>\n")


def _generic_role(
    name: str, rawtext: str, text: str, lineno: int, inliner: Any, options: Any = None, content: Any = ()
) -> Any:
    """Any role of Sphinx or an extension: its text (the title of `title <target>`, the last part of `~a.b.c`)."""
    text = utils.unescape(text)
    if match := _TITLED_TARGET.fullmatch(text):
        text = match[1]
    elif text.startswith("~"):
        text = text.rpartition(".")[2].lstrip("~")
    return [nodes.literal(rawtext, text.lstrip("!"), classes=["xref"])], []


class NumberedMath(MathBlock):
    """`.. math::` with the options that Sphinx adds."""

    option_spec: ClassVar[Any] = {
        **(MathBlock.option_spec or {}),
        "label": directives.unchanged,
        "nowrap": directives.flag,
    }


class Block(Directive):
    """Any directive of Sphinx or an extension, as a block that holds its arguments and its content."""

    has_content = True  # and no arguments, so what stands behind `::` is the content's beginning

    def run(self) -> list[nodes.Node]:
        block = nodes.container(classes=[nodes.make_id(self.name)])
        lines = self._without_options()
        if self.name == "seealso":
            block += nodes.paragraph("", "See also", classes=["admonition-title"])
        elif self.name in VERSION_TITLES and lines:
            more = ":" if len(lines) > 1 and lines[1].strip() else ""
            lines[0] = f"{VERSION_TITLES[self.name]} {lines[0]}{more}"
        self.state.nested_parse(StringList(lines, "docstring"), self.content_offset, block)
        return [block]

    def _without_options(self) -> list[str]:
        return [line for line in self.content if not _OPTION_LINE.fullmatch(line)]


class Listing(Block):
    """A directive whose content is code."""

    def run(self) -> list[nodes.Node]:
        text = "\n".join(self._without_options()).strip("\n")
        return [nodes.literal_block(text, text)] if text else []


class Silent(Block):
    """A directive without visible text."""

    def run(self) -> list[nodes.Node]:
        return []
