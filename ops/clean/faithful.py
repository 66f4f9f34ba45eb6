"""Is an answer the edited text, or something else that a model wrote?

Beside the contract on placeholders, which is exact, these are tests of the words around them: an answer that chats,
refuses, returns its instructions, answers a question, adds numbers or relations, brings words that its chunk does not
have, says things twice, or grows or shrinks beyond bounds is rejected. A rejected answer costs nothing but itself: the
chunk stays as the rules left it.
"""

import re
from collections import Counter
from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import pairwise

from ops.clean.config import Tolerance
from ops.clean.contract import ContractViolation

FREE_CHARS = 40
FREE_WORDS = 2
MOST_TORN = 0.1
"""Share of an answer's placeholders that may have lost both neighbours (or twice
`Tolerance.max_moved`: what moves takes two from their neighbours)."""
SPELLING = 0.7
"""Similarity (`difflib`) of a misspelt word to the right one."""
NGRAM = 8
"""Words that in a row make a passage: instructions returned, text repeated."""

_CHAT = re.compile(
    r"(?:sure|certainly|of course|absolutely|okay|ok|great|understood|yes|no problem)\b[,.!:]"
    r"|(?:here(?:'s| is| are)|below is|this is) (?:the|your|a|an|my)\b.{0,40}\b(?:text|version|content|page|paragraph)"
    r"|(?:the )?(?:cleaned|edited|revised|corrected|rewritten|formatted|final)(?:[- ]up)? (?:text|version|content)\b"
    r"|i(?:'m| am)? (?:sorry|apologi[sz]e|cannot|can't|can not|won't|unable)\b|as an? (?:ai|language model|assistant)\b"
    r"|(?:let me know|feel free|i hope (?:this|that)|is there anything|please (?:provide|let me|share|note that i))\b"
    r"|i(?:'ve| have) (?:cleaned|edited|removed|corrected|kept)\b|assistant\s*:|<\|?(?:im_|think|assistant)",
    re.IGNORECASE,
)
_MARKUP = re.compile(r"^[\s>#*\-|]+|[*_`]+")
_TYPOGRAPHY = {
    **dict.fromkeys(map(ord, "‘’‚‛"), "'"),
    **dict.fromkeys(map(ord, "“”„‟"), '"'),
    **dict.fromkeys(map(ord, "‐‑‒–—−"), "-"),
}
"""Quotes and dashes, which may be set as one likes."""
_TOKEN = re.compile(r"\w+|⟦\w+⟧")
_SENTENCE = re.compile(r"[^.?!\n]+[.?!]*")
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_NUMBER = re.compile(r"\d+(?:[.,:/]\d+)*|[⁰¹²³⁴-⁹₀-₉½¼¾⅓⅔]+")
_LIST_NUMBER = re.compile(r"^[\s>]*\d+[.)]\s", re.MULTILINE)
_RELATION = re.compile(r"(?=(?<!\S)(\S+)\s*(<=|>=|!=|:=|[=≤≥≈≠≡∈⊂⊆→↦^×÷±√∑∫])\s*(\S+))")
_LETTER = re.compile(r"(?<![\w'’.])(?![aAIiOo])[^\W\d_](?![\w'’])")
_SYMBOLS = re.compile(r"[=≤≥≈≠≡∈⊂⊆→↦^×÷±√∑∏∫∞∂∇\\{}+]|(?<=\s)[<>](?=\s)")


def check_faithful(
    placeholder: re.Pattern[str], before: str, after: str, instructions: str, tolerance: Tolerance
) -> None:
    """Hold the words of an answer against those of its chunk.

    Raises:
        ContractViolation: with the reason `chat`, `prompt_returned`, `repeats`, `grown`, `shrunk`, `number_invented`,
            `formula_invented`, `context_changed`, `answered` or `words_invented`.
    """
    if after == before:
        return
    before, after = before.translate(_TYPOGRAPHY), after.translate(_TYPOGRAPHY)
    plain_before, plain_after = placeholder.sub(" ", before), placeholder.sub(" ", after)
    _check_chat(plain_before, plain_after)
    words_before, words_after = _words(plain_before), _words(plain_after)
    _check_instructions(words_before, words_after, _words(instructions))
    _check_repeats(_TOKEN.findall(before.casefold()), _TOKEN.findall(after.casefold()))
    long, short = len(" ".join(plain_before.split())), len(" ".join(plain_after.split()))
    if short > tolerance.max_growth * long + FREE_CHARS:
        raise ContractViolation("grown", f"{long} characters became {short}")
    if short < tolerance.min_length * long - FREE_CHARS:
        raise ContractViolation("shrunk", f"{long} characters became {short}")
    _check_mathematics(plain_before, plain_after)
    _check_context(placeholder, before, after, max(MOST_TORN, 2 * tolerance.max_moved))
    _check_words(words_before, words_after, plain_before, plain_after, tolerance)


def _words(text: str) -> list[str]:
    return [word.casefold() for word in _WORD.findall(text)]


def _ngrams(words: Sequence[str], length: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[i : i + length]) for i in range(len(words) - length + 1))


