"""Mode `rewrite`: the model returns a chunk as it should be; here is what is taken from its answer."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ops.clean.chunks import Chunk, rename
from ops.clean.config import LlmCleaner
from ops.clean.contract import ContractViolation, check_placeholders, check_surroundings, longest_increasing
from ops.clean.document import Decision, ProtectedDocument
from ops.clean.engines import Answer, Chat, Failure
from ops.clean.faithful import FREE_CHARS, check_faithful
from ops.clean.prompts import NO_CONTENT
from ops.clean.rules import normalize

_PARAGRAPH_BREAK = re.compile(r"\n[ \t]*\n\s*")
_CONTENT = re.compile(r"[FB]\d+⟧\Z")
_WORDS = re.compile(r"\w+")
_SENTENCE_ENDS = ".?!。？！"
_ANCHOR = 4
"""Words in a row that tell where a paragraph went."""


@dataclass(frozen=True, kw_only=True)
class Taken:
    """An answer that kept the contract."""

    text: str
    """With the document's placeholders."""
    dropped: Mapping[int, str]
    """Paragraphs of the document that the model left out, with the reason."""


def question(document: ProtectedDocument, chunk: Chunk, config: LlmCleaner) -> Chat:
    """What the model is asked about a chunk."""
    return Chat(system=config.prompt.replace("{example}", f"{document.opening}F1⟧"), user=chunk.text)


def take(document: ProtectedDocument, chunk: Chunk, answer: Answer | Failure, config: LlmCleaner) -> Taken:
    """Hold an answer against its chunk.

    Raises:
        ContractViolation: with the reason why it is rejected.
    """
    if isinstance(answer, Failure):
        raise ContractViolation(answer.reason, answer.detail)
    if answer.finish_reason != "stop":
        reason = "truncated" if answer.finish_reason == "length" else "unfinished"
        raise ContractViolation(reason, f"{answer.finish_reason} after {answer.tokens_out} tokens")
    placeholder, tolerance = document.placeholder, config.tolerance
    pieces = (normalize(piece, placeholder) for piece in _PARAGRAPH_BREAK.split(answer.text.strip()))
    after = "\n\n".join(piece for piece in pieces if piece)
    if not after:
        raise ContractViolation("empty", "nothing but white space")
    if after.strip(" .*_\"'`").casefold() == NO_CONTENT.casefold():
        _check_dropped(document, chunk, range(len(chunk.texts)), tolerance.max_formulas_dropped)
        return Taken(text="", dropped=dict.fromkeys(chunk.paragraphs, "no_useful_content"))
    if NO_CONTENT in after and NO_CONTENT not in chunk.text:
        raise ContractViolation("prompt_returned", NO_CONTENT)
    before_names, after_names = placeholder.findall(chunk.text), placeholder.findall(after)
    check_placeholders(before_names, after_names, tolerance.max_moved)
    check_surroundings(placeholder, chunk.text, after)
    instructions = question(document, chunk, config).system
    check_faithful(placeholder, chunk.text, after, instructions, tolerance)
    gone = _left_out(document, chunk, after)
    _check_dropped(document, chunk, gone, tolerance.max_formulas_dropped)
    _check_order(chunk, after, gone, tolerance.max_moved)
    kept = " ".join(text for place, text in enumerate(chunk.texts) if place not in gone)
    if _length(placeholder, after) < tolerance.min_kept * _length(placeholder, kept) - FREE_CHARS:
        raise ContractViolation("shrunk", after[:200])
    if _ends_early(chunk.text, after):
        raise ContractViolation("unfinished", after[-200:])
    return Taken(
        text=rename(after, chunk.names, placeholder),
        dropped={chunk.paragraphs[place]: "model" for place in gone},
    )


def settle(chunk: Chunk, taken: Taken, decisions: list[Decision]) -> None:
    """Put an answer about whole paragraphs into a document's decisions: its text stands at the first that was kept."""
    kept = [index for index in chunk.paragraphs if index not in taken.dropped]
    for index, reason in taken.dropped.items():
        decisions[index] = Decision(keep=False, reason=reason)
    for index in kept[:1]:
        decisions[index] = Decision(keep=True, text=taken.text)
    for index in kept[1:]:
        decisions[index] = Decision(keep=True, merged=True)


