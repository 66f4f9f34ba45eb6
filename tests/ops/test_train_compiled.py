"""Compiled layers: the same numbers but for rounding, whatever is killed and gone on with.

Losses of float32 agree to 1e-6, a few units in the last place: the operations are the same, their sums in other orders.
"""

from dataclasses import replace
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch

import ops.train.loop
from model.checkpoint import save_checkpoint
from model.hybrid import HybridLM
from ops.data import Batch, TokenData
from ops.distill.config import DistillConfig, IntermediateConfig, LossConfig
from ops.distill.objective import states_of
from ops.distill.run import run as distill
from ops.errors import InputError
from ops.identity import encode
from ops.stage import Execution
from ops.train import compiled
from ops.train.compiled import compiled_layers
from ops.train.config import AdamWConfig, TrainConfig, WSDConfig
from ops.train.distributed import World
from ops.train.loop import Run, fit
from ops.train.objective import CrossEntropy
from ops.train.run import run as train
from ops.train.run import running
from tests.ops.test_train_sharded import metrics, two_processes
from tests.ops.training_inputs import tiny_model, write_inputs

EXPERTS = {
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "moe_shared_expert_intermediate_size": 24,
}
CONFIG = TrainConfig(
    model=replace(tiny_model(64), pattern="ME-", **EXPERTS),
    router_bias_rate=0.01,
    schedule=WSDConfig(warmup_steps=2),
    batch_size=4,
    micro_batch_size=2,
    seq_len=16,
    total_tokens=4 * 64,
    log_every_steps=1,
    validate_every_steps=4,
    activation_checkpointing=True,
)
CPU = torch.device("cpu")


def perform(out: Path, config: TrainConfig = CONFIG, *, die_at: int | None = None, **more) -> list[float]:
    """The losses of the steps that were done."""
    model, losses = HybridLM.create(config.model, seed=0), []

    def batches(step: int) -> Batch:
        if step == die_at:
            raise KeyboardInterrupt
        ids = np.random.default_rng(step).integers(0, 64, (4, 17))
        seq_idx = np.repeat([[0, 1]], 8, axis=1).repeat(4, axis=0).astype(np.int32)
        return Batch(input_ids=ids[:, :-1], labels=ids[:, 1:], seq_idx=seq_idx, doc_ids=[["a", "b"]] * 4)

    out.mkdir(exist_ok=True)
    run = Run(
        config=config,
        identity="x",
        objective=CrossEntropy(model),
        batches=batches,
        validate=lambda model: {"loss": 1.0},
        out=out,
        world=World(device=CPU),
        watchers=[lambda step, row: losses.append(row["loss"]) if "loss" in row else None],
        **more,
    )
    fit(run)
    assert not any("forward" in vars(module) for module in model.modules())
    return losses


@pytest.mark.slow
def test_losses_are_those_of_layers_that_are_not_compiled(tmp_path, monkeypatch):
    monkeypatch.setattr(compiled, "BACKEND", "aot_eager")
    monkeypatch.setattr(compiled, "SHAPES", 1)  # no layer is compiled twice
    monkeypatch.setattr(ops.train.loop, "SAVE_EVERY_S", 0.0)
    whole = perform(tmp_path / "compiled", compiled=True)
    assert len(whole) == 4
    assert whole == pytest.approx(perform(tmp_path / "plain"), rel=1e-6)
    with pytest.raises(KeyboardInterrupt):
        perform(tmp_path / "killed", die_at=2, compiled=True)
    with pytest.raises(InputError, match="was made with compiled layers"):
        perform(tmp_path / "killed")
    perform(tmp_path / "killed", compiled=True)
    assert (tmp_path / "killed/metrics.jsonl").read_bytes() == (tmp_path / "compiled/metrics.jsonl").read_bytes()


@pytest.mark.slow
def test_bfloat16(tmp_path, monkeypatch):
    """A number rounds by up to 2e-3, their mean over the tokens by less."""
    monkeypatch.setattr(compiled, "BACKEND", "aot_eager")
    config = replace(CONFIG, model=replace(CONFIG.model, pattern="M-*"), precision="bfloat16")
    half = perform(tmp_path / "compiled", config, compiled=True)
    assert half == pytest.approx(perform(tmp_path / "plain", config), rel=1e-3)


