"""What every engine offers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from ops.errors import StillhouseError


class EngineError(StillhouseError):
    """The model cannot be had at all: nothing that one chunk could be blamed for."""


@dataclass(frozen=True, kw_only=True)
class Chat:
    """One question to a chat model."""

    system: str
    user: str


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A text to be read: what it begins with, which many have in common, and what is its own."""

    head: str
    tail: str


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a model wrote."""

    text: str
    finish_reason: str
    """`stop`: it ended by itself. `length`: it ran into the limit."""
    tokens_in: int
    tokens_out: int


@dataclass(frozen=True, kw_only=True)
class Likelihood:
    """How likely a model holds each option behind a text: natural logarithms, in the order of the options."""

    log_likelihoods: tuple[float, ...]
    tokens_in: int


@dataclass(frozen=True, kw_only=True)
class Failure:
    """No answer to one question; `reason` is one of few and becomes a counter."""

    reason: str
    detail: str


class Engine(Protocol):
    """A model that answers. Results come as they are ready, each with the index of its question."""

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special ones not counted.

        Raises:
            EngineError: when the model cannot be had.
        """
        ...

    def generate(self, chats: Sequence[Chat]) -> Iterator[tuple[int, Answer | Failure]]:
        """
        Raises:
            EngineError: when the model cannot be had.
        """
        ...

    def score(self, readings: Sequence[Reading], options: Sequence[str]) -> Iterator[tuple[int, Likelihood | Failure]]:
        """Log-likelihood of every option behind every text, by prefill alone.

        Raises:
            EngineError: when the model cannot be had.
        """
        ...
