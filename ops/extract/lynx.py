"""lynx as the renderer, as in the Nemotron-CC-Math pipeline: one process a page, for comparison only.

The page goes to lynx as it is. MathML comes out as marked-up text and `math/tex` scripts are lost, so that its
formulas are what stands between TeX delimiters in the output.
"""

import subprocess

from ops.errors import InputError

_COMMAND = (
    "lynx",
    "-dump",
    "-stdin",
    "-nolist",
    "-width=10000",
    "-assume_charset=utf-8",
    "-display_charset=utf-8",
    "-localhost",
    "-force_html",
)
"""The arguments of NeMo Curator's `LynxExtractor`."""


class LynxFailed(RuntimeError):
    """lynx ended with an error, or not in time."""


def lynx_version() -> str:
    """The first line of `lynx -version`.

    Raises:
        InputError: when it is not installed.
    """
    try:
        done = subprocess.run(("lynx", "-version"), capture_output=True, text=True, check=True)
    except FileNotFoundError as error:
        raise InputError(_ABSENT) from error
    return done.stdout.splitlines()[0]


def dump(html: str, *, timeout: float) -> str:
    """The page as lynx shows it.

    Raises:
        LynxFailed: when it fails on the page or takes more than `timeout` seconds.
        InputError: when it is not installed.
    """
    try:
        done = subprocess.run(
            _COMMAND, input=html.encode("utf-8", "replace"), capture_output=True, timeout=timeout, check=False
        )
    except FileNotFoundError as error:
        raise InputError(_ABSENT) from error
    except subprocess.TimeoutExpired as error:
        raise LynxFailed(f"more than {timeout:g} s") from error
    if done.returncode:
        message = done.stderr.decode("utf-8", "replace").strip()[:200]
        raise LynxFailed(f"exit status {done.returncode}: {message}")
    return done.stdout.decode("utf-8", "replace")


_ABSENT = "ExtractConfig.renderer: lynx is not installed (apt-get install lynx)"
