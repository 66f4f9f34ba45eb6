"""`WARC-Payload-Digest: sha1:...` in base32 or hexadecimal."""

import base64
import binascii
import hashlib
import re

ALGORITHMS = {"md5": hashlib.md5, "sha1": hashlib.sha1, "sha256": hashlib.sha256, "sha512": hashlib.sha512}
SIZES = {name: make().digest_size for name, make in ALGORITHMS.items()}


def parse_digest(labelled: str) -> tuple[str, bytes] | None:
    """Algorithm and digest of a labelled digest such as `sha1:3I42H3S6NNFQ2MSVX7XZKYAYSCX5QBYJ`.

    None when the algorithm is not one of md5, sha1, sha256 and sha512 or the value does not have its length.
    """
    label, _, value = labelled.strip().partition(":")
    algorithm = label.strip().lower().replace("-", "")
    value = value.strip()
    size = SIZES.get(algorithm)
    if size is None:
        return None
    if re.fullmatch(rf"[0-9A-Fa-f]{{{2 * size}}}", value):
        return algorithm, bytes.fromhex(value)
    padded = value.rstrip("=")
    if len(padded) != -(-size * 8 // 5):
        return None
    try:
        return algorithm, base64.b32decode(padded + "=" * (-len(padded) % 8), casefold=True)
    except binascii.Error:
        return None


def digest_matches(labelled: str, *payloads: bytes) -> bool | None:
    """Whether the digest is that of one of the payloads; None when it cannot be read.

    Several payloads: crawlers differ in whether they digest a chunked body with its chunk lines or without.
    """
    parsed = parse_digest(labelled)
    if parsed is None:
        return None
    algorithm, expected = parsed
    return any(ALGORITHMS[algorithm](payload).digest() == expected for payload in payloads)
