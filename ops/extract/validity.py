"""Whether a formula is LaTeX that could be typeset: balanced, nested rightly, with nothing that ends mathematics.

One pass over the tokens of TeX: an escaped brace is no brace, what is behind `%` does not count, `\\verb` is read as
TeX reads it, and in the argument of `\\text` and its kin `$...$` is a formula of its own. Which commands there are is
not known here: an undefined command is valid.
"""

import re
from typing import NamedTuple

from ops.extract.words import words

REASONS = (
    "empty",
    "not_latex",
    "unbalanced_braces",
    "unbalanced_environment",
    "unbalanced_left_right",
    "double_script",
    "missing_argument",
    "stray_alignment",
    "stray_delimiter",
)
"""Everything that `check_latex` may answer, besides None."""

_TOKEN = re.compile(
    r"""(?P<run>[^\\{}$&^_%'~#\s][^\\{}$&^_%'~#]*)"""
    r"""|\\(?:(?P<edge>begin|end)\s*\{\s*(?P<name>[^{}\\$]{1,40}?)\s*\}|(?P<verb>verb\*?([^A-Za-z\s*]).{0,300}?\5)"""
    r"""|(?P<command>[A-Za-z]+|[\s\S]|\Z))"""
    r"""|(?P<comment>%[^\n]*\n?)|(?P<primes>'+)|(?P<space>[\s~]+)|(?P<special>.)""",
)
_ARGUMENTS = {
    **dict.fromkeys(words("frac dfrac tfrac cfrac binom dbinom tbinom overset underset stackrel textcolor"), 2),
    **dict.fromkeys(
        words(
            "sqrt hat bar vec tilde dot ddot widehat widetilde overline underline mathbf mathbb mathcal mathfrak "
            "mathrm mathsf mathit mathtt mathscr boldsymbol bm operatorname overbrace underbrace color phantom "
            "pmod mathop mathrel mathbin mathord boxed cancel tag label substack"
        ),
        1,
    ),
}
_TEXTS = words(
    "text textrm textbf textit texttt textsf textnormal textup textmd textsl textsc mbox hbox fbox emph intertext "
    "shortintertext tag label ref eqref cite footnote"
)
_ARGUMENTS.update(dict.fromkeys(_TEXTS, 1))
_PLAIN_TABLES = words("matrix pmatrix cases eqalign eqalignno array bordermatrix align displaylines halign")
"""Plain TeX's alignments, whose contents are in braces."""
_INVISIBLE = words(", ; : ! > quad qquad limits nolimits displaystyle textstyle scriptstyle") | {" ", "\n", "\t"}
_DELIMITERS = frozenset("()[]")
_MARKUP = re.compile(
    r"</?(?:span|div|br|p|img|sup|sub|strong|em|font|script|table|td|tr)\b[^<>]{0,300}>|&(?:amp|lt|gt|nbsp|quot|#\d{1,6});"
)
_WORDS = re.compile(r"(?<![A-Za-z])[A-Za-z]{3,}(?![A-Za-z])")
_MOST_WORDS = 12
"""More words outside `\\text` than this, and more than there are commands, are prose that was taken for a formula."""
_SUP, _SUB = 1, 2
_BRACE, _ENVIRONMENT, _LEFT, _FORMULA = (
    "unbalanced_braces",
    "unbalanced_environment",
    "unbalanced_left_right",
    "stray_delimiter",
)
"""Kinds of what can stand open, each by the reason for which a formula is refused that leaves it open."""


class _Open(NamedTuple):
    kind: str
    name: str
    is_text: bool
    """Whether what is around it is text."""

    scripts: int
    """Scripts of the atom before it: it is an argument of that atom's script or command; -1: it is an atom itself."""

    arguments: int
    """Arguments that its command still wants after it."""


