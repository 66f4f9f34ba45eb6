"""Mode `select`: the model gives every paragraph two likelihoods, `article` and `boilerplate`, and writes nothing.

A paragraph's score is its log-odds less those of an empty paragraph. It costs the reading of its tokens alone, and
cannot invent. Paragraphs without a word of their own (a formula, a code block) are not put to the model and stay.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ops.clean.calls import Calls
from ops.clean.chunks import Chunk
from ops.clean.config import LlmCleaner
from ops.clean.document import ProtectedDocument
from ops.clean.engines import Failure, Likelihood, Reading
from ops.clean.prompts import OPTIONS

_LETTERS = re.compile(r"[^\W\d_]")


@dataclass(frozen=True, kw_only=True)
class Score:
    """How much more a paragraph looks like part of the article than nothing does, in nats."""

    log_odds: float
    tokens_in: int


def worth_asking(document: ProtectedDocument, paragraph: str) -> bool:
    """Whether a paragraph has words to be judged by."""
    return _LETTERS.search(document.placeholder.sub("", paragraph)) is not None


def reading(document: ProtectedDocument, paragraph: str, config: LlmCleaner) -> Reading:
    """What the model reads about a paragraph."""
    marked = config.prompt.replace("{a}", f"{document.opening}F1⟧").replace("{b}", f"{document.opening}F2⟧")
    before, _, behind = marked.partition("{paragraph}")
    # A space belongs to the word behind it, in the tokenizers of today.
    head = before.rstrip(" ")
    return Reading(head=head, tail=before[len(head) :] + paragraph + behind)


def score(asked: Sequence[tuple[ProtectedDocument, Chunk]], calls: Calls, config: LlmCleaner) -> list[Score | Failure]:
    """The score of each chunk (a paragraph, or the first piece of a long one)."""
    own = [reading(document, chunk.text, config) for document, chunk in asked]
    nothing = [reading(document, "", config) for document, _ in asked]
    found = calls.score([*own, *nothing], OPTIONS)
    return [_difference(one, other) for one, other in zip(found[: len(asked)], found[len(asked) :], strict=True)]


def _difference(own: Likelihood | Failure, nothing: Likelihood | Failure) -> Score | Failure:
    if isinstance(own, Failure):
        return own
    if isinstance(nothing, Failure):
        return nothing
    return Score(log_odds=_log_odds(own) - _log_odds(nothing), tokens_in=own.tokens_in)


def _log_odds(likelihood: Likelihood) -> float:
    article, boilerplate = likelihood.log_likelihoods
    return article - boilerplate
