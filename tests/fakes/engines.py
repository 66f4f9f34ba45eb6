"""Engines whose answers are written by the test."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ops.clean.calls import Cache, Calls
from ops.clean.config import LlmCleaner, RuleCleaner
from ops.clean.engines import Answer, Chat, Engine, Failure, Likelihood, Reading
from ops.clean.model import Model
from ops.clean.rules import Rules


class Scripted:
    """An engine that answers by a function of the question; it counts words as tokens and notes what it was asked."""

    def __init__(
        self,
        write: Callable[[str], "str | Answer | Failure"] = lambda text: text,
        judge: Callable[[str], float] = lambda paragraph: 1.0,
        backwards: bool = False,
    ) -> None:
        self.write, self.judge, self.backwards = write, judge, backwards
        self.asked: list[str] = []

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    def generate(self, chats: Sequence[Chat]) -> Iterator[tuple[int, Answer | Failure]]:
        numbered = list(enumerate(chats))
        for index, chat in reversed(numbered) if self.backwards else numbered:
            self.asked.append(chat.user)
            result = self.write(chat.user)
            if isinstance(result, str):
                tokens_in, tokens_out = len(chat.user.split()), len(result.split())
                result = Answer(text=result, finish_reason="stop", tokens_in=tokens_in, tokens_out=tokens_out)
            yield index, result

    def score(self, readings: Sequence[Reading], options: Sequence[str]) -> Iterator[tuple[int, Likelihood | Failure]]:
        for index, reading in enumerate(readings):
            prompt = reading.head + reading.tail
            paragraph = prompt.rpartition("Paragraph: ")[2].removesuffix("\nKind:")
            self.asked.append(paragraph)
            log_odds = self.judge(paragraph) if paragraph else 0.0
            yield index, Likelihood(log_likelihoods=(log_odds, 0.0), tokens_in=len(prompt.split()))


class Noted:
    """An engine that keeps what it answered."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._found: list[tuple[int, Answer | Failure]] = []

    @property
    def answers(self) -> list[Answer | Failure]:
        """In the order of the questions."""
        return [answer for _, answer in sorted(self._found, key=lambda item: item[0])]

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return self.engine.count_tokens(texts)

    def generate(self, chats: Sequence[Chat]) -> Iterator[tuple[int, Answer | Failure]]:
        before = len(self._found)
        for index, answer in self.engine.generate(chats):
            self._found.append((before + index, answer))
            yield index, answer

    def score(self, readings: Sequence[Reading], options: Sequence[str]) -> Iterator[tuple[int, Likelihood | Failure]]:
        return self.engine.score(readings, options)


LENIENT = RuleCleaner(least_chars=1, least_alphabetic=0.0)


def model(engine: Scripted, cache: Path, config: LlmCleaner) -> Model:
    """The cleaner with a scripted engine behind it."""
    return Model(config, Rules(LENIENT), Calls(config, engine, Cache(cache)))
