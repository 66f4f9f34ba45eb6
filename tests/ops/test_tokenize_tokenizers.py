"""The stage tokenize with tokenizers that are out of the ordinary."""

import json
from pathlib import Path

from tokenizers import models, normalizers

from ops.stage import Execution
from ops.tokenize import TokenizeConfig
from ops.tokenize.run import run
from ops.tokenizer.bpe import EOD, PAD, byte_level
from ops.tokenizer.config import LATEX_PATTERN
from ops.tokenizer.files import write_tokenizer
from ops.tokenizer.tekken import byte_characters
from tests.ops.corpora import text_corpus
from tests.ops.token_shards import read_megatron
from tests.ops.tokenize_inputs import TEXTS, failed


def byte_tokenizer(directory: Path, *, vocab_size: int = 300, normalizer=None) -> Path:
    """A tokenizer of bytes alone, its vocabulary filled up with tokens that no text makes."""
    names = [EOD, PAD, *byte_characters(), *(f"filler {number}" for number in range(vocab_size - 258))]
    tokenizer = byte_level(models.BPE(vocab={name: i for i, name in enumerate(names)}, merges=[]), LATEX_PATTERN)
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.add_special_tokens([EOD, PAD])
    directory.mkdir()
    write_tokenizer(directory, tokenizer, bos=EOD, eos=EOD, pad=PAD)
    return directory


def test_a_large_vocabulary_takes_int32(tmp_path) -> None:
    corpus = text_corpus(tmp_path / "corpus", TEXTS[:20])
    for vocab_size, name in ((65499, "uint16"), (65500, "int32")):
        tokenizer = byte_tokenizer(tmp_path / f"tokenizer-{name}", vocab_size=vocab_size)
        out = tmp_path / name
        result = run(TokenizeConfig(), {"corpus": [corpus], "tokenizer": [tokenizer]}, out, Execution())
        assert not failed(result)
        assert json.loads((out / "tokens.json").read_text())["dtype"] == name
        texts = sorted(text for text in TEXTS[:20] if text)
        table = byte_characters()
        expected = sorted([*(2 + byte for byte in text.encode()), 0] for text in texts)
        assert sorted(read_megatron(out)) == expected
        assert len(table) == 256


def test_a_tokenizer_that_changes_text_is_caught(tmp_path) -> None:
    corpus = text_corpus(tmp_path / "corpus", TEXTS[:20])
    tokenizer = byte_tokenizer(tmp_path / "tokenizer", normalizer=normalizers.Lowercase())
    result = run(TokenizeConfig(), {"corpus": [corpus], "tokenizer": [tokenizer]}, tmp_path / "out", Execution())
    assert set(failed(result)) == {"round_trip"}
    assert failed(result)["round_trip"].blocking
