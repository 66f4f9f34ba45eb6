"""A stage made for tests: counts up in files, can fail, stop or reject."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ToyConfig:
    files: int = 3
    text: str = "x"
    reject: bool = False
    error: str = ""
