"""The claims. Each module has a `TITLE` and `run(lab) -> Findings`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ops.evidence.stats import Comparison


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What a claim came to."""

    comparisons: Sequence[Comparison]
    arms: Sequence[Mapping[str, Any]]
    """A row for each arm, or draw, for people."""

    curves: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)
    """Arm -> (tokens, mean held-out loss)."""