def _left_out(document: ProtectedDocument, chunk: Chunk, after: str) -> list[int]:
    """Which of a chunk's paragraphs are not in an answer.

    Raises:
        ContractViolation: when a placeholder is missing from a paragraph that is there.
    """
    names = set(document.placeholder.findall(after))
    words = [word.casefold() for word in _WORDS.findall(document.placeholder.sub(" ", after))]
    gone: list[int] = []
    for place, text in enumerate(chunk.texts):
        own = document.placeholder.findall(text)
        missing = [name for name in own if name not in names]
        if own and not missing:
            continue
        there = len(missing) < len(own) or _stands_in(document.placeholder.sub(" ", text), words, after)
        if there and missing:
            raise ContractViolation("placeholder_lost", f"{', '.join(missing)} of: {text}"[:200])
        if not there:
            gone.append(place)
    if len(gone) == len(chunk.texts):
        raise ContractViolation("words_invented", after[:200])
    return gone


def _stands_in(text: str, answer: Sequence[str], raw: str) -> bool:
    """Whether most of a paragraph's words stand in an answer as they stood in it."""
    words = [word.casefold() for word in _WORDS.findall(text)]
    if not words:
        return bool(text.strip()) and text.strip() in raw
    length = min(2, len(words))
    known = Counter(tuple(answer[i : i + length]) for i in range(len(answer) - length + 1))
    own = [tuple(words[i : i + length]) for i in range(len(words) - length + 1)]
    return sum(pair in known for pair in own) >= len(own) / 2


def _length(placeholder: re.Pattern[str], text: str) -> int:
    return len(" ".join(placeholder.sub(" ", text).split()))


def _ends_early(before: str, after: str) -> bool:
    """Whether an answer stops inside a line of its chunk, or inside a word."""
    if after[-1] in _SENTENCE_ENDS:
        return False
    *_, line = after.split("\n")
    whole = [word.casefold() for word in _WORDS.findall(line)]
    last = whole[-_ANCHOR:]
    lines = [[word.casefold() for word in _WORDS.findall(line)] for line in before.split("\n")]
    if not last or whole in lines:
        return False
    for words in lines:
        # A few words tell a place only at the beginning of a line.
        places = range(len(words) - _ANCHOR + 1) if len(last) == _ANCHOR else range(1)
        for place in places:
            found = words[place : place + len(last)]
            goes_on = found != last or place + len(last) < len(words)
            if found[:-1] == last[:-1] and "".join(found[-1:]).startswith(last[-1]) and goes_on:
                return True
    return False


def _check_dropped(document: ProtectedDocument, chunk: Chunk, gone: Sequence[int], most: float) -> None:
    """
    Raises:
        ContractViolation: when more formulas and code blocks went than may go, or a piece of a paragraph went.
    """
    if gone and chunk.separator is not None:
        raise ContractViolation("part_dropped", chunk.text[:200])
    total = num_content(document, chunk.text)
    lost = sum(num_content(document, chunk.texts[place]) for place in gone)
    if lost > most * total:
        raise ContractViolation("formulas_dropped", f"{lost} of {total} formulas and code blocks")


def num_content(document: ProtectedDocument, text: str) -> int:
    """Formulas and code blocks in a text."""
    return sum(_CONTENT.search(name) is not None for name in document.placeholder.findall(text))


def _anchors(words: Sequence[str]) -> list[tuple[str, ...]]:
    return [tuple(words[place : place + _ANCHOR]) for place in range(len(words) - _ANCHOR + 1)]


def _check_order(chunk: Chunk, after: str, gone: Sequence[int], most: float) -> None:
    """
    Raises:
        ContractViolation: when paragraphs changed places. Those are looked at that have words in a row which stand once
            in the chunk and once in the answer.
    """
    words = [word.casefold() for word in _WORDS.findall(after)]
    where: dict[tuple[str, ...], list[int]] = {}
    for place, anchor in enumerate(_anchors(words)):
        where.setdefault(anchor, []).append(place)
    own = [_anchors([word.casefold() for word in _WORDS.findall(text)]) for text in chunk.texts]
    before = Counter(anchor for anchors in own for anchor in anchors)
    places: list[int] = []
    for index, anchors in enumerate(own):
        unique = (where[anchor] for anchor in anchors if before[anchor] == 1 and anchor in where)
        found = next((there[0] for there in unique if len(there) == 1), None)
        if found is not None and index not in gone:
            places.append(found)
    moved = len(places) - longest_increasing(places)
    if moved > most * len(places):
        raise ContractViolation("paragraph_moved", f"{moved} of {len(places)} paragraphs")
