"""Tokenizer directories: written for transformers' AutoTokenizer, read back for encoding."""

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from ops.atomic import atomic_path, read_json, write_bytes, write_json
from ops.errors import InputError

TOKENIZER = "tokenizer.json"
CONFIG = "tokenizer_config.json"
SPECIAL_TOKENS_MAP = "special_tokens_map.json"
REQUIRED = (TOKENIZER, CONFIG)
OPTIONAL = (SPECIAL_TOKENS_MAP, "added_tokens.json", "chat_template.jinja", "vocab.json", "merges.txt")


def write_tokenizer(out: Path, tokenizer: Tokenizer, *, bos: str, eos: str, pad: str, unk: str | None = None) -> None:
    """Write a tokenizer directory; no token is added at either end when transformers encodes."""
    names = {"bos_token": bos, "eos_token": eos, "pad_token": pad}
    if unk is not None:
        names["unk_token"] = unk
    write_json(
        out / CONFIG,
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "add_bos_token": False,
            "add_eos_token": False,
            "clean_up_tokenization_spaces": False,
            "model_max_length": 1_000_000_000,
            **names,
        },
    )
    write_json(out / SPECIAL_TOKENS_MAP, names)
    write_bytes(out / TOKENIZER, (tokenizer.to_str(pretty=False) + "\n").encode())


def copy_tokenizer(source: Path, out: Path) -> None:
    """Copy the tokenizer files of a checkpoint.

    Raises:
        InputError: when `tokenizer.json` or `tokenizer_config.json` is missing.
    """
    for name in tokenizer_files(source):
        with atomic_path(out / name) as temporary:
            shutil.copyfile(source / name, temporary)


def tokenizer_files(directory: Path) -> list[str]:
    """The tokenizer files that a checkpoint directory has.

    Raises:
        InputError: when a required one is missing.
    """
    for name in REQUIRED:
        if not (directory / name).is_file():
            raise InputError(f"{directory}: holds no {name}; save it there with transformers' save_pretrained")
    return [name for name in (*REQUIRED, *OPTIONAL) if (directory / name).is_file()]


def limit_threads(threads: int) -> None:
    """Let `tokenizers` use so many threads. It makes them once a process: the first call that comes before any work
    holds, and so does RAYON_NUM_THREADS when it is set outside."""
    os.environ.setdefault("RAYON_NUM_THREADS", str(threads))


@dataclass(frozen=True)
class LoadedTokenizer:
    """A tokenizer ready to encode documents: special tokens in a text are text, nothing is added or cut."""

    tokenizer: Tokenizer
    vocab_size: int  # one more than the highest id
    eod_id: int
    sha256: str  # of tokenizer.json


def load_tokenizer(directory: Path) -> LoadedTokenizer:
    """Load a tokenizer directory. EOD is its `eos_token`.

    Raises:
        InputError: when files are missing or not a tokenizer's, or it names no EOS.
    """
    tokenizer_files(directory)
    path = directory / TOKENIZER
    data = path.read_bytes()
    try:
        tokenizer = Tokenizer.from_buffer(data)
    except Exception as error:  # tokenizers raises bare Exception
        raise InputError(f"{path}: not a tokenizer: {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    eos = read_json(directory / CONFIG).get("eos_token")
    eos = eos["content"] if isinstance(eos, dict) else eos
    eod_id = tokenizer.token_to_id(eos) if eos else None
    if eod_id is None:
        raise InputError(f"{directory / CONFIG}: its eos_token {json.dumps(eos)} is not in the vocabulary")
    vocab_size = max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1
    return LoadedTokenizer(tokenizer, vocab_size, eod_id, hashlib.sha256(data).hexdigest())
