"""Config of `ops.tokenize`."""

from dataclasses import dataclass

from ops.errors import InputError


@dataclass(frozen=True, kw_only=True)
class TokenizeConfig:
    """How a shard is made; the tokenizer itself is an input.

    Attributes:
        round_trip_documents: so many documents of every part are decoded again and compared with their text.
    """

    round_trip_documents: int = 16

    def __post_init__(self) -> None:
        if self.round_trip_documents < 1:
            raise InputError(f"round_trip_documents: {self.round_trip_documents} is less than 1")
