"""Every regular expression of the extraction against strings that make a careless one slow.

`python -m tests.fuzz.regexes [SECONDS]`: the strings are what the expression itself is made of, repeated; an expression
that needs more than SECONDS (default 1) of processor time on 60,000 characters is reported. Each is tried as its module
uses it: searched for, or matched at the start.
"""

import importlib
import inspect
import itertools
import pkgutil
import re
import signal
import sys
from collections.abc import Iterator

import ops.extract

LENGTH = 60_000
_PLAIN = [
    " ",
    "\n",
    "\t",
    "a",
    "A",
    "1",
    "$",
    "\\",
    '"',
    "'",
    "{",
    "}",
    "(",
    "[",
    "<",
    "&",
    "%",
    "-",
    ".",
    "é",
    "\\a",
    "a ",
    " \n",
    "a.",
    "1,",
]
_LITERAL = re.compile(r"[A-Za-z<][A-Za-z/!-]+|\\[\\{}()\[\]$.]")


class _TooSlow(Exception):
    pass


def patterns() -> Iterator[tuple[str, re.Pattern[str], bool]]:
    """Compiled expressions for text in the modules of `ops.extract`: name, expression, whether it is searched for."""
    for module_info in pkgutil.walk_packages(ops.extract.__path__, "ops.extract."):
        if module_info.name.endswith("__main__"):
            continue
        module = importlib.import_module(module_info.name)
        source = inspect.getsource(module)
        for name, value in vars(module).items():
            found = [value] if isinstance(value, re.Pattern) else []
            if isinstance(value, tuple | list):
                found = [
                    part
                    for part in itertools.chain.from_iterable(
                        item if isinstance(item, tuple | list) else (item,) for item in value
                    )
                    if isinstance(part, re.Pattern)
                ]
            for pattern in found:
                if isinstance(pattern.pattern, str):
                    searched = re.search(rf"\b{name}\.(?:search|subn?|finditer|findall|split)\b", source) is not None
                    yield f"{module_info.name}.{name}", pattern, searched or isinstance(value, tuple | list)


def baits(pattern: re.Pattern[str]) -> Iterator[str]:
    """Strings of `LENGTH` characters out of the expression's own literals and of what is in every page."""
    literals = list(dict.fromkeys(re.sub(r"\\(?=\W)", "", text) for text in _LITERAL.findall(pattern.pattern)))[:12]
    units = [
        *_PLAIN,
        *literals,
        *(literal + end for literal in literals for end in (" ", "=", '"', "{", "(", "<", "\\")),
    ]
    for unit in units:
        yield unit * (LENGTH // len(unit))
    for unit in ("5 aa ", "1,", "a-", "a.b ", "x_{", "\\\\"):
        yield "5 " + unit * (LENGTH // len(unit)) + "="
    for literal, filler in itertools.product(literals, (" ", "a", "\n", "<", "&", "\\", "a=", "{")):
        yield literal + filler * (LENGTH // len(filler))


def main(seconds: float = 1.0) -> int:
    """Try every expression. Returns how many are slow."""

    def stop(signum: int, frame: object) -> None:
        raise _TooSlow

    signal.signal(signal.SIGVTALRM, stop)
    slow = 0
    for name, pattern, searched in patterns():
        for bait in baits(pattern):
            signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
            try:
                if searched:
                    for _ in itertools.islice(pattern.finditer(bait), 20_000):
                        pass
                else:
                    pattern.match(bait)
                    pattern.fullmatch(bait)
            except _TooSlow:
                slow += 1
                print(f"{name}: {pattern.pattern[:80]!r} on {bait[:24]!r}...{bait[-8:]!r}")
                break
            finally:
                signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    print(f"{slow} slow expressions")
    return slow


if __name__ == "__main__":
    sys.exit(1 if main(*map(float, sys.argv[1:2])) else 0)
