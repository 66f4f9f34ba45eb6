"""64-bit hashing of arrays. Everything is modulo 2**64 and the same on every machine."""

from typing import Any

import numpy as np
import numpy.typing as npt

U64 = npt.NDArray[np.uint64]

GOLDEN = 0x9E3779B97F4A7C15


def mix(x: Any) -> U64:
    """SplitMix64's finaliser (Steele, Lea, Flood 2014): every input bit reaches every output bit. Bijective."""
    z = np.asarray(x, dtype=np.uint64).copy()
    z ^= z >> np.uint64(30)
    z *= np.uint64(0xBF58476D1CE4E5B9)
    z ^= z >> np.uint64(27)
    z *= np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return z


def random_u64(count: int, seed: int) -> U64:
    """SplitMix64's stream: `count` pseudo-random words."""
    steps = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(GOLDEN)
    return mix(steps + mix(np.uint64(seed)))
