"""From tokens to text as they come: whole characters, and an end at a stop string wherever it lies."""

from collections.abc import Sequence

from tokenizers import Tokenizer

from ops.errors import InputError

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class Detokenizer:
    """Text of a growing sequence of byte-level tokens. A character of several tokens is held back until it is whole."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._held: list[int] = []

    def feed(self, token: int) -> str:
        """The text that is certain now and was not before."""
        self._held.append(token)
        text = self._tokenizer.decode(self._held, skip_special_tokens=True)
        if text.endswith(REPLACEMENT):
            return ""
        self._held = []
        return text

    def flush(self) -> str:
        """The rest: bytes that were never completed, as U+FFFD."""
        text = self._tokenizer.decode(self._held, skip_special_tokens=True)
        self._held = []
        return text


class StopStrings:
    """Cuts a stream of text before the string that is complete first (of several that are, the longest), however the
    stream is cut into pieces. Text that may be the beginning of one is held back."""

    def __init__(self, stops: Sequence[str]) -> None:
        """Raises InputError for an empty stop string."""
        if "" in stops:
            raise InputError("stop: must not be empty")
        self._stops = tuple(stops)
        self._held = ""
        self.found = False

    def feed(self, text: str) -> str:
        """The text that can be shown now; nothing after a stop string was found."""
        if self.found:
            return ""
        self._held += text
        ends = [(place + len(stop), place) for stop in self._stops if (place := self._held.find(stop)) >= 0]
        if ends:
            self.found = True
            shown, self._held = self._held[: min(ends)[1]], ""
            return shown
        keep = max((_overlap(self._held, stop) for stop in self._stops), default=0)
        shown, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return shown

    def flush(self) -> str:
        """What was held back and turned out to be no stop string."""
        shown, self._held = self._held, ""
        return shown


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that `stop` begins with, shorter than `stop`."""
    for size in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:size]):
            return size
    return 0


class TextStream:
    """One row of a batch: tokens in, text out, until its end."""

    def __init__(self, tokenizer: Tokenizer, *, stops: Sequence[str], eos_token_id: int | None) -> None:
        self._detokenizer = Detokenizer(tokenizer)
        self._stops = StopStrings(stops)
        self._eos_token_id = eos_token_id
        self.finished: str | None = None
        """Why the row ended: `eos`, `stop` or `length`; None while it goes on."""

    def feed(self, token: int) -> str:
        """The text that is certain now; nothing once the row has ended."""
        if self.finished is not None:
            return ""
        if token == self._eos_token_id:
            return self._end("eos")
        text = self._stops.feed(self._detokenizer.feed(token))
        if self._stops.found:
            self.finished = "stop"
        return text

    def close(self) -> str:
        """The rest of a row that may make no more tokens."""
        return "" if self.finished is not None else self._end("length")

    def _end(self, reason: str) -> str:
        text = self._stops.feed(self._detokenizer.flush())
        self.finished = "stop" if self._stops.found else reason
        return text + self._stops.flush()
