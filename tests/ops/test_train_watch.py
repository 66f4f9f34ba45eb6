"""What a run says of itself: spikes, the curve of an earlier run, speed, and whoever else is shown it."""

import json
import logging
import struct
import sys
import types

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ops.train.loop
from model.hybrid import HybridLM
from ops.data import Batch
from ops.errors import InputError
from ops.train.config import TrainConfig, WSDConfig
from ops.train.distributed import World
from ops.train.loop import Run, fit
from ops.train.objective import CrossEntropy
from ops.train.peak import peak_of
from ops.train.reference import PATIENCE, Divergence, Reference
from ops.train.spikes import LEAST, WINDOW, SpikeDetector
from ops.train.watch import numbers, open_watchers
from tests.ops.training_inputs import tiny_model

CONFIG = TrainConfig(
    model=tiny_model(64),
    schedule=WSDConfig(warmup_steps=2),
    batch_size=2,
    seq_len=16,
    total_tokens=24 * 32,
    log_every_steps=4,
    validate_every_steps=12,
)
SPIKE_AT = 20
BLOCK = 2**15


class Spiking(CrossEntropy):
    """Reports three times the loss at one step."""

    step = 0

    def forward(self, *tensors, **more):
        total, reported = super().forward(*tensors, **more)
        return total, reported * (3.0 if self.step == SPIKE_AT else 1.0)


def perform(out, *, die_at: int | None = None, **more) -> list[dict]:
    model = HybridLM.create(CONFIG.model, seed=0)
    objective = Spiking(model)

    def batches(step: int) -> Batch:
        if step == die_at:
            raise KeyboardInterrupt
        objective.step = step
        ids = np.random.default_rng(step).integers(0, 64, (2, 17))
        names = [[f"doc-{step}-{row}"] for row in range(2)]
        return Batch(input_ids=ids[:, :-1], labels=ids[:, 1:], seq_idx=np.zeros((2, 16), np.int32), doc_ids=names)

    out.mkdir(exist_ok=True)
    fit(
        Run(
            config=CONFIG,
            identity="x",
            objective=objective,
            batches=batches,
            validate=lambda model: {"loss": 1.0, "sources": {"a.example": {"bits_per_byte": 2.0}}},
            out=out,
            world=World(device=torch.device("cpu")),
            flops_per_token=1e6,
            **more,
        )
    )
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_a_spike_is_found_with_its_documents_and_found_again_after_a_kill(tmp_path, monkeypatch):
    monkeypatch.setattr(ops.train.loop, "SAVE_EVERY_S", 0.0)
    spikes = [row for row in perform(tmp_path / "whole") if "spike" in row]
    assert [row["step"] for row in spikes] == [SPIKE_AT + 1]
    assert spikes[0]["spike"]["documents"] == [f"doc-{SPIKE_AT}-0", f"doc-{SPIKE_AT}-1"]
    assert spikes[0]["spike"]["z"] > 6
    for step in (LEAST + 1, SPIKE_AT):
        with pytest.raises(KeyboardInterrupt):
            perform(tmp_path / "killed", die_at=step)
    perform(tmp_path / "killed")
    assert (tmp_path / "whole" / "metrics.jsonl").read_bytes() == (tmp_path / "killed" / "metrics.jsonl").read_bytes()
    speed = [json.loads(line) for line in (tmp_path / "whole" / "speed.jsonl").read_text().splitlines()]
    assert speed[-1]["gflops_per_second"] == pytest.approx(speed[-1]["tokens_per_second"] / 1e3, rel=0.01)
    assert "mfu" not in speed[-1]


@settings(max_examples=40)
@given(losses=st.lists(st.floats(0.1, 10), min_size=1, max_size=150), cut=st.integers(0, 149))
def test_spikes_are_those_of_medians_and_know_no_interruption(losses, cut):
    whole, first = SpikeDetector(), SpikeDetector()
    found = [whole.judge(loss) for loss in losses]
    parts = [first.judge(loss) for loss in losses[:cut]]
    later = SpikeDetector(json.loads(json.dumps(first.recent)))
    assert found == parts + [later.judge(loss) for loss in losses[cut:]]
    for index, (loss, z) in enumerate(zip(losses, found, strict=True)):
        before = np.array(losses[max(0, index - WINDOW) : index])
        if len(before) < LEAST:
            assert z is None
            continue
        middle = np.median(before)
        spread = max(1.4826 * np.median(np.abs(before - middle)), 2e-3 * middle)
        if (loss - middle) / spread > 6:
            assert z == pytest.approx((loss - middle) / spread)
        else:
            assert z is None


