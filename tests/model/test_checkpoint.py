"""Checkpoints: exact round trip, fixed bytes, and errors that name the file and the tensor."""

import hashlib
import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from model.hf_config import read_config
from model.hybrid import HybridLM
from tests.model.common import CAPPED, MOE, MTP, QK_NORM, QKV_NORM, TIED, TINY, shake

WEIGHTS = "model.safetensors"


def digests(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


@pytest.fixture
def saved(tmp_path):
    model = HybridLM.create(TINY, seed=0)
    save_checkpoint(model, tmp_path / "a")
    return model, tmp_path / "a"


def rewrite(folder, change):
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS)


@pytest.mark.parametrize("config", [TINY, TIED, MOE, MTP, QK_NORM, QKV_NORM, CAPPED])
@pytest.mark.parametrize("max_shard_size", [10**9, 20_000])
def test_round_trip_is_exact_and_bytes_are_fixed(config, max_shard_size, tmp_path):
    model = shake(HybridLM.create(config, seed=0))
    for name in ("a", "b"):
        save_checkpoint(model, tmp_path / name, max_shard_size=max_shard_size)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    again = load_checkpoint(tmp_path / "a")
    assert again.config == config == read_config(tmp_path / "a")
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)
    assert all(p.requires_grad and p.is_leaf for p in again.parameters())
    save_checkpoint(again, tmp_path / "c", max_shard_size=max_shard_size)
    assert digests(tmp_path / "a") == digests(tmp_path / "c")


def test_shards_obey_the_limit_and_the_index_is_complete(tmp_path):
    model = HybridLM.create(TINY, seed=0)
    save_checkpoint(model, tmp_path, max_shard_size=20_000)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    shards = sorted(tmp_path.glob("*.safetensors"))
    assert len(shards) > 2
    assert shards[0].name == f"model-00001-of-{len(shards):05d}.safetensors"
    found = {}
    for path in shards:
        tensors = load_file(path)
        assert sum(t.nbytes for t in tensors.values()) <= 20_000 or len(tensors) == 1
        found |= dict.fromkeys(tensors, path.name)
    assert found == index["weight_map"]
    assert index["metadata"]["total_size"] == 4 * TINY.num_params()


def test_files_and_configuration(saved, tmp_path):
    _, folder = saved
    values = json.loads((folder / "config.json").read_text())
    assert values["hybrid_override_pattern"] == "M-M*-M-"
    assert values["num_hidden_layers"] == 7
    assert values["time_step_min"] == 0.0
    assert values["torch_dtype"] == "float32"
    assert not {"time_step_limit", "layers_block_type", "layer_types"} & set(values)
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "generation_config.json", WEIGHTS]
    tokenizer = tmp_path / "tokenizer.json"
    tokenizer.write_text("{}")
    model, folder = saved
    save_checkpoint(model, folder, tokenizer_files=[tokenizer])
    assert (folder / "tokenizer.json").read_text() == "{}"


def test_half_precision(saved, tmp_path):
    model, _ = saved
    save_checkpoint(model.cast(torch.bfloat16), tmp_path / "half")
    assert json.loads((tmp_path / "half" / "config.json").read_text())["torch_dtype"] == "bfloat16"
    again = load_checkpoint(tmp_path / "half", dtype=torch.bfloat16)
    for name, tensor in model.state_dict().items():
        assert again.state_dict()[name].dtype == tensor.dtype
        assert torch.equal(again.state_dict()[name], tensor)
    assert load_checkpoint(tmp_path / "half").lm_head.weight.dtype == torch.float32


def test_experts_are_tensors_of_their_own(tmp_path):
    model = shake(HybridLM.create(MOE, seed=0))
    save_checkpoint(model.cast(torch.bfloat16), tmp_path)
    tensors = load_file(tmp_path / WEIGHTS)
    mixer = model.backbone.layers[1].get_submodule("mixer")
    name = "backbone.layers.1.mixer.experts."
    assert sorted(key for key in tensors if key.startswith(name)) == sorted(
        f"{name}{expert}.{kind}_proj.weight" for expert in range(8) for kind in ("up", "down")
    )
    for expert in range(8):
        assert torch.equal(tensors[f"{name}{expert}.up_proj.weight"], mixer.get_parameter("experts.up_proj")[expert])
    bias = tensors["backbone.layers.1.mixer.gate.e_score_correction_bias"]
    assert bias.dtype == torch.float32
    assert torch.equal(bias, mixer.get_buffer("gate.e_score_correction_bias"))
    again = load_checkpoint(tmp_path, dtype=torch.bfloat16)
    for key, tensor in model.state_dict().items():
        assert again.state_dict()[key].dtype == tensor.dtype
        assert torch.equal(again.state_dict()[key], tensor), key


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors, name: tensors.pop(name), r"missing tensors: {name}"),
        (
            lambda tensors, name: tensors.update({name.replace("5.up", "8.up"): tensors[name].clone()}),
            r"unexpected tensors: backbone\.layers\.1\.mixer\.experts\.8\.up_proj\.weight in model\.safetensors",
        ),
        (lambda tensors, name: tensors.update({name: torch.ones(20, 31)}), r"{name} has shape \(20, 31\)"),
    ],
)
def test_a_wrong_expert_is_named(change, message, tmp_path):
    save_checkpoint(HybridLM.create(MOE, seed=0), tmp_path)
    name = "backbone.layers.1.mixer.experts.5.up_proj.weight"
    rewrite(tmp_path, lambda tensors: change(tensors, name))
    with pytest.raises(CheckpointError, match=message.replace("{name}", re.escape(name))):
        load_checkpoint(tmp_path)


