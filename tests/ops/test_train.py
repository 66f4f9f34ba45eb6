"""Schedule, optimizer, objectives, vocabulary and validation, each against an independent computation."""

import dataclasses
import math
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from torch.nn.functional import cross_entropy

from model.hybrid import HybridLM
from ops.data import TokenData
from ops.data.batch import IGNORED
from ops.errors import InputError
from ops.train.config import AdamWConfig, RunConfig, TrainConfig, WSDConfig
from ops.train.distributed import World
from ops.train.metrics import curve
from ops.train.objective import CrossEntropy, squared_logsumexp
from ops.train.optimizer import AdamW
from ops.train.schedule import decay_start, learning_rate, phase2_start
from ops.train.validation import Validation
from ops.train.vocabulary import read_vocabulary
from tests.ops.training_inputs import EOD, SOURCES, standard_library_texts, tiny_model, write_inputs, write_tokenizer

CPU = World(device=torch.device("cpu"))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return write_inputs(tmp_path_factory.mktemp("inputs"))


def test_schedule_is_the_published_one():
    optimizer = AdamWConfig(peak_lr=4.5e-4)
    schedule = WSDConfig(warmup_steps=10, decay_fraction=0.2, decay_shape="minus_sqrt", min_lr_ratio=0.01)
    lrs = [learning_rate(optimizer, schedule, step=step, num_steps=100) for step in range(100)]
    assert lrs[0] == pytest.approx(4.5e-5)
    assert lrs[9:80] == [4.5e-4] * 71
    assert lrs[84] == pytest.approx(4.5e-6 + (4.5e-4 - 4.5e-6) * 0.5)  # a quarter of the way: 1 - sqrt(1/4)
    assert lrs[99] == pytest.approx(4.5e-6, rel=1e-12)


def test_cosine_and_linear_are_half_way_down_in_the_middle():
    optimizer = AdamWConfig(peak_lr=1.0)
    for shape in ("cosine", "linear"):
        schedule = WSDConfig(warmup_steps=0, decay_fraction=1.0, decay_shape=shape, min_lr_ratio=0.0)
        assert learning_rate(optimizer, schedule, step=49, num_steps=100) == pytest.approx(0.5)
        assert learning_rate(optimizer, schedule, step=99, num_steps=100) == pytest.approx(0.0, abs=1e-15)


@given(
    num_steps=st.integers(1, 400),
    warmup=st.integers(0, 50),
    fraction=st.floats(0, 1),
    ratio=st.floats(0, 1),
    shape=st.sampled_from(["minus_sqrt", "cosine", "linear"]),
)
def test_schedule_rises_then_stays_then_falls(num_steps, warmup, fraction, ratio, shape):
    schedule = WSDConfig(
        warmup_steps=min(warmup, num_steps), decay_fraction=fraction, decay_shape=shape, min_lr_ratio=ratio
    )
    optimizer = AdamWConfig(peak_lr=2.0)
    lrs = [learning_rate(optimizer, schedule, step=step, num_steps=num_steps) for step in range(num_steps)]
    start = decay_start(schedule, num_steps)
    assert schedule.warmup_steps <= start <= num_steps
    assert all(a < b for a, b in pairwise(lrs[: schedule.warmup_steps]))
    assert all(lr == 2.0 for lr in lrs[schedule.warmup_steps : start])
    tail = lrs[start:]
    assert all(a >= b - 1e-12 for a, b in pairwise(tail))
    assert all(2.0 * ratio - 1e-12 <= lr <= 2.0 for lr in tail)


def test_second_phase_starts_with_the_decay_unless_told_otherwise():
    config = TrainConfig(batch_size=2, seq_len=8, total_tokens=1600)
    assert config.num_steps == 100
    assert phase2_start(config) == 80
    assert phase2_start(dataclasses.replace(config, phase2_fraction=0.0)) == 100
    assert phase2_start(dataclasses.replace(config, phase2_fraction=0.5)) == 50


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"micro_batch_size": 3}, "micro_batch_size"),
        ({"total_tokens": 4095}, "total_tokens"),
        ({"total_tokens": 4096}, "warmup_steps"),
        ({"seed": -1}, "seed"),
    ],
)
def test_config_errors_name_the_field(changes, named):
    with pytest.raises(InputError, match=named):
        RunConfig(**changes)
    with pytest.raises(InputError, match="peak_lr"):
        AdamWConfig(peak_lr=0.0)
    with pytest.raises(InputError, match="decay_shape"):
        WSDConfig(decay_shape="steps")  # type: ignore[arg-type]


