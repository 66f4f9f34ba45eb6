"""Teacher correction: the same network, further trained on the data of the distillation."""

import dataclasses
from pathlib import Path

import torch

from model.checkpoint import load_checkpoint, save_checkpoint
from model.hybrid import HybridLM
from ops.correct.config import CorrectConfig
from ops.correct.run import run
from ops.data import TokenData
from ops.stage import Execution
from ops.train.config import WSDConfig
from ops.train.objective import CrossEntropy
from tests.ops.training_inputs import tiny_model, write_inputs
from tests.ops.training_kills import contents, kill_often


def test_a_teacher_learns_on_from_its_own_weights_and_a_kill_changes_nothing(tmp_path: Path) -> None:
    inputs = write_inputs(tmp_path / "data")
    data = TokenData.open(inputs["training_set"][0], inputs["tokens"])
    blocks = {"num_nextn_predict_layers": 1, "mtp_hybrid_override_pattern": "-"}
    model = HybridLM.create(dataclasses.replace(tiny_model(data.vocab_size, "M-"), **blocks), seed=3)
    save_checkpoint(model, tmp_path / "teacher")
    config = CorrectConfig(
        schedule=WSDConfig(warmup_steps=1),
        batch_size=4,
        seq_len=32,
        total_tokens=4 * 4 * 32,
        log_every_steps=1,
        validation_sequences=4,
        sample_prompts=(),
    )
    inputs |= {"teacher": [tmp_path / "teacher"]}
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    result = run(config, inputs, tmp_path / "whole", Execution(threads=1))
    batch = data.batch(phase=2, step=0, batch_size=4, seq_len=32, seed=0)
    arrays = (torch.from_numpy(a) for a in (batch.input_ids, batch.labels, batch.seq_idx))
    _, loss = CrossEntropy(model, mtp_depths=2)(*arrays)
    assert abs(result.summary["curve"]["loss"][0] - float(loss) / (batch.labels >= 0).sum()) < 1e-5
    assert result.summary["validation_after"]["loss"] < result.summary["validation_before"]["loss"]
    corrected = load_checkpoint(tmp_path / "whole")
    assert corrected.config == model.config
    assert result.flops == 4 * 4 * 32 * model.config.training_flops_per_token(32, mtp_depths=2)
    assert kill_often("correct", config, inputs, tmp_path / "killed", targets=(2,), seed=0) == 1
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
