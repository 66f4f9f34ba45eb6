"""Which list of addresses."""

import re
from dataclasses import dataclass

from ops.errors import InputError


@dataclass(frozen=True, kw_only=True)
class UrlListConfig:
    """A text file, one address a line, named by its content."""

    sha256: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise InputError(f"sha256: {self.sha256!r} is not 64 lower-case hex digits")
