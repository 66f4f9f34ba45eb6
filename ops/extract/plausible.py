"""Whether the text between two delimiters is mathematics: not money, shell variables, regular expressions or prose."""

import re

from ops.extract.asciimath.table import NAMES
from ops.extract.symbols import FUNCTIONS
from ops.extract.words import words

_COMMAND = re.compile(r"\\[A-Za-z]+|[\^_]|\\[,;:!{}|]")
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{3,}")
_ANY_WORD = re.compile(r"(?<![\\A-Za-z{])[A-Za-z]{2,}")
_SIMPLE = re.compile(
    r"\s*(?:[A-Za-z]'*|[+-]?\d+(?:\.\d+)?|[A-Za-z0-9]{1,3}(?:\s*[-+*/=<>,|]\s*[A-Za-z0-9]{1,3})+|[A-Za-z]{1,2}\([^()$]{1,12}\))\s*"
)
_REGULAR_EXPRESSION = re.compile(
    r"\.[*+?]|\[\^|[*+?]\s*$|\\[wdsWDSbB1-9.*](?![A-Za-z])|\)\?|\|\||^\s*\?[:=!<]|^[\w ]+(?:\\\|[\w ]+)+$"
)
_SURELY_CODE = re.compile(
    r"\\e\[|\\0?33\[|\\x1b\[|^\[\d*(?:;\d+)*m\b|^\d+(?:;\d+)+m\b|^\.[*+]\??$|^\(?\[\^|^\[[^\]\\]*\w-\w[^\]\\]*\][*+?]?$|\\[wdsWDS][+*?{]"
    r"|^\?[:=!<]|^[A-Za-z ]+(?:\\\|[A-Za-z ]+)+$"
)
_CURRENCY = re.compile("[€£¥₹₽]")
_DANGLING = re.compile(r"(?:[=+*/,.;:&<>-]|->)$")
_MONEY = re.compile(
    r"\s*+\d[\d,.]*+\s*+(?:[kKmMbB]n?\b)?"
    r"(?:[-–—,;:/&()\s]*+$(?<!\d)|(?=[^\\^_={}]*+$)(?:.|\n)*?(?<![A-Za-z])[A-Za-z]{2})"
)
_SCRIPT = re.compile(
    r"[A-Za-z0-9)\]}']\^[A-Za-z0-9({+-]|(?:(?<![A-Za-z0-9_])[A-Za-z]|[)\]}'])_(?:[A-Za-z0-9](?![A-Za-z])|[({])"
)
"""An exponent, or an index of a letter or bracket: not the middle of a name."""
_CONNECTIVES = words("and or to at the of is are was for with in on by per each as so from that this it you we be")
_QUOTED = re.compile(r'"[^"]*"|text\s{0,9}(?:\([^)]{0,400}\)|\{[^}]{0,400}\}|\[[^\]]{0,400}\])')
_SENTENCE = re.compile(r"[a-z]{2}[.;:!?,] [A-Za-z]{2}|[a-z]{3} [a-z]{2,} [a-z]{2,} [a-z]{2,}")
_LETTERS = re.compile(r"[A-Za-z]{3,}")
_OPERATOR = re.compile(r"[=^/<>]")
_ESCAPED = re.compile(r"\\.", re.DOTALL)


def is_plausible(
    inner: str, *, opening: str, before: str, following: str, sure: bool, typesets: bool, seen: bool, broken: bool
) -> bool:
    """Whether the text between delimiters is mathematics.

    Args:
        inner: the text.
        opening: the delimiter before it.
        before: the character before the delimiter, or nothing.
        following: the character behind the closing delimiter, or nothing.
        sure: the page typesets these delimiters.
        typesets: the page typesets mathematics, if not between these delimiters.
        seen: plain mathematics between dollars was seen on the page before.
        broken: there is a line break in it.
    """
    stripped = inner.strip()
    if not stripped or (opening == "$$" and not inner.strip("$ ")):
        return False
    dollar = opening == "$"
    if dollar and _MONEY.match(inner):
        return False
    if _SURELY_CODE.search(stripped) or stripped in _CONNECTIVES:
        return False
    if opening[0] == "$" and not _between_dollars(inner, stripped, before, following):
        return False
    if sure:
        return True
    if dollar and (inner[0].isspace() or inner[-1].isspace() or following.isdigit() or broken):
        return False
    num_commands = len(_COMMAND.findall(inner))
    num_words = len(_WORD.findall(inner))
    if not dollar and _REGULAR_EXPRESSION.search(inner):
        return False
    if "\\" in inner or "{" in inner:
        plain = num_commands > 0 and num_words <= 2 + 2 * num_commands
    else:
        plain = num_commands > 0 and num_words == 0 and not inner.startswith("_")
        apart = not (before.isalnum() or following.isalnum())
        plain = plain and (typesets or not dollar or (apart and _SCRIPT.search(inner) is not None))
    if plain:
        return True
    if num_words > 1:
        return False
    if dollar:
        return (seen or typesets) and _SIMPLE.fullmatch(inner) is not None
    return (num_words == 0 and len(inner) < 60 and any(map(str.isalnum, inner))) or ("=" in inner and len(inner) < 200)


def is_plausible_asciimath(inner: str) -> bool:
    """Whether what stands between backticks is AsciiMath: on some pages they also quote words and code."""
    text = _QUOTED.sub("", inner).strip()
    if not text or "''" in text or text in _CONNECTIVES or _SENTENCE.search(text):
        return not text and bool(inner.strip())
    names = _LETTERS.findall(text)
    unknown = [word for word in names if word not in NAMES]
    return not unknown or (len(unknown) <= 3 and (len(unknown) < len(names) or _OPERATOR.search(text) is not None))


def is_evidence(inner: str) -> bool:
    """Whether a formula between dollars is so plainly one that the page's other dollars may be formulas, too."""
    return _COMMAND.search(inner) is not None


def _between_dollars(inner: str, stripped: str, before: str, following: str) -> bool:
    """Dollars are also money and the sign of a variable, on pages that typeset them, too."""
    if "\\" in stripped:
        return True
    if stripped[0] == "$" or (not any(character.isalnum() for character in stripped) and stripped in "-!?@#"):
        return False
    depth = 0
    for character in _ESCAPED.sub("", stripped):
        depth += (character == "{") - (character == "}")
        if depth < 0:
            return False
    if _CURRENCY.search(stripped) or stripped[-1] in "_^":
        return False
    prose = [word for word in _ANY_WORD.findall(stripped) if word not in FUNCTIONS]
    one_sided = inner[:1].isspace() != inner[-1:].isspace()
    if one_sided and (prose or _DANGLING.search(stripped) or not any(map(str.isalnum, stripped))):
        return False
    if any(word in _CONNECTIVES for word in prose) and "{" not in stripped:
        return False
    if _COMMAND.search(stripped):
        return len(prose) <= 2 or "{" in stripped
    if before.isalnum() or following.isdigit() or (prose and _DANGLING.search(stripped)):
        return False
    if sum(map(stripped.count, "([")) != sum(map(stripped.count, ")]")) and len(stripped) > 2:
        return False
    if inner[:1].isspace() and inner[-1:].isspace():
        return not prose or any(sign in stripped for sign in "=<>+")
    return len(prose) <= 1 or any(sign in stripped for sign in "=<>+-*/(")
