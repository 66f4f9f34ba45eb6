"""Mistral's tekken as a `tokenizers` tokenizer with the same ids.

The file in mistral-common lists tokens as bytes by rank, as tiktoken does, and no merges: the pair of neighbours whose
bytes together have the lowest rank is merged first. The same order as explicit merges: for each token by rank, every
way to cut it into two tokens. Id = 1000 + rank; the first 1000 ids are special.
"""

import base64
import importlib.util
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, models

from ops.atomic import read_json
from ops.errors import InputError
from ops.tokenizer.bpe import byte_level

# Ids 0 to 19 of files that, like these two, list no special tokens themselves; the others are <SPECIAL_n>.
SPECIAL_TOKENS = (
    "<unk>",
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
    "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
    "[TOOL_CALLS]",
    "[IMG]",
    "<pad>",
    "[IMG_BREAK]",
    "[IMG_END]",
    "[PREFIX]",
    "[MIDDLE]",
    "[SUFFIX]",
    "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]",
    "[TOOL_CONTENT]",
)


def tekken_path(version: str) -> Path:
    """The file in the installed package mistral-common, found without importing it.

    Raises:
        InputError: when the package or the file is not there.
    """
    spec = importlib.util.find_spec("mistral_common")
    if spec is None or not spec.submodule_search_locations:
        raise InputError("Tekken: needs the package mistral-common (pip install --no-deps mistral-common)")
    path = Path(spec.submodule_search_locations[0]) / "data" / f"tekken_{version}.json"
    if not path.exists():
        raise InputError(f"Tekken: the installed mistral-common has no {path.name}")
    return path


def byte_characters() -> list[str]:
    """The character that stands for each byte in byte-level BPE (GPT-2's table).

    Printable Latin-1 stands for itself, the other bytes in order are U+0100, U+0101, ...
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    characters, others = [], 0
    for byte in range(256):
        characters.append(chr(byte if byte in printable else 0x100 + others))
        others += byte not in printable
    return characters


def load_tekken(path: Path) -> Tokenizer:
    """Convert a tekken file.

    Raises:
        InputError: when it is not one.
    """
    data = read_json(path)
    try:
        size, num_special = data["config"]["default_vocab_size"], data["config"]["default_num_special_tokens"]
        tokens = [base64.b64decode(entry["token_bytes"]) for entry in data["vocab"][: size - num_special]]
        pattern = data["config"]["pattern"]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not a tekken file: {error!r}") from error
    special = [*SPECIAL_TOKENS, *(f"<SPECIAL_{number}>" for number in range(len(SPECIAL_TOKENS), num_special))]
    characters = byte_characters()
    names = ["".join(characters[byte] for byte in token) for token in tokens]
    ranks = {name: rank for rank, name in enumerate(names)}
    merges: list[tuple[str, str]] = []
    for name in names:
        cuts = [(name[:at], name[at:]) for at in range(1, len(name))]
        found = [(left, right) for left, right in cuts if left in ranks and right in ranks]
        merges += sorted(found, key=lambda pair: (ranks[pair[0]], ranks[pair[1]]))
    vocab = {name: number for number, name in enumerate([*special, *names])}
    if len(vocab) != size:
        raise InputError(f"{path}: {size - len(vocab)} tokens are there twice")
    # ignore_merges: a piece that is itself a token is taken whole, as tiktoken does.
    tokenizer = byte_level(models.BPE(vocab=vocab, merges=merges, ignore_merges=True), pattern)
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in special])
    return tokenizer
