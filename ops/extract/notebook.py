"""Jupyter notebooks: cells of Markdown and code with their outputs, as one Markdown text."""

import json
import re
from typing import Any

from ops.extract.plain_text import clean_text, usual_rules, write_text
from ops.extract.registry import SKIP, Formula, make_formula, undelimit
from ops.extract.writer import Writer

_TAG = re.compile(
    r"</?(?:div|span|center|font|p|a|b|i|u|em|strong|br|hr|img|sup|sub|h[1-6]|table|thead|tbody|tr|th|td|ul|ol|li|"
    r"figure|figcaption|details|summary|blockquote)\b(?:[^<>\"']|\"[^\"]*\"|'[^']*')*>|<!--.*?-->",
    re.IGNORECASE | re.DOTALL,
)
_LINE_TAG = re.compile(r"<br\s*/?>", re.IGNORECASE)
_IMAGE = re.compile(r"!\[[^\]\n]*\]\([^)\n]*\)")
_REPRESENTATION = re.compile(r"<[^\n<>]*>\Z")
_CODE = re.compile(
    r"(^ {0,3}(?:`{3,}|~{3,})[^\n]*\n.*?(?:^ {0,3}(?:`{3,}|~{3,})[ \t]*$|\Z)|`[^`\n]+`)", re.MULTILINE | re.DOTALL
)
MIME_TYPES = ("application/x-ipynb+json", "application/json", "text/json", "application/ipynb+json")


class NotANotebook(ValueError):
    """JSON that is no notebook, or no JSON."""


def is_notebook(text: str) -> bool:
    """Whether a text looks like a notebook's JSON."""
    return text.lstrip("\ufeff \t\r\n").startswith("{") and '"nbformat"' in text and '"cell_type"' in text


class NotebookText:
    """A notebook written as Markdown.

    Raises:
        NotANotebook: when the JSON is broken or has no cells.
        OverBudget: when it has more than `max_formulas` opening delimiters.
    """

    def __init__(self, text: str, max_formulas: int) -> None:
        try:
            notebook = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise NotANotebook(f"broken JSON: {error}") from error
        self.writer = Writer()
        self.rules = usual_rules(max_formulas)
        self.title: str | None = None
        self.num_code_blocks = 0
        metadata = _mapping(_mapping(notebook).get("metadata"))
        self.language = str(
            _mapping(metadata.get("language_info")).get("name")
            or _mapping(metadata.get("kernelspec")).get("language")
            or ""
        ).lower()
        for cell in _cells(_mapping(notebook)):
            self._cell(cell)

    def _cell(self, cell: dict[str, Any]) -> None:
        kind, source = cell.get("cell_type"), _joined(cell.get("source", cell.get("input")))
        if kind == "markdown":
            self._markdown(source)
        elif kind == "heading":
            level = cell.get("level")
            self._markdown(f"{'#' * (level if isinstance(level, int) and 1 <= level <= 6 else 1)} {source}")
        elif kind == "code":
            self._fenced(source, str(cell.get("language") or self.language))
            outputs = cell.get("outputs")
            for output in outputs if isinstance(outputs, list) else ():
                self._output(_mapping(output))
        elif kind == "raw":
            self._block(clean_text(source))

    def _output(self, output: dict[str, Any]) -> None:
        if output.get("output_type") == "stream":
            self._fenced(_joined(output.get("text")), "")
            return
        if output.get("output_type") not in ("execute_result", "display_data", "pyout"):
            return
        data = _mapping(output.get("data")) or output
        latex = _joined(data.get("text/latex", data.get("latex")))
        markdown = _joined(data.get("text/markdown"))
        plain = _joined(data.get("text/plain", data.get("text")))
        if latex.strip():
            inner, display = undelimit(latex)
            formula = make_formula(inner, display is not False, "notebook-output")
            if formula is not SKIP and isinstance(formula, Formula) and "$" not in formula.latex:
                self.writer.start_block()
                self.writer.put([formula], one_line=False)
            else:
                self._markdown(latex)
        elif markdown.strip():
            self._markdown(markdown)
        elif not _REPRESENTATION.match(plain.strip()):
            self._fenced(plain, "")

    def _markdown(self, source: str) -> None:
        parts = _CODE.split(source)
        for index in range(0, len(parts), 2):
            text = _LINE_TAG.sub("\n", _IMAGE.sub("", parts[index]))
            parts[index] = _TAG.sub("", text) if "<" in text else text
        self._block(clean_text("".join(parts)))

    def _block(self, text: str) -> None:
        if not text:
            return
        if self.title is None and text.startswith("# "):
            self.title = text[2:].partition("\n")[0].strip() or None
        self.writer.start_block()
        self.num_code_blocks += write_text(self.writer, text, self.rules)

    def _fenced(self, source: str, language: str) -> None:
        code = source.replace("\r\n", "\n").strip("\n").rstrip()
        if not code:
            return
        fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", code)), default=0))
        self.writer.start_block()
        self.writer.raw(f"{fence}{language}\n{code}\n{fence}")
        self.num_code_blocks += 1


def _cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    cells = notebook.get("cells")
    if cells is None:
        worksheets = notebook.get("worksheets")
        sheets = worksheets if isinstance(worksheets, list) else []
        inner = [_mapping(sheet).get("cells") for sheet in sheets]
        cells = [cell for found in inner if isinstance(found, list) for cell in found]
    if not isinstance(cells, list) or "nbformat" not in notebook:
        raise NotANotebook("JSON without a notebook's cells")
    return [_mapping(cell) for cell in cells]


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _joined(value: object) -> str:
    if isinstance(value, list):
        return "".join(part for part in value if isinstance(part, str))
    return value if isinstance(value, str) else ""
