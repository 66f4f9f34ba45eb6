"""The cleaner with a language model: rules first, then the model on what they left, chunk by chunk."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from ops.clean.calls import Calls
from ops.clean.chunks import Chunk, make_chunks, rename, runs
from ops.clean.config import LlmCleaner
from ops.clean.contract import ContractViolation
from ops.clean.document import Decision, ProtectedDocument, Verdict
from ops.clean.engines import Answer, Failure
from ops.clean.prompts import digest
from ops.clean.rewrite import num_content, question, settle, take
from ops.clean.rules import Rules, normalize
from ops.clean.select import Score, score, worth_asking

TOO_LONG = Failure(reason="too_long", detail="longer than a chunk and nowhere to be cut")


class Model:
    """See `LlmCleaner`. A chunk whose answer is rejected stays as the rules left it, and is counted."""

    def __init__(self, config: LlmCleaner, rules: Rules, calls: Calls) -> None:
        self.config, self.rules, self.calls = config, rules, calls
        self.name = config.name
        self.version = digest(config.prompt)
        self.tokens: Counter[str] = Counter()
        """Tokens in and out of all chunks' answers since it was last cleared, also of those from the cache."""

    def clean(self, documents: Sequence[ProtectedDocument]) -> list[Verdict]:
        """One verdict a document.

        Raises:
            EngineError: when the model cannot be had.
        """
        verdicts = self.rules.clean(documents)
        paragraphs = [_left(document, verdict) for document, verdict in zip(documents, verdicts, strict=True)]
        chunks = [self._chunks(document, texts) for document, texts in zip(documents, paragraphs, strict=True)]
        asked = [
            (document, chunk) for document, own in zip(documents, chunks, strict=True) for chunk in own if chunk.fits
        ]
        results: Iterator[Answer | Score | Failure]
        if self.config.mode == "select":
            results = iter(score(asked, self.calls, self.config))
        else:
            results = iter(self.calls.generate([question(document, chunk, self.config) for document, chunk in asked]))
        settled: list[Verdict] = []
        for document, verdict, own in zip(documents, verdicts, chunks, strict=True):
            given = [next(results) if chunk.fits else TOO_LONG for chunk in own]
            settled.append(self._settle(document, verdict, own, given))
        return settled

    def _chunks(self, document: ProtectedDocument, texts: Sequence[tuple[int, str]]) -> list[Chunk]:
        limit, count = self.config.chunk_tokens, self.calls.engine.count_tokens
        if self.config.mode == "rewrite":
            return make_chunks(document, texts, limit, count)
        asked = [(index, text) for index, text in texts if worth_asking(document, text)]
        return [make_chunks(document, [each], limit, count)[0] for each in asked]

    def _settle(
        self,
        document: ProtectedDocument,
        verdict: Verdict,
        chunks: Sequence[Chunk],
        results: Sequence[Answer | Score | Failure],
    ) -> Verdict:
        if not chunks:
            return replace(verdict, is_fallback=True)
        decisions = list(verdict.decisions)
        put = self._select if self.config.mode == "select" else self._rewrite
        accepted, rejected = put(document, chunks, results, decisions)
        verdict = replace(
            verdict,
            num_chunks=len(chunks),
            accepted_chunks=accepted,
            rejected_chunks=tuple(rejected),
            is_fallback=not accepted,
        )
        if not any(decision.keep for decision in decisions):
            return replace(verdict, decisions=tuple(decisions), drop_reason="no_useful_content")
        before = [normalize(paragraph, document.placeholder) for paragraph in document.paragraphs]
        reason, detail = self.rules.judge(document, before, decisions)
        return replace(verdict, decisions=tuple(decisions), drop_reason=reason, drop_detail=detail)

    def _rewrite(
        self,
        document: ProtectedDocument,
        chunks: Sequence[Chunk],
        results: Sequence[Answer | Score | Failure],
        decisions: list[Decision],
    ) -> tuple[int, list[str]]:
        """Put what the model wrote into `decisions`; the number of answers taken, the reasons of the others."""
        accepted = 0
        rejected: list[str] = []
        given = iter(results)
        for run in runs(chunks):
            pieces: list[str] = []
            for chunk in run:
                answer = next(given)
                assert not isinstance(answer, Score)
                if isinstance(answer, Answer):
                    self.tokens.update(tokens_in=answer.tokens_in, tokens_out=answer.tokens_out)
                try:
                    taken = take(document, chunk, answer, self.config)
                except ContractViolation as violation:
                    rejected.append(violation.reason)
                    pieces += [chunk.separator or "", rename(chunk.text, chunk.names, document.placeholder)]
                    continue
                accepted += 1
                pieces += [chunk.separator or "", taken.text]
                if chunk.separator is None:
                    settle(chunk, taken, decisions)
            if run[0].separator is not None:
                decisions[run[0].paragraphs[0]] = Decision(keep=True, text="".join(pieces))
        return accepted, rejected

    def _select(
        self,
        document: ProtectedDocument,
        chunks: Sequence[Chunk],
        results: Sequence[Answer | Score | Failure],
        decisions: list[Decision],
    ) -> tuple[int, list[str]]:
        """Drop what the model holds for boilerplate from `decisions`; the number of verdicts that count, the reasons of
        the others."""
        left = _left(document, Verdict(decisions=tuple(decisions)))
        content = {index: num_content(document, text) for index, text in left}
        accepted = 0
        low: list[int] = []
        rejected: list[str] = []
        for chunk, result in zip(chunks, results, strict=True):
            if isinstance(result, Failure):
                rejected.append(result.reason)
                continue
            assert isinstance(result, Score)
            accepted += 1
            self.tokens["tokens_in"] += result.tokens_in
            low += chunk.paragraphs if result.log_odds < self.config.threshold else ()
        most = self.config.tolerance.max_formulas_dropped * sum(content.values())
        if sum(content[index] for index in low) > most:
            stay = [index for index in low if content[index]]
            rejected += ["formulas_dropped"] * len(stay)
            accepted -= len(stay)
            low = [index for index in low if not content[index]]
        for index in low:
            decisions[index] = Decision(keep=False, reason="model")
        return accepted, rejected


def _left(document: ProtectedDocument, verdict: Verdict) -> list[tuple[int, str]]:
    """The paragraphs that are kept, each with its index."""
    if verdict.drop_reason is not None:
        return []
    pairs = zip(document.paragraphs, verdict.decisions, strict=True)
    return [
        (index, paragraph if decision.text is None else decision.text)
        for index, (paragraph, decision) in enumerate(pairs)
        if decision.keep
    ]
