"""Small inputs for the tests of training: a byte-level tokenizer, a token shard of real text, and a training set."""

import hashlib
import inspect
import json
import random
import string
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from model.config import HybridConfig
from ops.data.schema import TOKENIZED
from ops.stage import Execution
from ops.training_set.config import TrainingSetConfig
from ops.training_set.run import run as make_training_set
from tests.ops.token_shards import make_document

SPECIAL = ("<|pad|>", "<|bos|>", "<|eod|>")
EOD = 2
SOURCES = ("a.example", "b.example", "c.example")


def standard_library_texts() -> list[str]:
    """Docstrings of a few modules that every Python has."""
    found = []
    for module in (inspect, json, random, string, textwrap):
        for _, member in sorted(vars(module).items()):
            text = inspect.getdoc(member) if callable(member) else None
            if text and len(text) > 80:
                found.append(text)
    return list(dict.fromkeys(found))


def tiny_model(vocab_size: int, pattern: str = "M*-") -> HybridConfig:
    return HybridConfig(
        pattern=pattern,
        vocab_size=vocab_size,
        d_model=32,
        intermediate_size=48,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        mamba_num_heads=4,
        mamba_head_dim=8,
        ssm_state_size=8,
        n_groups=2,
        chunk_size=16,
        eos_token_id=EOD,
    )


def write_tokenizer(folder: Path, texts: list[str], vocab_size: int) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"pad_token": SPECIAL[0], "bos_token": SPECIAL[1], "eos_token": SPECIAL[2]}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **names}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "special_tokens_map.json").write_text(json.dumps(names))
    return tokenizer


def _rows(ids: list[list[int]], texts: list[str]) -> Iterator[dict]:
    start = 0
    for number, (tokens, text) in enumerate(zip(ids, texts, strict=True)):
        row = make_document(number, len(tokens), source=SOURCES[number % 3], score=3 + number % 3)
        yield {**row, "text_bytes": len(text.encode()), "token_start": start}
        start += len(tokens)


def write_inputs(
    folder: Path, *, texts: list[str] | None = None, vocab_size: int = 320, validation_fraction: float = 0.1
) -> dict[str, list[Path]]:
    """The inputs `training_set`, `tokens` and `tokenizer` of a training stage under `folder`."""
    texts = texts or standard_library_texts()
    tokenizer = write_tokenizer(folder / "tokenizer", texts, vocab_size)
    ids = [[*encoding.ids, EOD] for encoding in tokenizer.encode_batch(texts)]
    shard = folder / "tokens"
    shard.mkdir()
    payload = np.array([token for document in ids for token in document], dtype="<u2").tobytes()
    (shard / "tokens.bin").write_bytes(payload)
    pq.write_table(pa.Table.from_pylist(list(_rows(ids, texts)), schema=TOKENIZED), shard / "documents.parquet")
    meta = {
        "dtype": "uint16",
        "num_tokens": sum(map(len, ids)),
        "num_documents": len(ids),
        "sha256": hashlib.sha256(payload).hexdigest(),
        "vocab_size": tokenizer.get_vocab_size(),
        "eod_id": EOD,
        "tokenizer_sha256": hashlib.sha256((folder / "tokenizer" / "tokenizer.json").read_bytes()).hexdigest(),
    }
    (shard / "tokens.json").write_text(json.dumps(meta))
    training_set = folder / "training_set"
    training_set.mkdir()
    config = TrainingSetConfig(validation_fraction=validation_fraction, large_source_documents=5)
    make_training_set(config, {"tokens": [shard]}, training_set, Execution())
    return {"training_set": [training_set], "tokens": [shard], "tokenizer": [folder / "tokenizer"]}
