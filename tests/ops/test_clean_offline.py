"""Engines in this process: transformers against a plain forward pass, vLLM's calls against a module in its place."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from ops.clean.config import LlmCleaner, Sampling
from ops.clean.engines import Answer, Chat, Failure, Likelihood, Reading, make_engine
from ops.clean.engines.offline_transformers import OfflineTransformers
from ops.errors import InputError
from ops.stage import Execution
from tests.fakes import tiny_llm

CONFIG = LlmCleaner(engine="transformers", model="tiny", revision="1", sampling=Sampling(max_tokens=12))
HEAD = "Kinds of text.\n"
READINGS = [
    Reading(head=HEAD, tail="A proof of ⟦F1⟧\nKind:"),
    Reading(head=HEAD, tail="A menu\nKind:"),
    Reading(head="", tail="Kinds"),
    Reading(head="Other.", tail=" A"),
]
OPTIONS = [" article", " b"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llm.save(tmp_path_factory.mktemp("tiny"))


def expected(folder: Path, prompt: str, option: str) -> float:
    """The likelihood by one forward pass over everything."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    before, behind = (tokenizer(text).input_ids for text in (prompt, option))
    with torch.no_grad():
        logits_TV = model(torch.tensor([before + behind])).logits[0].double().log_softmax(-1)
    return sum(float(logits_TV[len(before) - 1 + place, token]) for place, token in enumerate(behind))


def test_likelihoods_are_those_of_a_plain_forward_pass(folder: Path) -> None:
    engine = make_engine(CONFIG, Execution(source=str(folder)))
    found = dict(engine.score(READINGS, OPTIONS))
    assert sorted(found) == list(range(len(READINGS)))
    for index, reading in enumerate(READINGS):
        prompt = reading.head + reading.tail
        likelihood = found[index]
        assert isinstance(likelihood, Likelihood)
        assert likelihood.log_likelihoods == pytest.approx([expected(folder, prompt, o) for o in OPTIONS], abs=1e-4)
        assert likelihood.tokens_in == len((prompt + "".join(OPTIONS)).encode())


def test_likelihoods_do_not_depend_on_the_neighbours(folder: Path) -> None:
    """To the last bit, so that a resumed run decides alike."""
    engine = make_engine(CONFIG, Execution(source=str(folder)))
    together = dict(engine.score(READINGS, OPTIONS))
    for index in (3, 1, 2, 0):
        assert dict(engine.score([READINGS[index]], OPTIONS))[0] == together[index]


