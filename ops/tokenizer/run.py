"""Run `ops.tokenizer`."""

import hashlib
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ops.errors import InputError
from ops.parts import part_paths, read_rows
from ops.progress import track
from ops.stage import Check, Execution, Inputs, StageResult, many
from ops.tokenizer.bpe import EOD, PAD, train_bpe
from ops.tokenizer.config import FromCheckpoint, Tekken, TokenizerConfig, TrainBPE
from ops.tokenizer.files import (
    LoadedTokenizer,
    copy_tokenizer,
    limit_threads,
    load_tokenizer,
    tokenizer_files,
    write_tokenizer,
)
from ops.tokenizer.tekken import load_tekken, tekken_path

SAMPLE_DOCUMENTS = 64
"""Documents that bytes per token and the round trip are measured on: the first ones of every corpus directory."""


def observe(config: TokenizerConfig, execution: Execution) -> Any:
    """What the tokenizer comes from beside the corpus: package versions, digests of files."""
    seen: dict[str, Any] = {"tokenizers": version("tokenizers")}
    if isinstance(config.source, Tekken):
        path = tekken_path(config.source.version)
        seen[path.name] = _sha256(path)
    elif isinstance(config.source, FromCheckpoint):
        directory = _checkpoint(execution)
        seen |= {name: _sha256(directory / name) for name in tokenizer_files(directory)}
    return seen


def run(config: TokenizerConfig, inputs: Inputs, out: Path, execution: Execution) -> StageResult:
    """Make the tokenizer. Input `corpus` is needed to train one, otherwise it only serves the checks.

    Raises:
        InputError: for a corpus without text, a missing package, or files that are not a tokenizer's.
    """
    limit_threads(execution.threads)
    source = config.source
    corpora = many(inputs, "corpus") if isinstance(source, TrainBPE) else [Path(p) for p in inputs.get("corpus", ())]
    if isinstance(source, TrainBPE):
        write_tokenizer(out, train_bpe(source, _texts(corpora, source)), bos=EOD, eos=EOD, pad=PAD)
    elif isinstance(source, Tekken):
        tokenizer = load_tekken(tekken_path(source.version))
        write_tokenizer(out, tokenizer, bos="<s>", eos="</s>", pad="<pad>", unk="<unk>")
    else:
        copy_tokenizer(_checkpoint(execution), out)
    loaded = load_tokenizer(out)
    checks, summary = _measure(loaded, _sample(corpora))
    if isinstance(source, TrainBPE):
        checks.append(
            Check(
                name="vocabulary_full",
                passed=loaded.vocab_size == source.vocab_size,
                description="the corpus gave as many tokens as were asked for",
                metadata={"asked": source.vocab_size, "got": loaded.vocab_size},
                blocking=False,
            )
        )
    return StageResult(counts={"vocabulary": loaded.vocab_size}, checks=checks, summary=summary)


def _texts(corpora: Sequence[Path], source: TrainBPE) -> Iterator[list[str]]:
    parts = [path for corpus in corpora for path in part_paths(corpus)]
    for path in track(parts, description="tokenizer: train", unit="part"):
        for rows in read_rows(path, columns=["doc_id", "text"]):
            yield [row["text"] for row in rows if _sampled(row["doc_id"], source.sample_fraction)]


def _sampled(doc_id: str, fraction: float) -> bool:
    return fraction == 1 or int.from_bytes(hashlib.sha256(doc_id.encode()).digest()[:8], "big") < fraction * 2**64


def _sample(corpora: Sequence[Path]) -> list[str]:
    texts: list[str] = []
    for corpus in corpora:
        first = [row["text"] for row in next(_batches(corpus), ())]
        texts += first[:SAMPLE_DOCUMENTS]
    return texts


def _batches(corpus: Path) -> Iterator[list[dict[str, Any]]]:
    for path in part_paths(corpus):
        yield from read_rows(path, columns=["text"], batch_rows=SAMPLE_DOCUMENTS)


def _measure(loaded: LoadedTokenizer, texts: Sequence[str]) -> tuple[list[Check], dict[str, Any]]:
    encoded = [encoding.ids for encoding in loaded.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]
    decoded = loaded.tokenizer.decode_batch(encoded, skip_special_tokens=False)
    wrong = [text for text, back in zip(texts, decoded, strict=True) if text != back]
    num_bytes, num_tokens = sum(len(text.encode()) for text in texts), sum(map(len, encoded))
    check = Check(
        name="round_trip",
        passed=not wrong,
        description="decoding the encoded sample gives the same text",
        metadata={"documents": len(texts), "changed": len(wrong), "example": wrong[0][:200] if wrong else ""},
    )
    summary = {
        "vocab_size": loaded.vocab_size,
        "eod_id": loaded.eod_id,
        "sample_documents": len(texts),
        "sample_tokens": num_tokens,
        "bytes_per_token": round(num_bytes / num_tokens, 4) if num_tokens else None,
        "example": [loaded.tokenizer.decode([token]) for token in encoded[0][:48]] if encoded else [],
    }
    return [check], summary


def _checkpoint(execution: Execution) -> Path:
    if execution.source is None:
        raise InputError("FromCheckpoint: execution.source must name the checkpoint directory")
    directory = Path(execution.source)
    if not directory.is_dir():
        raise InputError(f"{directory}: no such checkpoint directory")
    return directory


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
