"""Facts about a tokenizer that training needs, read from `tokenizer.json` without a tokenizer library."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ops.errors import InputError

FILE = "tokenizer.json"
TOKENIZER_FILES = (FILE, "tokenizer_config.json", "special_tokens_map.json")


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """Number of tokens, and the bytes of text that each stands for (0 for special tokens)."""

    size: int
    token_bytes: np.ndarray


def read_vocabulary(directory: Path) -> Vocabulary:
    """The vocabulary of a byte-level BPE tokenizer, whose token strings have one character for each byte.

    Raises:
        InputError: when `tokenizer.json` is missing, damaged, or not of a byte-level tokenizer.
    """
    path = directory / FILE
    try:
        data: dict[str, Any] = json.loads(path.read_bytes())
        vocabulary: dict[str, int] = data["model"]["vocab"]
        added: list[dict[str, Any]] = data.get("added_tokens") or []
        byte_level = _mentions_byte_level(data.get("decoder"))
        ids = [*vocabulary.values(), *(token["id"] for token in added)]
        size = max(ids) + 1
        token_bytes = np.zeros(size, dtype=np.int64)
        for text, number in vocabulary.items():
            token_bytes[number] = len(text)
        for token in added:
            token_bytes[token["id"]] = 0 if token["special"] else len(token["content"].encode())
    except FileNotFoundError:
        raise InputError(f"{directory}: holds no {FILE}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not a tokenizer: {error!r}") from error
    if not byte_level:
        raise InputError(f"{path}: not byte-level (its decoder is {data.get('decoder')!r}); tokens have no byte length")
    return Vocabulary(size=size, token_bytes=token_bytes)


def _mentions_byte_level(decoder: Any) -> bool:
    if not isinstance(decoder, dict):
        return False
    return decoder.get("type") == "ByteLevel" or any(map(_mentions_byte_level, decoder.get("decoders", ())))


def check_same_size(**sizes: int) -> None:
    """Raise InputError that names all of them unless all vocabularies have the same size."""
    if len(set(sizes.values())) > 1:
        found = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise InputError(
            f"vocabularies differ in size: {found}. All must be of one tokenizer: a student is cut from the teacher it "
            "learns from, or from one with the same vocabulary, and tokens are made with the teacher's tokenizer"
        )


def tokenizer_files(directory: Path) -> list[Path]:
    """The files of a tokenizer that go with a checkpoint, those that are there."""
    return [directory / name for name in TOKENIZER_FILES if (directory / name).is_file()]
