"""Cut a document's paragraphs into chunks for a model.

A chunk is a run of whole paragraphs, or a piece of one paragraph that is too long by itself. Pieces end at line breaks,
else at sentences, else between words; never inside a placeholder or a table row. What cannot be cut is a chunk that is
too long: it is not put to the model, stays as it is, and is counted. Nothing is left out.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from ops.clean.document import ProtectedDocument

Count = Callable[[Sequence[str]], list[int]]
_CUTS = (re.compile(r"\n"), re.compile(r"(?<=[.?!;])[ \t]+|(?<=[。！？；])"), re.compile(r"[ \t]+"))
_TABLE_ROW = re.compile(r"[ >]*\|")


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """What a model is asked about at a time."""

    paragraphs: tuple[int, ...]
    """Indices of the document's paragraphs."""
    texts: tuple[str, ...]
    """The paragraphs as the model sees them: placeholders numbered from 1 in each chunk, so that equal text in two
    documents is the same question."""
    names: Mapping[str, str]
    """Placeholder in the chunk -> placeholder in the document."""
    separator: str | None = None
    """None: whole paragraphs. Else a piece of one paragraph, and what stands before it there."""
    fits: bool = True

    @property
    def text(self) -> str:
        return "\n\n".join(self.texts)


def make_chunks(
    document: ProtectedDocument, paragraphs: Sequence[tuple[int, str]], limit: int, count: Count
) -> list[Chunk]:
    """Chunks of at most `limit` tokens, in order. `paragraphs` are those to be put to the model, with their indices.

    Tokens are counted paragraph by paragraph, one more for the empty line between two. A text of at most `limit` bytes
    is not counted: a token stands for at least one byte.
    """
    whole = "\n\n".join(text for _, text in paragraphs)
    if len(whole.encode()) <= limit:
        return [_chunk(document, paragraphs)] if paragraphs else []
    chunks: list[Chunk] = []
    open_: list[tuple[int, str]] = []
    size = 0
    for (index, text), tokens in zip(paragraphs, count([text for _, text in paragraphs]), strict=True):
        if open_ and size + tokens + 1 > limit:
            chunks.append(_chunk(document, open_))
            open_, size = [], 0
        if tokens <= limit:
            open_.append((index, text))
            size += tokens + 1
            continue
        pieces = _cut(text, limit, count)
        chunks += [_chunk(document, [(index, piece)], separator, fits) for separator, piece, fits in pieces]
    return [*chunks, _chunk(document, open_)] if open_ else chunks


def rename(text: str, names: Mapping[str, str], placeholder: re.Pattern[str]) -> str:
    """Each placeholder by its other name; one without stays."""
    return placeholder.sub(lambda match: names.get(match.group(), match.group()), text)


def runs(chunks: Sequence[Chunk]) -> list[list[Chunk]]:
    """Chunks by what they make up: pieces of one paragraph together, any other chunk by itself."""
    keyed = enumerate(chunks)
    grouped = groupby(keyed, key=lambda item: item[0] if item[1].separator is None else ("piece", item[1].paragraphs))
    return [[chunk for _, chunk in group] for _, group in grouped]


def _chunk(
    document: ProtectedDocument, parts: Sequence[tuple[int, str]], separator: str | None = None, fits: bool = True
) -> Chunk:
    found = [name for _, text in parts for name in document.placeholder.findall(text)]
    local = {name: re.sub(r"\d+(?=⟧\Z)", str(number), name) for number, name in enumerate(found, start=1)}
    return Chunk(
        paragraphs=tuple(index for index, _ in parts),
        texts=tuple(rename(text, local, document.placeholder) for _, text in parts),
        names={short: name for name, short in local.items()},
        separator=separator,
        fits=fits,
    )


def _cut(text: str, limit: int, count: Count, level: int = 0) -> list[tuple[str, str, bool]]:
    """Pieces of a text: (what stands before it, the piece, whether it is within the limit)."""
    if level == len(_CUTS) or (level > 0 and _TABLE_ROW.match(text)):
        return [("", text, False)]
    atoms = _split(text, _CUTS[level])
    pieces: list[tuple[str, str, bool]] = []
    open_ = size = 0
    for (separator, atom), tokens in zip(atoms, count([atom for _, atom in atoms]), strict=True):
        if tokens > limit:
            first, *rest = _cut(atom, limit, count, level + 1)
            pieces += [(separator, *first[1:]), *rest]
            open_ = 0
        elif open_ and size + tokens + 1 <= limit:
            before, piece, _ = pieces[-1]
            pieces[-1] = (before, piece + separator + atom, True)
            size += tokens + 1
        else:
            pieces.append((separator, atom, True))
            open_, size = 1, tokens
    return pieces


def _split(text: str, pattern: re.Pattern[str]) -> list[tuple[str, str]]:
    """Atoms with the separator before each; together they are the text."""
    atoms: list[tuple[str, str]] = []
    separator, position = "", 0
    for match in pattern.finditer(text):
        if position < match.start() and match.end() < len(text):
            atoms.append((separator, text[position : match.start()]))
            separator, position = match.group(), match.end()
    return [*atoms, (separator, text[position:])]
