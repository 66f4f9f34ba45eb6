"""The interface of every cleaner, and the guard around it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ops.clean.contract import CleanedDocument, ContractViolation, apply
from ops.clean.document import ProtectedDocument, Verdict, protect
from ops.errors import StillhouseError


class CleanerFailed(StillhouseError):
    """A cleaner that could not do its work (time-out, no answer); the fallback takes the batch."""


class Cleaner(Protocol):
    """Decides which paragraphs of documents stay, and may rewrite them around their placeholders."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    def clean(self, documents: Sequence[ProtectedDocument]) -> Sequence[Verdict]:
        """A verdict for each document, in order.

        Raises:
            CleanerFailed: when the batch could not be cleaned.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one document, and who cleaned it."""

    document: CleanedDocument
    cleaner: str
    """Name and version of the cleaner whose text it is."""
    rejected: str | None = None
    """Why the cleaner's own output was rejected and the fallback's taken."""
    num_chunks: int = 0
    """Chunks that were put to a model."""
    accepted_chunks: int = 0
    rejected_chunks: tuple[str, ...] = ()
    """Why chunks' answers were rejected, one reason each."""


def identity(cleaner: Cleaner) -> str:
    """Name and version of a cleaner, as rows carry it."""
    return f"{cleaner.name}-{cleaner.version}"


def clean_documents(
    cleaner: Cleaner,
    fallback: Cleaner,
    rows: Sequence[Mapping[str, Any]],
    counts: Counter[str] | None = None,
    *,
    max_moved: float = 0.0,
    documents: Sequence[ProtectedDocument] | None = None,
) -> list[Outcome]:
    """Clean documents under the contract.

    `rows` have `doc_id`, `title`, `text` and `formulas` (as in `ops.schema.DOCUMENTS`); `documents` are they protected,
    where that is done already. Where the cleaner fails or its verdict breaks the contract, the fallback's verdict is
    used and the reason is counted in `counts`.

    Raises:
        FormulaMismatch: when a row's formulas are not at their offsets.
        ContractViolation: when the fallback breaks the contract: a defect of this program.
    """
    counts = Counter() if counts is None else counts
    if documents is None:
        documents = [protect(row["doc_id"], row["title"], row["text"], row["formulas"]) for row in rows]
    verdicts: Sequence[Verdict | None]
    failure = "cleaner_failed"
    try:
        verdicts = cleaner.clean(documents)
    except CleanerFailed:
        verdicts = [None] * len(documents)
    if len(verdicts) != len(documents):
        verdicts, failure = [None] * len(documents), "verdict_count"
    outcomes: list[Outcome] = []
    for row, document, verdict in zip(rows, documents, verdicts, strict=True):
        reason, num_chunks = failure, 0
        if verdict is not None:
            num_chunks = verdict.num_chunks
            try:
                cleaned = apply(document, row["formulas"], verdict, max_moved)
                outcomes.append(
                    Outcome(
                        document=cleaned,
                        cleaner=identity(fallback if verdict.is_fallback else cleaner),
                        num_chunks=num_chunks,
                        accepted_chunks=verdict.accepted_chunks,
                        rejected_chunks=verdict.rejected_chunks,
                    )
                )
                continue
            except ContractViolation as violation:
                reason = violation.reason
        counts[f"rejected_{reason}"] += 1
        outcomes.append(
            Outcome(
                document=apply(document, row["formulas"], fallback.clean([document])[0]),
                cleaner=identity(fallback),
                rejected=reason,
                num_chunks=num_chunks,
                rejected_chunks=(f"document_{reason}",) * num_chunks,
            )
        )
    return outcomes
