"""Every way to encode gives the tokenizer's own ids: pieces from a table, and words cut and merged in C++."""

import json
import random
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from ops.tokenize.encode import Encode
from ops.tokenize.native import PATTERNS, NativeEncoder, can_merge, library
from ops.tokenize.pieces import GPT2_PATTERN, PieceTable, can_cut, pattern_of
from ops.tokenizer import TrainBPE
from ops.tokenizer.bpe import EOD, byte_level, train_bpe
from ops.tokenizer.tekken import byte_characters
from tests.ops.corpora import make_texts

BLANKS = [" ", "  ", "\n", " \n", "\n ", "\t", "\u00a0", "\u3000", "\x1c", "\x85", "\u180e", "\u200b"]
DTYPE = np.dtype(np.int32)
Ways = list[tuple[Tokenizer, list[Encode]]]
SIGNS = ["\\", "\\\\", "\\frac", "\\,", "{x}", "$", "12", "3.5", "\u00b2", "'s", "'", "/", "<|endoftext|>"]
WORDS = ["word", "A", "Word's", "\u00e9", "e\u0301", "\u6570\u5b66", "\U0001f642"]
CHARACTERS = st.sampled_from([*BLANKS, *SIGNS, *WORDS]) | st.characters(exclude_categories=["Cs"])


@pytest.fixture(scope="module", params=PATTERNS, ids=["latex", "llama3", "tekken", "gpt2"])
def pattern(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def cut_tokenizer(pattern) -> Tokenizer:
    return train_bpe(TrainBPE(vocab_size=500, pattern=pattern), [make_texts(100)])


@pytest.fixture(scope="module")
def pair_tokenizer(pattern) -> Tokenizer:
    """Merges any two bytes, so that its ids change with nearly every cut."""
    table = byte_characters()
    pairs = [(left, right) for left in table for right in table]
    names = [EOD, *table, *(left + right for left, right in pairs)]
    random.Random(0).shuffle(pairs)
    return byte_level(models.BPE(vocab={name: i for i, name in enumerate(names)}, merges=pairs), pattern)


def encoders(tokenizer: Tokenizer) -> list[Encode]:
    """Every way but the tokenizer itself."""
    tokenizer.encode_special_tokens = True
    described = json.loads(tokenizer.to_str())
    assert can_merge(described)
    memories = (1 << 26, 0) if library() else ()
    native = [NativeEncoder(described, 0, DTYPE, memory=memory).encode for memory in memories]
    return [PieceTable(tokenizer, 0, DTYPE).encode, *native] if can_cut(described) else native


def assert_encoded_alike(tokenizer: Tokenizer, ways: list[Encode], texts: list[str]) -> None:
    expected = [[*encoding.ids, 0] for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
    for encode in ways:
        for _ in range(2):  # the second time from the table
            assert [ids.tolist() for ids in encode(texts)] == expected


@pytest.fixture(scope="module")
def ways(cut_tokenizer, pair_tokenizer) -> Ways:
    return [(tokenizer, encoders(tokenizer)) for tokenizer in (cut_tokenizer, pair_tokenizer)]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(CHARACTERS, max_size=14).map("".join)))
def test_pieces_are_encoded_as_the_whole_is(ways: Ways, texts: list[str]) -> None:
    for tokenizer, encoders in ways:
        assert_encoded_alike(tokenizer, encoders, texts)


@pytest.mark.skipif(library() is None, reason="no C++ compiler here")
def test_every_character_is_cut_as_the_tokenizer_cuts_it(ways: Ways) -> None:
    """Unicode without the large blocks of ideographs, syllables and hieroglyphs; with it words that are long."""
    blocks = [(0, 0x3400), (0xA000, 0xAC00), (0xF900, 0x13000), (0x1B000, 0x1FC00), (0xE0000, 0xE0200)]
    characters = [chr(code) for start, end in blocks for code in range(start, end)]
    texts = ["".join(form.replace("?", c) for c in characters) for form in ("a?B?", "B?C5?\n", " ?'?a")]
    texts.append("ab" * 5000 + "=" * 70000 + " " * 3000 + "\n" * 3000 + "x")
    tokenizer, encoders = ways[1]
    assert_encoded_alike(tokenizer, encoders[-2:], texts)


def test_a_token_of_the_vocabulary_comes_before_its_merges(cut_tokenizer: Tokenizer) -> None:
    data = json.loads(cut_tokenizer.to_str())
    data["model"]["vocab"]["Ġrelation"] = 600  # no merge leads to it
    data["model"]["ignore_merges"] = True
    tokenizer = Tokenizer.from_str(json.dumps(data))
    assert tokenizer.encode(" relation").ids == [600]
    assert_encoded_alike(tokenizer, encoders(tokenizer), ["a relation relations", *make_texts(3)])


@pytest.mark.skipif(library() is None, reason="no C++ compiler here")
def test_the_tokenizer_of_gpt2_cuts_as_its_pattern_does(pair_tokenizer: Tokenizer) -> None:
    data = json.loads(pair_tokenizer.to_str())
    data["pre_tokenizer"] = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    tokenizer = Tokenizer.from_str(json.dumps(data))
    assert_encoded_alike(tokenizer, encoders(tokenizer), ["it's I'M 12.5kg \n\n  x  ", *make_texts(3)])


def test_only_what_was_looked_through_is_cut(cut_tokenizer: Tokenizer) -> None:
    text = cut_tokenizer.to_str()

    def changed(change: Callable[[dict], object]) -> dict:
        data = json.loads(text)
        change(data)
        return json.loads(Tokenizer.from_str(json.dumps(data)).to_str())

    token = {"id": 1, "content": "a b", "special": False}
    flags = dict.fromkeys(["single_word", "lstrip", "rstrip", "normalized"], False)
    same = changed(lambda data: None)
    assert can_merge(same)
    assert can_cut(same) == (pattern_of(same) != GPT2_PATTERN)
    own = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    gpt2 = changed(lambda data: data.update(pre_tokenizer=own))
    assert can_merge(gpt2)
    assert not can_cut(gpt2)
    for change in (
        lambda data: data.update(normalizer={"type": "NFC"}),
        lambda data: data["added_tokens"].append({**token, **flags, "id": 500}),
        lambda data: data.update(pre_tokenizer=None),
        lambda data: data.update(pre_tokenizer={**own, "add_prefix_space": True}),
        lambda data: data.update(pre_tokenizer={**own, "use_regex": False}),
        lambda data: data["pre_tokenizer"]["pretokenizers"][0]["pattern"].update(Regex=".+"),
        lambda data: data["pre_tokenizer"]["pretokenizers"][0].update(behavior="Removed"),
    ):
        assert not can_cut(changed(change))
        assert not can_merge(changed(change))