def check_latex(latex: str) -> str | None:
    """Why a formula (without its delimiters) is not valid LaTeX, as one of `REASONS`; None when nothing is wrong."""
    if not latex.strip():
        return "empty"
    if ("<" in latex or "&" in latex) and _MARKUP.search(latex):
        return "not_latex"
    stack: list[_Open] = []
    is_text = primed = pending = fence = False
    scripts = arguments = num_words = num_commands = 0
    command = ""
    for match in _TOKEN.finditer(latex):
        kind = match.lastgroup
        if kind == "space" or kind == "comment":
            continue
        if kind == "run":
            token = match.group()
            if token == "*" and arguments:
                continue  # \operatorname*{..}, \tag*{..}
            length = len(token.strip()) - fence
            fence = False
            if not is_text and length > 8:
                num_words += len(_WORDS.findall(token))
            taken = min(arguments or int(pending), length)
            arguments -= taken if arguments else 0
            scripts = scripts if taken == length else 0
            pending = primed = False
            continue
        if kind == "command":
            name = match.group("command")
            num_commands += 1
            if fence:
                fence = False
                continue
            if name == "left":
                stack.append(_Open(_LEFT, "", is_text, scripts if pending else -1, arguments))
                scripts = arguments = 0
                pending = primed = False
                fence = True
            elif name == "right" or name == "middle":
                if pending:
                    return "missing_argument"
                if not stack or stack[-1].kind != _LEFT:
                    return stack[-1].kind if stack and stack[-1].kind != _ENVIRONMENT else _LEFT
                fence = True
                if name == "right":
                    opened = stack.pop()
                    scripts, arguments = max(opened.scripts, 0), opened.arguments
            elif name in _DELIMITERS:
                if name == "(" and is_text:
                    stack.append(_Open(_FORMULA, "(", is_text, -1, 0))
                    is_text = False
                elif name == ")" and stack and stack[-1].kind == _FORMULA and stack[-1].name == "(":
                    is_text = stack.pop().is_text
                else:
                    return "stray_delimiter"
            elif name == "begin" or name == "end":
                return _ENVIRONMENT
            elif name == "":
                return "not_latex"
            elif name == "\\" or name == "cr":
                if pending:
                    return "missing_argument"
                if len(stack) > 1 and stack[-1].kind == _LEFT and stack[-2].kind == _ENVIRONMENT:
                    return _LEFT
                scripts = arguments = 0
            elif name in _INVISIBLE:
                if pending and not name.isspace():
                    return "missing_argument"
            else:
                if arguments and not pending:
                    arguments -= 1
                elif not pending:
                    scripts = 0
                wanted = _ARGUMENTS.get(name, 0)
                arguments += wanted
                command = name if wanted or name in _PLAIN_TABLES else ""
                pending = primed = False
                continue
        elif fence:
            return "missing_argument"
        elif kind == "special":
            token = match.group()
            if token == "{":
                argument = pending or arguments > 0
                stack.append(
                    _Open(_BRACE, command, is_text, scripts if argument else -1, max(0, arguments - (not pending)))
                )
                is_text = is_text or command in _TEXTS
                scripts = arguments = 0
                pending = primed = False
            elif token == "}":
                if pending or (arguments and not is_text):
                    return "missing_argument"
                if not stack or stack[-1].kind != _BRACE:
                    return stack[-1].kind if stack else _BRACE
                opened = stack.pop()
                is_text, scripts, arguments = opened.is_text, max(opened.scripts, 0), opened.arguments
                primed = False
                command = opened.name if arguments else ""
                continue
            elif token == "$":
                if stack and stack[-1].kind == _FORMULA and stack[-1].name == "$":
                    is_text = stack.pop().is_text
                elif is_text:
                    stack.append(_Open(_FORMULA, "$", is_text, -1, 0))
                    is_text = False
                else:
                    return "stray_delimiter"
                scripts = arguments = 0
            elif is_text:
                pass
            elif token == "^" or token == "_":
                if pending or arguments:
                    return "missing_argument"
                bit = _SUP if token == "^" else _SUB
                if scripts & bit and not (primed and bit == _SUP):
                    return "double_script"
                scripts |= bit
                pending = True
                primed = False
            elif token == "&":
                if pending:
                    return "missing_argument"
                top = stack[-1] if stack else None
                if top is None or (top.kind != _ENVIRONMENT and not (top.kind == _BRACE and top.name in _PLAIN_TABLES)):
                    return "stray_alignment" if top is None or top.kind != _LEFT else _LEFT
                scripts = arguments = 0
            else:
                return "not_latex"
        elif kind == "primes":
            if is_text:
                continue
            if pending:
                return "missing_argument"
            if scripts & _SUP:
                return "double_script"
            scripts |= _SUP
            primed = True
        elif kind == "name":
            if match.group("edge") == "begin":
                stack.append(_Open(_ENVIRONMENT, match.group("name"), is_text, scripts if pending else -1, arguments))
                is_text, arguments = False, 0
            else:
                if pending:
                    return "missing_argument"
                if not stack or stack[-1].kind != _ENVIRONMENT or stack[-1].name != match.group("name"):
                    return stack[-1].kind if stack else _ENVIRONMENT
                opened = stack.pop()
                is_text, arguments = opened.is_text, opened.arguments
            scripts = 0
            pending = primed = False
        command = ""
    if stack:
        return stack[-1].kind
    if pending or fence or arguments:
        return "missing_argument"
    return "not_latex" if num_words > max(_MOST_WORDS, num_commands) else None
