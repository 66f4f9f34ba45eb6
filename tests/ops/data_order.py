"""The order of documents, written out."""

import hashlib


def splitmix_order(count: int, seed: int, epoch: int) -> list[int]:
    state = int.from_bytes(hashlib.sha256(f"{seed}:{epoch}".encode()).digest()[:8], "little")
    mask = 2**64 - 1
    keys = []
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) & mask
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        keys.append(z ^ (z >> 31))
    return sorted(range(count), key=keys.__getitem__)