def test_greedy_answers_are_those_of_a_plain_loop(folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    engine = OfflineTransformers(CONFIG, str(folder))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    (answer,) = [result for _, result in engine.generate([Chat(system="s", user="text")])]
    assert isinstance(answer, Answer)
    tokens = tokenizer("<system>s<end><user>text<end><assistant>").input_ids
    assert answer.tokens_in == len(tokens)
    written: list[int] = []
    with torch.no_grad():
        while len(written) < 12 and tokenizer.eos_token_id not in written:
            written.append(int(model(torch.tensor([tokens + written])).logits[0, -1].argmax()))
    assert answer.tokens_out == len(written)
    assert answer.text == tokenizer.decode(written, skip_special_tokens=True)
    assert answer.finish_reason == ("stop" if written[-1] == tokenizer.eos_token_id else "length")


def test_sampled_answers_depend_on_seed_and_question_alone(folder: Path) -> None:
    sampled = replace(CONFIG, sampling=Sampling(temperature=1.0, top_k=50, seed=3, max_tokens=12))
    chats = [Chat(system="", user=f"text {number}") for number in range(3)]
    engine = OfflineTransformers(sampled, str(folder))
    forwards = [result for _, result in engine.generate(chats)]
    backwards = [result for _, result in engine.generate(chats[::-1])]
    assert forwards == backwards[::-1]
    other = OfflineTransformers(replace(sampled, sampling=replace(sampled.sampling, seed=4)), str(folder))
    assert [result for _, result in other.generate(chats)] != forwards


def test_a_question_longer_than_the_model_is_a_failure_of_its_own(folder: Path) -> None:
    engine = OfflineTransformers(CONFIG, str(folder))
    results = dict(engine.generate([Chat(system="", user="long " * 200), Chat(system="", user="short")]))
    assert isinstance(results[0], Failure)
    assert results[0].reason == "too_long"
    assert isinstance(results[1], Answer)
    scores = dict(
        engine.score([Reading(head="Kind:", tail=" long" * 200), Reading(head="Kind:", tail=" short")], OPTIONS)
    )
    assert isinstance(scores[0], Failure)
    assert isinstance(scores[1], Likelihood)
    assert engine.count_tokens(["αβ", ""]) == [4, 0]


def test_what_cannot_be_loaded_is_named(tmp_path: Path, folder: Path) -> None:
    for name, message in (("absent", "no such folder"), (".", "neither config.json nor a GGUF file")):
        with pytest.raises(InputError, match=message):
            OfflineTransformers(CONFIG, str(tmp_path / name))
    (tmp_path / "a.gguf").write_bytes(b"not a model")
    with pytest.raises(InputError, match=r"cannot load|GGUF"):
        OfflineTransformers(CONFIG, str(tmp_path))
    (tmp_path / "b.gguf").write_bytes(b"")
    with pytest.raises(InputError, match="several GGUF files"):
        OfflineTransformers(CONFIG, str(tmp_path))
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    (pickled / "config.json").write_bytes((folder / "config.json").read_bytes())
    (pickled / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    (pickled / "pytorch_model.bin").write_bytes(b"a pickle")
    with pytest.raises(InputError, match="cannot load"):
        OfflineTransformers(CONFIG, str(pickled))


class FakeVllm(ModuleType):
    """Stands where vLLM would: notes what it is given and answers with the last token's number."""

    def __init__(self) -> None:
        super().__init__("vllm")
        self.calls: list[int] = []
        self.options: dict[str, Any] = {}
        outer = self

        class LLM:
            def __init__(self, **options: Any) -> None:
                outer.options = options
                self.llm_engine = SimpleNamespace(model_config=SimpleNamespace(max_model_len=60))

            def get_tokenizer(self) -> Any:
                return SimpleNamespace(
                    encode=lambda text, add_special_tokens: list(text.encode()),
                    apply_chat_template=lambda messages, tokenize, add_generation_prompt: "|".join(
                        message["content"] for message in messages
                    ),
                )

            def generate(self, prompts: Sequence[Any], parameters: Sequence[Any], use_tqdm: bool) -> list[Any]:
                outer.calls.append(len(prompts))
                return [self._one(p["prompt_token_ids"], q) for p, q in zip(prompts, parameters, strict=True)]

            def _one(self, tokens: list[int], parameters: Any) -> Any:
                # A token is the likelier the smaller it is and the one before it.
                asked = {token: SimpleNamespace(logprob=-token / 100 - tokens[-1]) for token in parameters.logprobs}
                written = SimpleNamespace(
                    text=f"saw {tokens[-1]}", finish_reason="stop", token_ids=[1, 2], logprobs=[asked]
                )
                return SimpleNamespace(outputs=[written])

        self.LLM = LLM
        self.SamplingParams = lambda logprob_token_ids=(), **options: SimpleNamespace(logprobs=logprob_token_ids)


def test_vllm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeVllm()
    monkeypatch.setitem(sys.modules, "vllm", fake)
    platforms = ModuleType("vllm.platforms")
    monkeypatch.setattr(platforms, "current_platform", SimpleNamespace(is_cpu=lambda: True), raising=False)
    monkeypatch.setitem(sys.modules, "vllm.platforms", platforms)
    monkeypatch.setattr("ops.clean.engines.offline_vllm.BATCH", 4)
    config = replace(CONFIG, engine="vllm", dtype="bfloat16", sampling=Sampling(seed=7))
    engine = make_engine(config, Execution(source=str(tmp_path)))
    assert fake.options == {
        "model": str(tmp_path),
        "dtype": "bfloat16",
        "seed": 7,
        "trust_remote_code": False,
        "enforce_eager": True,
    }
    chats = [Chat(system="s", user="x" * length + str(length)) for length in (1, 2, 70, 3, 4, 5)]
    results = dict(engine.generate(chats))
    assert [result.text if isinstance(result, Answer) else result.reason for _, result in sorted(results.items())] == [
        f"saw {ord(digit)}" if digit else "too_long" for digit in ("1", "2", None, "3", "4", "5")
    ]
    assert fake.calls == [3, 2]
    scores = dict(engine.score([Reading(head=head, tail="d:") for head in ("Kin", "y" * 70, "Sor")], OPTIONS))
    own = [sum(-token / 100 - before for before, token in pairwise((":" + option).encode())) for option in OPTIONS]
    for index in (0, 2):
        likelihood = scores[index]
        assert isinstance(likelihood, Likelihood)
        assert likelihood.log_likelihoods == pytest.approx(own)
        assert likelihood.tokens_in == 5 + len("".join(OPTIONS))
    assert scores[1] == Failure(reason="too_long", detail="72 tokens")


def test_vllm_absent_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(InputError, match="serve"):
        make_engine(replace(CONFIG, engine="vllm"), Execution(source=str(tmp_path)))