def test_a_loss_that_leaves_the_curve_of_an_earlier_run(tmp_path, caplog):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"step": s, "tokens": 10 * s, "loss": 4.0}) + "\n" for s in range(1, 101)))
    reference = Reference(str(tmp_path))
    assert reference.at(15) == pytest.approx(4.0)
    assert reference.at(5) is None
    assert reference.at(1001) is None
    same, worse = Divergence(reference), Divergence(reference)
    with caplog.at_level(logging.WARNING):
        assert [same.judge(s, 10 * s, 4.1) for s in range(1, 100)] == [None] * 99
        assert not caplog.records
        found = [worse.judge(s, 10 * s, 4.4) for s in range(1, 100)]
    assert found[: PATIENCE - 1] == [None] * (PATIENCE - 1)
    assert found[PATIENCE - 1 :] == pytest.approx([0.1] * (100 - PATIENCE))
    assert len(caplog.records) == 1
    for text, message in (("", "holds no training loss"), ('{"tokens": 1, "loss": 1}\n' * 2, "do not ascend")):
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            Reference(str(path))
    with pytest.raises(InputError, match="no such file"):
        Reference(str(tmp_path / "none"))


def test_watchers_are_shown_every_number(tmp_path, monkeypatch):
    shown = []

    class SummaryWriter:
        def __init__(self, folder):
            self.folder = folder

        def add_scalar(self, name, value, step):
            shown.append((self.folder.name, name, value, step))

        def flush(self):
            pass

    module = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = SummaryWriter  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    monkeypatch.setattr("ops.train.watch.importlib.util.find_spec", lambda name: object())
    perform(tmp_path / "out", watchers=open_watchers(("tensorboard",), tmp_path / "out", {}))
    assert {folder for folder, *_ in shown} == {"out.tensorboard"}
    assert [step for _, name, _, step in shown if name == "loss"] == [4, 8, 12, 16, 20, 24]
    assert {step for _, name, _, step in shown if name == "validation/sources/a.example/bits_per_byte"} == {0, 12, 24}
    assert any(name == "tokens_per_second" for _, name, *_ in shown)
    assert numbers({"step": 3, "a": {"b": 1, "c": "text"}, "d": True}) == {"a/b": 1.0}


def losses_of(rows: list[dict]) -> dict[int, float]:
    return {row["step"]: row["loss"] for row in rows if "loss" in row}


def test_tensorboard_reads_what_it_was_shown(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    rows = perform(tmp_path / "out", watchers=open_watchers(("tensorboard",), tmp_path / "out", {}))
    events = EventAccumulator(str(tmp_path / "out.tensorboard")).Reload()
    assert {event.step: event.value for event in events.Scalars("loss")} == pytest.approx(losses_of(rows))
    assert [event.step for event in events.Scalars("validation/sources/a.example/bits_per_byte")] == [0, 12, 24]


def wandb_losses(path) -> dict[int, float]:
    """Of a run that wandb keeps offline: records in blocks, each with a checksum, its length and which part it is."""
    from wandb.proto.wandb_internal_pb2 import Record  # pyright: ignore[reportMissingImports]

    data, at, parts, found = path.read_bytes(), 7, b"", {}
    while at + 7 <= len(data):
        _, length, part = struct.unpack_from("<IHB", data, at)
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if BLOCK - at % BLOCK < 7:
            at += BLOCK - at % BLOCK
        if part in (1, 4):  # whole, or the last of several
            record = Record.FromString(parts)
            values = {"/".join(item.nested_key) or item.key: item.value_json for item in record.history.item}
            parts = b""
            if "loss" in values:
                found[record.history.step.num] = float(values["loss"])
    return found


def test_wandb_keeps_each_run_for_itself(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb", reason="the extra `watch` is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    rows = {
        name: perform(tmp_path / name, watchers=open_watchers(("wandb",), tmp_path / name, {"name": name}))
        for name in ("one", "two")
    }
    wandb.finish()
    for name in rows:
        (path,) = (tmp_path / f"{name}.wandb" / "wandb").glob("offline-run-*/run-*.wandb")
        assert wandb_losses(path) == pytest.approx(losses_of(rows[name]))


def test_a_watcher_that_is_not_there(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"'matplotlib' is not one of \['tensorboard', 'wandb'\]"):
        open_watchers(("matplotlib",), tmp_path, {})
    monkeypatch.setattr("ops.train.watch.importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="wandb is not installed"):
        open_watchers(("wandb",), tmp_path, {})


def test_peaks_are_found_by_the_name_of_the_device():
    assert peak_of("NVIDIA H100 80GB HBM3", "bfloat16") == 989e12
    assert peak_of("NVIDIA H100 PCIe", "bfloat16") == 756e12
    assert peak_of("NVIDIA A100-SXM4-80GB", "float32") == 19.5e12
    assert peak_of("Some other device", "bfloat16") is None
