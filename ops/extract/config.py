"""What the result of extraction depends on."""

from dataclasses import dataclass

from ops.errors import InputError

RENDERERS = ("stillhouse", "lynx")


@dataclass(frozen=True, kw_only=True)
class ExtractConfig:
    """Bounds of one page; a page over them is dropped with the reason, never cut in silence."""

    max_bytes: int = 16 * 2**20
    """Largest page, in bytes as fetched."""

    max_nodes: int = 500_000
    """Largest number of DOM nodes walked."""

    max_formulas: int = 100_000
    """Largest number of formulas, and of opening delimiters that may begin one."""

    max_depth: int = 256
    """Deepest element kept as an element. Tags below are left out and their text kept, as browsers do."""

    min_chars: int = 1
    """Shortest text kept, in characters."""

    renderer: str = "stillhouse"
    """`stillhouse`, or `lynx` to compare with the Nemotron-CC-Math pipeline (a process a page, most formulas lost)."""

    lynx_timeout: float = 20.0
    """Seconds that lynx may take for a page."""

    def __post_init__(self) -> None:
        for name in ("max_bytes", "max_nodes", "max_formulas", "max_depth", "min_chars"):
            if getattr(self, name) < 1:
                raise InputError(f"ExtractConfig.{name} must be at least 1, got {getattr(self, name)}")
        if self.renderer not in RENDERERS:
            raise InputError(f"ExtractConfig.renderer must be one of {', '.join(RENDERERS)}, got {self.renderer!r}")
        if not self.lynx_timeout > 0:
            raise InputError(f"ExtractConfig.lynx_timeout must be more than 0, got {self.lynx_timeout}")
        if self.max_depth > 256:
            raise InputError(f"ExtractConfig.max_depth must be at most 256 (rendering recurses), got {self.max_depth}")