def test_missing_tensor(saved):
    _, folder = saved
    rewrite(folder, lambda tensors: tensors.pop("backbone.layers.3.mixer.k_proj.weight"))
    with pytest.raises(CheckpointError, match=r"missing tensors: backbone\.layers\.3\.mixer\.k_proj\.weight"):
        load_checkpoint(folder)


def test_untied_checkpoint_needs_its_output_projection(saved):
    _, folder = saved
    rewrite(folder, lambda tensors: tensors.pop("lm_head.weight"))
    with pytest.raises(CheckpointError, match=r"missing tensors: lm_head\.weight"):
        load_checkpoint(folder)


def test_unexpected_tensor(saved):
    _, folder = saved
    rewrite(folder, lambda tensors: tensors.update({"mtp.layers.0.norm.weight": torch.ones(3)}))
    with pytest.raises(
        CheckpointError, match=r"unexpected tensors: mtp\.layers\.0\.norm\.weight in model\.safetensors"
    ):
        load_checkpoint(folder)


def test_wrong_shape(saved):
    _, folder = saved
    rewrite(folder, lambda tensors: tensors.update({"backbone.norm_f.weight": torch.ones(31)}))
    with pytest.raises(
        CheckpointError,
        match=r"model\.safetensors: backbone\.norm_f\.weight has shape \(31,\), config\.json asks for \(32,\)",
    ):
        load_checkpoint(folder)


def test_integer_tensor(saved):
    _, folder = saved
    ones = torch.ones(32, dtype=torch.int8)
    rewrite(folder, lambda tensors: tensors.update({"backbone.norm_f.weight": ones}))
    with pytest.raises(CheckpointError, match=r"backbone\.norm_f\.weight has type torch\.int8"):
        load_checkpoint(folder)


def test_damaged_and_absent_files(saved):
    _, folder = saved
    whole = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=r"model\.safetensors: damaged"):
        load_checkpoint(folder)
    (folder / WEIGHTS).unlink()
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors is missing"):
        load_checkpoint(folder)


def test_index_that_disagrees_with_its_shards(tmp_path):
    save_checkpoint(HybridLM.create(TINY, seed=0), tmp_path, max_shard_size=20_000)
    path = tmp_path / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    good = json.dumps(index)
    index["weight_map"]["backbone.norm_f.weight"] = "model-00001-of-00099.safetensors"
    path.write_text(json.dumps(index))
    with pytest.raises(FileNotFoundError, match=r"model-00001-of-00099\.safetensors is missing"):
        load_checkpoint(tmp_path)
    index = json.loads(good)
    del index["weight_map"]["backbone.norm_f.weight"]
    path.write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=r"holds backbone\.norm_f\.weight, which .* does not place there"):
        load_checkpoint(tmp_path)
    path.write_text(good.replace('"model-00001-of', '"../model-00001-of'))
    with pytest.raises(CheckpointError, match="is not a plain file name"):
        load_checkpoint(tmp_path)
    path.write_text("[]")
    with pytest.raises(CheckpointError, match="not an index of weights"):
        load_checkpoint(tmp_path)


def test_tied_checkpoint_with_or_without_the_copy(tmp_path):
    model = HybridLM.create(TIED, seed=0)
    save_checkpoint(model, tmp_path)
    assert "lm_head.weight" in load_file(tmp_path / WEIGHTS)
    rewrite(tmp_path, lambda tensors: tensors.pop("lm_head.weight"))
    again = load_checkpoint(tmp_path)
    assert again.lm_head.weight is again.backbone.embeddings.weight
    rewrite(tmp_path, lambda tensors: tensors.update({"lm_head.weight": torch.ones(97, 32)}))
    with pytest.raises(CheckpointError, match=r"tie_word_embeddings is true, but lm_head\.weight differs"):
        load_checkpoint(tmp_path)


def test_weights_of_another_checkpoint_are_not_mixed_in(saved):
    model, folder = saved
    with pytest.raises(ValueError, match=r"holds weights of another checkpoint: model\.safetensors"):
        save_checkpoint(model, folder, max_shard_size=20_000)