@pytest.mark.slow
def test_inductor(tmp_path, monkeypatch):
    """What a run takes by default, and its C++ on a CPU."""
    try:
        compiled.check_compiler(CPU)
    except InputError as error:
        pytest.skip(str(error))
    import torch._inductor.config

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    config = replace(CONFIG, model=replace(CONFIG.model, pattern="*-"))
    with torch._inductor.config.patch(compile_threads=1):  # no processes, which take longer to start
        losses = perform(tmp_path / "compiled", config, compiled=True)
    assert losses == pytest.approx(perform(tmp_path / "plain", config), rel=1e-6)
    assert list((tmp_path / "cache").rglob("*.so"))


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """What two processes do with compiled layers, and the same by one process without. A process has 6 sequences of a
    batch, and 4 and 2 in its micro-batches; alone it has 4, 4 and 4."""
    folder = tmp_path_factory.mktemp("compiled")
    inputs = write_inputs(folder / "inputs")
    vocab_size = TokenData.open(inputs["training_set"][0], inputs["tokens"]).vocab_size
    run = {
        "batch_size": 12,
        "micro_batch_size": 4,
        "seq_len": 32,
        "total_tokens": 3 * 12 * 32,
        "log_every_steps": 1,
        "validate_every_steps": 3,
        "validation_sequences": 4,
        "sample_prompts": (),
    }
    learning = {"optimizer": AdamWConfig(peak_lr=3e-3), "schedule": WSDConfig(warmup_steps=1)}
    predicting = {"num_nextn_predict_layers": 1, "mtp_hybrid_override_pattern": "*"}
    experts = replace(tiny_model(vocab_size), pattern="E", **EXPERTS, **predicting)
    mamba = tiny_model(vocab_size, "M")
    configs = {
        "ddp": TrainConfig(model=experts, packing="best_fit", **learning, **run),
        "fsdp": TrainConfig(model=mamba, activation_checkpointing=True, **learning, **run),
        "distilled": DistillConfig(
            schedule=WSDConfig(warmup_steps=1),
            loss=LossConfig(intermediate=IntermediateConfig(student_states=(0, 2), teacher_states=(0, 1), weight=1.0)),
            **run,
        ),
    }
    save_checkpoint(HybridLM.create(tiny_model(vocab_size, "--"), seed=1), folder / "student")
    save_checkpoint(HybridLM.create(replace(tiny_model(vocab_size, "--"), d_model=40), seed=2), folder / "teacher")
    networks = {"student": [folder / "student"], "teacher": [folder / "teacher"]}

    def call(name: str, out: str, interrupt: int | None = None) -> dict:
        config = configs[name]
        given = {**inputs, **networks} if name == "distilled" else inputs
        return {
            "package": "ops.distill" if name == "distilled" else "ops.train",
            "config_class": f"{type(config).__module__}:{type(config).__qualname__}",
            "config": encode(config),
            "inputs": {key: [str(path) for path in paths] for key, paths in given.items()},
            "out": str(folder / out),
            "parallel": "ddp" if name == "ddp" else "fsdp",
            "compile": True,
            "interrupt": interrupt,
        }

    calls = [call(name, name) for name in configs]
    calls += [call("fsdp", "killed", interrupt=1), call("fsdp", "killed")]
    process = two_processes(folder, calls)
    assert process.returncode == 0, process.stderr
    for name, config in configs.items():
        (folder / f"plain_{name}").mkdir()
        if isinstance(config, DistillConfig):
            distill(config, {**inputs, **networks}, folder / f"plain_{name}", Execution(threads=1))
        else:
            train(config, inputs, folder / f"plain_{name}", Execution(threads=1))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ddp", "fsdp", "distilled"])
def test_two_processes_do_compiled_what_one_does_without(done, name):
    for a, b in zip(metrics(done / f"plain_{name}"), metrics(done / name), strict=True):
        assert a["step"] == b["step"]
        if "loss" in a:
            # A KL is the small difference of larger terms, and rounds as they do.
            assert b["loss"] == pytest.approx(a["loss"], rel=1e-6, abs=1e-7 if name == "distilled" else 0.0)
            assert b["grad_norm"] == pytest.approx(a["grad_norm"], rel=1e-5)
        else:
            assert b["validation"]["loss"] == pytest.approx(a["validation"]["loss"], rel=1e-6)


@pytest.mark.slow
def test_two_processes_go_on_with_the_same_bits(done):
    for name in ("metrics.jsonl", "model.safetensors"):
        assert (done / "killed" / name).read_bytes() == (done / "fsdp" / name).read_bytes()


@pytest.mark.slow
def test_hooks_run_around_compiled_layers(monkeypatch):
    monkeypatch.setattr(compiled, "BACKEND", "eager")
    model, ids_BL = HybridLM.create(tiny_model(64, "---"), seed=0), torch.arange(32).view(2, 16)
    with states_of(model, (1, 3)) as expected:
        model.hidden_states(ids_BL)
    with compiled_layers([model]):
        model.hidden_states(ids_BL)  # compiles what all three layers share, none of which has a hook
        with states_of(model, (1, 3)) as found:
            model.hidden_states(ids_BL)
    for state_BLD, expected_BLD in zip(found, expected, strict=True):
        torch.testing.assert_close(state_BLD, expected_BLD)


@pytest.mark.slow
def test_a_layer_with_too_many_shapes_is_never_left_uncompiled(monkeypatch):
    """In no thread: a backward pass on CUDA has its own, and torch's settings do not reach it."""
    from torch._dynamo.exc import FailOnRecompileLimitHit

    monkeypatch.setattr(compiled, "BACKEND", "eager")
    monkeypatch.setattr(compiled, "SHAPES", 12)
    model, failures = HybridLM.create(tiny_model(64, "-"), seed=0), []
    ids_BL = torch.arange(32).view(2, 16)

    def forward() -> None:
        for length in range(1, 14):
            try:
                model.hidden_states(ids_BL[:, :length])
            except FailOnRecompileLimitHit:
                failures.append(length)

    with compiled_layers([model]):
        thread = Thread(target=forward)
        thread.start()
        thread.join()
    assert failures == [13]


def test_no_compiler(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(InputError, match=r"torch.compile cannot work here: no C\+\+ compiler \(no-such-compiler\)"):
        running(Execution(compile=True)).__enter__()