def test_adamw_is_the_formula_and_spares_vectors():
    torch.manual_seed(0)
    model = HybridLM.create(tiny_model(64), seed=1)
    config = AdamWConfig(peak_lr=1e-2, weight_decay=0.3)
    optimizer = AdamW(model, config)
    expected = {name: p.detach().double().numpy().copy() for name, p in model.named_parameters()}
    first = {name: np.zeros_like(value) for name, value in expected.items()}
    second = {name: np.zeros_like(value) for name, value in expected.items()}
    for step in range(1, 4):
        lr = 1e-2 / step
        for name, parameter in model.named_parameters():
            parameter.grad = torch.randn_like(parameter)
            gradient = parameter.grad.double().numpy()
            decay = 0.3 if parameter.ndim > 1 else 0.0
            first[name] = 0.9 * first[name] + 0.1 * gradient
            second[name] = 0.95 * second[name] + 0.05 * gradient**2
            update = (first[name] / (1 - 0.9**step)) / (np.sqrt(second[name] / (1 - 0.95**step)) + 1e-8)
            expected[name] = expected[name] * (1 - lr * decay) - lr * update
        optimizer.update(lr)
    names = {name.rpartition(".")[2] for name in expected}
    assert {"A_log", "D", "dt_bias"} <= names
    for name, parameter in model.named_parameters():
        np.testing.assert_allclose(parameter.detach().numpy(), expected[name], rtol=2e-5, atol=1e-6, err_msg=name)


def test_optimizer_refuses_low_precision_masters():
    model = HybridLM.create(tiny_model(64), seed=1).cast(torch.bfloat16)
    with pytest.raises(ValueError, match="float32 masters"):
        AdamW(model, AdamWConfig())


