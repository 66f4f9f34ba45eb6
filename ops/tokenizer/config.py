"""Config of `ops.tokenizer`."""

from dataclasses import dataclass, field
from typing import Literal

from ops.errors import InputError

LATEX_PATTERN = (
    r" ?\\[A-Za-z]+"
    r"| ?[\p{L}\p{M}]+"
    r"|\p{N}"
    r"| ?(?:[^\s\p{L}\p{M}\p{N}\\]|\\\\|\\(?![A-Za-z]))+[\r\n]*"
    r"|\s*[\r\n]+"
    r"|\s+(?!\S)"
    r"|\s+"
)
"""How text is cut before byte pairs are merged; no token crosses a cut.

In this order: a LaTeX command with its backslash (`\\frac`, ` \\alpha`); a word with the space before it; one digit,
alone, so that numbers have one spelling; a run of signs with the newlines behind it, which ends before a command's
backslash (`}{`, `^{`, `$$`; `\\\\` and `\\,` belong to the run, so the `x` of `\\\\x` is a word, as LaTeX reads it);
newlines with the blanks before them; indentation without its last space; other blanks. Signs do not stick to words:
`(x`, `{x` and `_x` share the token `x`.
"""

NUM_BYTES = 256
NUM_SPECIAL_TOKENS = 2


@dataclass(frozen=True, kw_only=True)
class TrainBPE:
    """Train a byte-level BPE on the corpus. Special tokens: 0 `<|endoftext|>` (EOD, also BOS and EOS), 1 `<|pad|>`.

    Attributes:
        vocab_size: with the 256 bytes and the special tokens. A small corpus may not fill it (see the checks).
        min_frequency: a pair is merged only when it occurs so often.
        sample_fraction: share of the documents to train on, chosen by a hash of their ids.
        pattern: the pre-tokenizer, an Oniguruma regular expression.
    """

    vocab_size: int = 4096
    min_frequency: int = 2
    sample_fraction: float = 1.0
    pattern: str = LATEX_PATTERN

    def __post_init__(self) -> None:
        if self.vocab_size <= NUM_BYTES + NUM_SPECIAL_TOKENS:
            raise InputError(
                f"vocab_size: {self.vocab_size} leaves no room beside {NUM_BYTES} bytes and "
                f"{NUM_SPECIAL_TOKENS} special tokens"
            )
        if self.min_frequency < 1:
            raise InputError(f"min_frequency: {self.min_frequency} is less than 1")
        if not 0 < self.sample_fraction <= 1:
            raise InputError(f"sample_fraction: {self.sample_fraction} is not in (0, 1]")
        if not self.pattern:
            raise InputError("pattern: must not be empty")


@dataclass(frozen=True, kw_only=True)
class Tekken:
    """Mistral's tekken as the package mistral-common carries it: 131,072 ids, the first 1,000 of them special."""

    version: Literal["240718", "240911"] = "240718"


@dataclass(frozen=True, kw_only=True)
class FromCheckpoint:
    """The tokenizer files of the checkpoint directory at `execution.source`."""


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """Where the tokenizer comes from."""

    source: TrainBPE | Tekken | FromCheckpoint = field(default_factory=TrainBPE)