def _check_chat(before: str, after: str) -> None:
    known = before.casefold()
    for line in after.split("\n"):
        match = _CHAT.match(_MARKUP.sub("", line).strip())
        if match and match.group().casefold() not in known:
            raise ContractViolation("chat", line[:200])


def _check_instructions(before: list[str], after: list[str], instructions: list[str]) -> None:
    returned = (_ngrams(after, NGRAM).keys() & _ngrams(instructions, NGRAM).keys()) - _ngrams(before, NGRAM).keys()
    if returned:
        raise ContractViolation("prompt_returned", " ".join(min(returned)))


def _check_repeats(before: list[str], after: list[str]) -> None:
    """A passage that comes more often than before: a long one once more, short ones many times more."""
    for length, more in ((NGRAM, 0), (3, 4), (1, 12)):
        known = _ngrams(before, length)
        for passage, count in _ngrams(after, length).items():
            if count > max(1, known[passage]) + more:
                raise ContractViolation("repeats", f"{count} times: {' '.join(passage)}"[:200])


def _check_mathematics(before: str, after: str) -> None:
    """Numbers and relations in plain text are as much the author's as formulas."""
    numbers = set(_NUMBER.findall(_LIST_NUMBER.sub("", after))) - set(_NUMBER.findall(before))
    if numbers:
        raise ContractViolation("number_invented", ", ".join(sorted(numbers))[:200])
    symbols = Counter(_SYMBOLS.findall(after)) - Counter(_SYMBOLS.findall(before))
    symbols += Counter(_LETTER.findall(after)) - Counter(_LETTER.findall(before))
    relations = _relations(after) - _relations(before)
    if symbols or relations:
        evidence = [" ".join(relation) for relation in sorted(relations)] or sorted(symbols)
        raise ContractViolation("formula_invented", ", ".join(evidence)[:200])


def _relations(text: str) -> set[tuple[str, ...]]:
    return {tuple(part.strip(".,;:!?()*_'\"`[]") for part in match) for match in _RELATION.findall(text)}


def _check_context(placeholder: re.Pattern[str], before: str, after: str, most: float) -> None:
    """A formula keeps a neighbour: one in its place but in another sentence says something else."""
    known, now = _neighbours(placeholder, before, True), _neighbours(placeholder, after, False)
    torn = [name for name, sides in now.items() if name in known and not _alike(known[name], sides)]
    if len(torn) > most * len(now):
        raise ContractViolation("context_changed", ", ".join(torn)[:200])


def _neighbours(placeholder: re.Pattern[str], text: str, paragraphs: bool) -> dict[str, tuple[str | None, str | None]]:
    """What stands before and behind each placeholder; None at the ends, of paragraphs too if these count."""
    found = re.findall(rf"{placeholder.pattern}|\w+|\n[ \t]*\n", text)
    tokens = [None, *(None if not token.strip() else token for token in found if paragraphs or token.strip()), None]
    return {
        token: (tokens[place - 1], tokens[place + 1])
        for place, token in enumerate(tokens)
        if token is not None and placeholder.fullmatch(token)
    }


def _alike(before: tuple[str | None, str | None], after: tuple[str | None, str | None]) -> bool:
    """Whether a placeholder has one of its neighbours still, if misspelt; one without any may stand anywhere."""
    pairs = [(one, other or "") for one, other in zip(before, after, strict=True) if one is not None]
    return not pairs or any(
        one.casefold() == other.casefold() or SequenceMatcher(None, one, other).ratio() >= SPELLING
        for one, other in pairs
    )


def _check_words(before: list[str], after: list[str], text_before: str, text_after: str, tolerance: Tolerance) -> None:
    known = set(before)
    _check_answers(text_before, text_after)
    new = [word for word in after if word not in known]
    if len(new) > tolerance.max_new_words * len(after) + FREE_WORDS:
        raise ContractViolation("words_invented", " ".join(new)[:200])
    # Corrected spelling brings a word or two to a sentence; a sentence of which half is new is another sentence.
    pairs = set(pairwise(before))
    for sentence in _sentences(text_after):
        words = _words(sentence)
        strange = sum(word not in known for word in words)
        if strange > max(1, len(words) // 2):
            raise ContractViolation("words_invented", sentence[:200])
        apart = sum(pair not in pairs for pair in pairwise(words))
        if len(words) >= NGRAM and apart > 0.6 * (len(words) - 1):
            raise ContractViolation("words_invented", sentence[:200])


def _check_answers(before: str, after: str) -> None:
    """What follows a question must be something that the text says."""
    said = [set(_words(sentence)) for sentence in _sentences(before)]
    sentences = _sentences(after)
    for question, reply in pairwise(sentences):
        words = set(_words(reply))
        if question.endswith("?") and words and max(len(words & each) for each in said) <= len(words) / 2:
            raise ContractViolation("answered", f"{question} {reply}"[:200])


def _sentences(text: str) -> list[str]:
    found = (sentence.strip() for sentence in _SENTENCE.findall(text))
    return [sentence for sentence in found if sentence]
