"""Tekken's ids against a plain byte-pair encoder."""

import base64
import json
import random
from pathlib import Path

import pytest
import regex

from ops.errors import InputError
from ops.stage import Execution
from ops.tokenizer import Tekken, TokenizerConfig
from ops.tokenizer.files import load_tokenizer
from ops.tokenizer.run import run
from ops.tokenizer.tekken import byte_characters, tekken_path
from tests.ops.corpora import make_texts


def test_the_byte_table_is_that_of_the_library() -> None:
    from tokenizers import pre_tokenizers

    split = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    characters = byte_characters()
    assert sorted(characters) == sorted(pre_tokenizers.ByteLevel.alphabet())
    for text in ("\x00 \n\x7f", "é\xa0\xad", "数学🙂", "az~!"):
        ((mapped, _),) = split.pre_tokenize_str(text)
        assert mapped == "".join(characters[byte] for byte in text.encode())


class PlainTekken:
    """Tekken from its file alone: cut by the pattern, then merge the pair of lowest rank, leftmost first."""

    def __init__(self, path: Path) -> None:
        data = json.loads(path.read_bytes())
        self.pattern = regex.compile(data["config"]["pattern"])
        size = data["config"]["default_vocab_size"] - data["config"]["default_num_special_tokens"]
        self.ranks = {base64.b64decode(entry["token_bytes"]): entry["rank"] for entry in data["vocab"][:size]}
        self.bytes_of = {rank: token for token, rank in self.ranks.items()}

    def encode(self, text: str) -> list[int]:
        found: list[int] = []
        for piece in self.pattern.findall(text):
            data = piece.encode()
            parts = [data] if data in self.ranks else [data[i : i + 1] for i in range(len(data))]
            while True:
                pairs = [(self.ranks.get(parts[i] + parts[i + 1]), i) for i in range(len(parts) - 1)]
                known = [(rank, i) for rank, i in pairs if rank is not None]
                if not known:
                    break
                _, at = min(known)
                parts[at : at + 2] = [parts[at] + parts[at + 1]]
            found += [1000 + self.ranks[part] for part in parts]
        return found


@pytest.fixture(scope="module")
def tekken(tmp_path_factory) -> Path:
    try:
        tekken_path("240718")
    except InputError as error:
        pytest.skip(str(error))
    out = tmp_path_factory.mktemp("tekken")
    run(TokenizerConfig(source=Tekken()), {}, out, Execution())
    return out


def test_tekken_has_the_ids_of_its_file(tekken) -> None:
    plain = PlainTekken(tekken_path("240718"))
    loaded = load_tokenizer(tekken)
    assert (loaded.vocab_size, loaded.eod_id) == (131072, 2)
    rng = random.Random(0)
    alphabet = [*"ab \n\t\\{}$_^10é数🙂\u00a0\u3000\u0301", "ab", "  ", "--", "</s>", "[INST]", "\\frac", "The"]
    texts = [
        *make_texts(40, seed=7),
        *("".join(rng.choices(alphabet, k=rng.randrange(1, 40))) for _ in range(1500)),
        *(rng.choice(["a", "ab", "==", "--", "字", "🙂", "\\"]) * rng.randrange(1, 60) for _ in range(300)),
        *("".join(rng.choices("ab", k=rng.randrange(1, 40))) for _ in range(500)),
    ]
    for text in texts:
        ids = loaded.tokenizer.encode(text, add_special_tokens=False).ids
        assert ids == plain.encode(text)
        assert loaded.tokenizer.decode(ids, skip_special_tokens=False) == text


def test_tekken_knows_every_token_and_transformers_loads_it(tekken) -> None:
    from transformers import AutoTokenizer

    plain = PlainTekken(tekken_path("240718"))
    loaded = load_tokenizer(tekken)
    for rank in range(0, 130072, 97):
        token = plain.bytes_of[rank]
        name = "".join(byte_characters()[byte] for byte in token)
        assert loaded.tokenizer.token_to_id(name) == 1000 + rank
    theirs = AutoTokenizer.from_pretrained(tekken)
    assert (theirs.bos_token_id, theirs.eos_token_id, theirs.pad_token_id, theirs.unk_token_id) == (1, 2, 11, 0)
    assert theirs.convert_tokens_to_ids(["[INST]", "[TOOL_CONTENT]", "<SPECIAL_20>", "<SPECIAL_999>"]) == [
        3,
        19,
        20,
        999,
    ]
    text = r"Let $\alpha_1 \le 23$."
    assert theirs(text).input_ids == plain.encode(text)
    assert theirs.decode(theirs("a  b , c").input_ids) == "a  b , c"


def test_a_file_that_is_not_tekken_is_named(tmp_path) -> None:
    from ops.tokenizer.tekken import load_tekken

    path = tmp_path / "tekken.json"
    path.write_text('{"vocab": []}')
    with pytest.raises(InputError, match="not a tekken file"):
        load_tekken(path)
