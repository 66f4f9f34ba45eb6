"""The bytes of a kept distribution: one record of fixed size for each token, mapped into memory to be read.

| field       | type                   | what                                                                          |
|-------------|------------------------|-------------------------------------------------------------------------------|
| `log_tail`  | u2 or f4               | log of the mass of all tokens that are not kept                               |
| `log_probs` | (K) u2 or f4           | log-probabilities, the largest first                                          |
| `ids`       | (K) u2                 | the lowest 16 bits of the tokens' ids                                         |
| `high`      | (planes, ceil(K/8)) u1 | the bits above, a plane of K bits each; none for up to 2^16 tokens            |

A 16-bit log-probability n stands for -n / 1024. What is read back is normalised: kept and other mass add up to 1.
At 16 bits a token takes 2 + 4 K bytes, and K/8 more for each bit of the vocabulary's size above 16: for K = 64 and
131,072 tokens 266 bytes.

Shape suffixes: N tokens, K kept tokens.
"""

import numpy as np

STEPS_PER_NAT = 1024
LOW_BITS = 16


def record_type(*, top_k: int, vocab_size: int, log_prob_bits: int) -> np.dtype:
    """The type of a token's record."""
    number = "<u2" if log_prob_bits == 16 else "<f4"
    fields: list[tuple] = [("log_tail", number), ("log_probs", number, (top_k,)), ("ids", "<u2", (top_k,))]
    planes = max(0, (vocab_size - 1).bit_length() - LOW_BITS)
    if planes:
        fields.append(("high", "u1", (planes, -(-top_k // 8))))
    return np.dtype(fields)


def encode(kind: np.dtype, ids_NK: np.ndarray, log_probs_NK: np.ndarray, log_tail_N: np.ndarray) -> np.ndarray:
    """Records of N tokens."""
    records_N = np.zeros(len(ids_NK), dtype=kind)
    exact = kind["log_tail"].kind == "f"
    records_N["log_probs"] = log_probs_NK if exact else _steps(log_probs_NK)
    records_N["log_tail"] = log_tail_N if exact else _steps(log_tail_N)
    records_N["ids"] = (ids_NK & 0xFFFF).astype("<u2")
    if kind.names and "high" in kind.names:
        for plane in range(kind["high"].shape[0]):
            records_N["high"][:, plane] = np.packbits((ids_NK >> (LOW_BITS + plane)) & 1 == 1, axis=1)
    return records_N


def decode(records: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ids (..., K) int64, log-probabilities (..., K) and log tail mass (...) in float32, of records of any shape."""
    ids = records["ids"].astype(np.int64)
    if records.dtype.names and "high" in records.dtype.names:
        top_k = ids.shape[-1]
        for plane in range(records.dtype["high"].shape[0]):
            bits = np.unpackbits(records["high"][..., plane, :], axis=-1, count=top_k)
            ids |= bits.astype(np.int64) << (LOW_BITS + plane)
    log_probs, log_tail = (_nats(records[name]) for name in ("log_probs", "log_tail"))
    total = np.exp(log_probs).sum(-1) + np.exp(log_tail)
    log_total = np.log(total)
    return ids, (log_probs - log_total[..., None]).astype(np.float32), (log_tail - log_total).astype(np.float32)


def _steps(nats: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(-nats.astype(np.float64) * STEPS_PER_NAT), 0, 0xFFFF).astype("<u2")


def _nats(stored: np.ndarray) -> np.ndarray:
    if stored.dtype.kind == "f":
        return stored.astype(np.float64)
    return stored.astype(np.float64) / -STEPS_PER_NAT
