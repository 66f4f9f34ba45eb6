"""Macros that a page defines, in its MathJax or KaTeX configuration or in its formulas, written out in the formulas."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from ops.extract.registry import Formula, is_invisible

MOST_MACROS = 1_000
LONGEST_BODY = 2_000
LONGEST_RESULT = 50_000
MOST_EXPANSIONS = 500
"""In one formula; over it the formula stays as written."""
MOST_WORK = 20_000_000
"""Characters written while expanding on one page; over it the rest stays as written."""

_OBJECT = re.compile(r"""\b[mM]acros["']?\s*[:=]\s*(?:\{\s*["']?\[\+\]["']?\s*:\s*)?\{""")
_JS_STRING = r"""(?:"((?:[^"\\\n]|\\.)*)"|'((?:[^'\\\n]|\\.)*)'|`((?:[^`\\]|\\.)*)`|String\.raw`([^`]*)`)"""
_ENTRY = re.compile(
    rf"""(?:\s|,|//[^\n]*\n|/\*.*?\*/)*(?:{_JS_STRING}|([A-Za-z]+))\s*:\s*
    (?:{_JS_STRING}|\[\s*{_JS_STRING}\s*,\s*(\d)\s*(?:,\s*{_JS_STRING})?[^\]]*\]|\{{[^{{}}]*\}})""",
    re.VERBOSE | re.DOTALL,
)
_JS_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_JS_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}
DEFINES = re.compile(r"\\(?:re|provide)?newcommand\b|\\providecommand\b|\\[gx]?def\b|\\DeclareMathOperator\b|\\let\b")
_DEFINITION = re.compile(
    r"\\(?:(?P<new>(?:re)?newcommand|providecommand)\s*\*?\s*(?:\{\s*\\(?P<n1>[A-Za-z]+|.)\s*\}|\\(?P<n2>[A-Za-z]+|.))"
    r"\s*(?:\[(?P<count>\d)\])?\s*(?:\[(?P<default>[^\]]*)\])?"
    r"|[gx]?def\s*\\(?P<n3>[A-Za-z]+|.)\s*(?P<hash>(?:#\d\s*)*)"
    r"|(?P<operator>DeclareMathOperator)(?P<star>\*?)\s*(?:\{\s*\\(?P<n4>[A-Za-z]+)\s*\}|\\(?P<n5>[A-Za-z]+)))\s*(?=\{)"
)
_LET = re.compile(r"\\let\s*\\([A-Za-z]+)\s*=?\s*(\\[A-Za-z]+|[^\s\\])")
_COMMAND = re.compile(r"\\([A-Za-z]+|.)", re.DOTALL)
_COMMAND_END = re.compile(r"\\[A-Za-z]+$")
_PARAMETER = re.compile(r"#(\d)")
_TOKEN = re.compile(r"\s*(\\[A-Za-z]+|\\.|[^\s{}])", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Macro:
    """What a command stands for: `body` with `#1`.. for its arguments; the first may have a default."""

    body: str
    num_arguments: int = 0
    default: str | None = None
    final: bool = False
    """The body is a command of TeX's own, whatever a macro of that name stands for now."""


def read_macros(script: str) -> dict[str, Macro]:
    """Macros of the MathJax 2, 3, 4 and KaTeX configurations in a script, by name without the backslash."""
    found: dict[str, Macro] = {}
    for start in _OBJECT.finditer(script):
        for name, macro in _entries(script, start.end()):
            _add(found, name, macro)
    return found


def _entries(script: str, position: int) -> Iterator[tuple[str, Macro]]:
    while match := _ENTRY.match(script, position):
        position = match.end()
        groups = match.groups()
        key, plain = _string(groups[:4]), groups[4]
        name = plain or (key or "").removeprefix("\\")
        body = _string(groups[5:9])
        count = int(groups[13] or 0)
        default = None
        if body is None:
            body, default = _string(groups[9:13]), _string(groups[14:18])
        else:
            count = max((int(number) for number in _PARAMETER.findall(body)), default=0)  # KaTeX counts them
        if name and body is not None:
            yield name, Macro(body, count, default)


def _string(groups: tuple[str | None, ...]) -> str | None:
    if groups[3] is not None:
        return groups[3]
    text = next((group for group in groups[:3] if group is not None), None)
    return None if text is None else _JS_ESCAPE.sub(lambda match: _JS_ESCAPES.get(match.group(1), match.group(1)), text)


def define(latex: str, macros: dict[str, Macro]) -> str:
    """Move the definitions in a formula to `macros`; the formula without them."""
    pieces: list[str] = []
    done = 0
    while True:
        match, let = _DEFINITION.search(latex, done), _LET.search(latex, done)
        if let is not None and (match is None or let.start() < match.start()):
            found = macros.get(let.group(2).removeprefix("\\"))
            _add(macros, let.group(1), found or Macro(let.group(2), final=True))
            pieces.append(latex[done : let.start()])
            done = let.end()
            continue
        end = _group_end(latex, match.end()) if match is not None else None
        if match is None or end is None:
            break
        body = latex[match.end() + 1 : end - 1].strip()
        name = next((match[group] for group in ("n1", "n2", "n3", "n4", "n5") if match[group]), "")
        if match["operator"]:
            macro = Macro(f"\\operatorname{match['star']}{{{body}}}")
        elif match["new"]:
            macro = Macro(body, int(match["count"] or 0), match["default"])
        else:
            macro = Macro(body, match["hash"].count("#"))
        _add(macros, name, macro)
        pieces.append(latex[done : match.start()])
        done = end
    rest = ("".join(pieces) + latex[done:]).strip()
    return "" if is_invisible(rest) else rest


def _add(macros: dict[str, Macro], name: str, macro: Macro) -> None:
    if len(macros) < MOST_MACROS and len(macro.body) <= LONGEST_BODY:
        macros[name] = macro


def expand_formulas(parent: Any, macros: dict[str, Macro], work: list[int] | None = None) -> int:
    """Write out the macros in the formulas below an element, in page order. Returns how many were definitions alone.

    Such formulas are taken out. `macros` gains what the page defines on the way; `work` is what is left of `MOST_WORK`.
    """
    work = [MOST_WORK] if work is None else work
    removed = 0
    children = parent.children
    for index, child in enumerate(children):
        if isinstance(child, Formula):
            latex = child.latex
            if DEFINES.search(latex):
                latex = define(latex, macros)
            if latex and macros:
                latex = expand(latex, macros, work)
            if latex != child.latex:
                children[index] = replace(child, latex=latex)
            removed += not latex
        elif not isinstance(child, str):
            removed += expand_formulas(child, macros, work)
    if removed:
        parent.children = [child for child in children if not isinstance(child, Formula) or child.latex]
        parent.num_formulas -= removed
    return removed


def expand(latex: str, macros: dict[str, Macro], work: list[int] | None = None) -> str:
    """Write out the macros in a formula; one that never ends leaves it as it is."""
    work = [MOST_WORK] if work is None else work
    expanded = latex
    position = count = 0
    while match := _COMMAND.search(expanded, position):
        macro = macros.get(match.group(1))
        arguments = _arguments(expanded, match.end(), macro) if macro is not None else None
        if macro is None or arguments is None:
            position = match.end()
            continue
        values, end = arguments
        count += 1
        work[0] -= len(expanded)
        if count > MOST_EXPANSIONS or len(expanded) > LONGEST_RESULT or work[0] < 0:
            return latex
        body = "".join(_substituted(macro.body, values))
        glue = " " if _COMMAND_END.search(body) and expanded[end : end + 1].isalpha() else ""
        expanded = expanded[: match.start()] + body + glue + expanded[end:]
        position = match.start() + (len(body) if macro.final else 0)
    return expanded


def _substituted(body: str, values: list[str]) -> Iterator[str]:
    """The pieces of a body with arguments for their numbers; those at odd places of the split are numbers."""
    for index, piece in enumerate(_PARAMETER.split(body)):
        if index % 2 == 0:
            yield piece
        else:
            yield values[int(piece) - 1] if 0 < int(piece) <= len(values) else f"#{piece}"


def _arguments(latex: str, position: int, macro: Macro) -> tuple[list[str], int] | None:
    """The arguments behind a command and where they end; None when one is missing."""
    values: list[str] = []
    if macro.default is not None:
        optional = re.compile(r"\s*\[([^\]]*)\]").match(latex, position)
        values.append(optional.group(1) if optional else macro.default)
        position = optional.end() if optional else position
    while len(values) < macro.num_arguments:
        start = position
        while latex[start : start + 1].isspace():
            start += 1
        if latex[start : start + 1] == "{":
            end = _group_end(latex, start)
            if end is None:
                return None
            values.append(latex[start + 1 : end - 1])
            position = end
            continue
        token = _TOKEN.match(latex, position)
        if token is None:
            return None
        values.append(token.group(1))
        position = token.end()
    return values, position


def _group_end(latex: str, start: int) -> int | None:
    """Behind the brace that closes the one at `start`."""
    depth, position = 0, start
    while position < len(latex):
        character = latex[position]
        if character == "\\":
            position += 1
        elif character == "{":
            depth += 1
        elif character == "}":
            depth -= 1
            if depth == 0:
                return position + 1
        position += 1
    return None