def _tokens(vocab_size: int, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, vocab_size, (3, 20), generator=generator)
    labels = torch.randint(0, vocab_size, (3, 20), generator=generator)
    labels[:, ::5] = IGNORED
    seq_idx = (torch.arange(20) // 7).expand(3, 20).int()
    return ids, labels, seq_idx


@pytest.mark.parametrize("cap", [None, 0.3])
def test_cross_entropy_with_z_loss_is_the_plain_formula(cap):
    model = HybridLM.create(dataclasses.replace(tiny_model(64), final_logit_softcapping=cap), seed=1)
    ids, labels, seq_idx = _tokens(64)
    total, reported = CrossEntropy(model, z_loss=0.01)(ids, labels, seq_idx)
    gradients = torch.autograd.grad(total, list(model.parameters()))
    logits = model(ids, seq_idx_BL=seq_idx).flatten(0, 1)
    plain = cross_entropy(logits, labels.flatten(), ignore_index=IGNORED, reduction="sum")
    z = logits.logsumexp(-1)[labels.flatten() != IGNORED].square().sum()
    torch.testing.assert_close(reported, plain.detach())
    torch.testing.assert_close(total, plain + 0.01 * z)
    for found, expected in zip(gradients, torch.autograd.grad(plain + 0.01 * z, list(model.parameters())), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_squared_logsumexp_over_several_chunks(monkeypatch):
    monkeypatch.setattr("ops.train.objective.CHUNK_LOGITS", 3 * 11)
    hidden = torch.randn(10, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(11, 4, dtype=torch.float64, requires_grad=True)
    mask = torch.arange(10) % 3 != 0
    assert torch.autograd.gradcheck(lambda h, w: squared_logsumexp(h, w, mask), (hidden, weight))
    expected = (hidden @ weight.T).logsumexp(-1)[mask].square().sum()
    torch.testing.assert_close(squared_logsumexp(hidden, weight, mask), expected)


@settings(max_examples=60)
@given(text=st.text(max_size=80))
def test_token_bytes_add_up_to_the_bytes_of_the_text(tmp_path_factory, text):
    folder = tmp_path_factory.getbasetemp() / "vocabulary"
    if not folder.exists():
        write_tokenizer(folder, standard_library_texts(), 400)
    encoder = Tokenizer.from_file(str(folder / "tokenizer.json"))
    vocabulary = read_vocabulary(folder)
    assert vocabulary.size == encoder.get_vocab_size() == 400
    assert vocabulary.token_bytes[EOD] == 0
    ids = encoder.encode(text, add_special_tokens=False).ids
    assert vocabulary.token_bytes[ids].sum() == len(text.encode())


def test_vocabulary_errors_name_the_file(tmp_path):
    with pytest.raises(InputError, match=r"holds no tokenizer\.json"):
        read_vocabulary(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"model": {"vocab": {"a": 0}}, "decoder": {"type": "WordPiece"}}')
    with pytest.raises(InputError, match="not byte-level"):
        read_vocabulary(tmp_path)
    (tmp_path / "tokenizer.json").write_text("[]")
    with pytest.raises(InputError, match="not a tokenizer"):
        read_vocabulary(tmp_path)


def test_validation_equals_a_loop_over_documents(inputs):
    """Each held-out document alone, token by token, with the bytes of its decoded text."""
    (training_set,), shards, (tokenizer,) = inputs["training_set"], inputs["tokens"], inputs["tokenizer"]
    data = TokenData.open(training_set, shards)
    model = HybridLM.create(tiny_model(data.vocab_size), seed=3)
    validation = Validation(
        data,
        training_set,
        token_bytes=read_vocabulary(tokenizer).token_bytes,
        num_sequences=10**6,
        batch_size=3,
        seq_len=10**4,  # whole documents: nothing is cut at the end of a row
        world=CPU,
    )
    measured = validation.measure(model)

    index = np.load(training_set / "index.npy")
    shard = np.fromfile(shards[0] / "tokens.bin", dtype="<u2")
    encoder = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    sums = {source: np.zeros(3) for source in SOURCES}
    counts: dict[int, int] = {}
    for row in index[index["split"] == 1]:
        ids = shard[row["token_start"] : row["token_start"] + row["token_length"]].astype(np.int64)
        logits = model(torch.from_numpy(ids)[None, :-1])[0]
        nats = cross_entropy(logits.double(), torch.from_numpy(ids[1:]), reduction="sum").item()
        size = len(encoder.decode(ids[1:].tolist(), skip_special_tokens=True).encode())
        sums[SOURCES[int(row["doc_id"], 16) % 3]] += (nats, len(ids) - 1, size)
        for token in ids[1:].tolist():
            counts[token] = counts.get(token, 0) + 1
    total = np.sum(list(sums.values()), axis=0)
    assert measured["loss"] == pytest.approx(total[0] / total[1], rel=1e-5)
    assert measured["bits_per_byte"] == pytest.approx(total[0] / math.log(2) / total[2], rel=1e-5)
    assert isinstance(measured["sources"], dict)
    assert set(measured["sources"]) == {source for source in SOURCES if sums[source][1]}
    for source, rates in measured["sources"].items():
        assert rates["loss"] == pytest.approx(sums[source][0] / sums[source][1], rel=1e-5)
    shares = np.array(list(counts.values())) / total[1]
    assert validation.unigram_loss() == pytest.approx(-sum(share * math.log(share) for share in shares))


def test_curve_groups_rows_without_losing_any():
    rows = [{"step": i, "tokens": i, "loss": float(i), "lr": 0.1, "grad_norm": 1.0} for i in range(1, 1001)]
    points = curve([{"step": 0, "tokens": 0, "validation": {"loss": 9.0}}, *rows])
    assert points["validation"] == [{"tokens": 0, "loss": 9.0}]
    assert len(points["training"]["loss"]) == 200
    assert points["training"]["tokens"][-1] == 1000
    assert sum(points["training"]["loss"]) * 5 == sum(range(1, 1001))
    assert curve([])["training"]["loss"] == []


def test_the_loop_needs_torch_numpy_and_safetensors_alone():
    code = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in {'pyarrow', 'polars', 'tqdm', 'tokenizers', 'transformers', 'fsspec', 'dagster'}:
            raise ImportError(f'{name} is not on a training machine')
sys.meta_path.insert(0, Refuse())
import ops.train.run, ops.distill.run
"""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
