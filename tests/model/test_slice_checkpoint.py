"""Checkpoints cut on disk: the bytes that a network in memory would give, in little memory, and bad input refused."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from model import tensor_file
from model.checkpoint import CheckpointError, disk_shapes, save_checkpoint, write_description
from model.config import HybridConfig
from model.hf_config import read_config
from model.presets import NEMOTRON_H_8B
from model.slicing import (
    differing,
    gather_model,
    prefix_maps,
    slice_checkpoint,
    sort_maps,
    width_axes,
)
from model.slicing import stream as stream_module
from model.tensor_file import StoredTensor, read_header
from tests.model.slicing_cases import WHOLE, random_model, random_scores, smaller

TIED = replace(WHOLE, tie_word_embeddings=True, moe_latent_size=None)


def cut(config: HybridConfig) -> Any:
    target = replace(config, pattern="E*-M")
    for axis in width_axes(config):
        target = smaller(target, axis)
    return sort_maps(config, random_scores(config)).then(prefix_maps(config, target, [1, 2, 3, 4]))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("block", [tensor_file.BLOCK, 500])
@pytest.mark.parametrize("config", [WHOLE, TIED], ids=["latent", "tied"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_files_are_those_of_the_network_cut_in_memory(
    config: HybridConfig, dtype: torch.dtype, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensor_file, "BLOCK", block)
    model, maps = random_model(config).cast(dtype), cut(config)
    save_checkpoint(model, tmp_path / "parent", max_shard_size=5000)
    child = slice_checkpoint(tmp_path / "parent", tmp_path / "streamed", maps, max_shard_size=2500)
    save_checkpoint(gather_model(model, maps), tmp_path / "in_memory", max_shard_size=2500)
    assert contents(tmp_path / "streamed") == contents(tmp_path / "in_memory")
    assert len(list((tmp_path / "streamed").glob("*.safetensors"))) > 2
    assert child == read_config(tmp_path / "streamed")
    assert differing(tmp_path / "parent", tmp_path / "streamed", maps) == []


def test_a_difference_is_found(tmp_path: Path) -> None:
    model, maps = random_model(WHOLE).cast(torch.float32), cut(WHOLE)
    save_checkpoint(model, tmp_path / "parent")
    slice_checkpoint(tmp_path / "parent", tmp_path / "out", maps)
    path = tmp_path / "out" / "model.safetensors"
    tensors = load_file(path)
    tensors["backbone.layers.3.mixer.D"][1] += 1e-6
    save_file(tensors, path)
    assert differing(tmp_path / "parent", tmp_path / "out", maps) == ["backbone.layers.3.mixer.D"]


def test_a_killed_call_goes_on_and_never_mixes_two_cuts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, maps = random_model(WHOLE).cast(torch.float32), cut(WHOLE)
    parent, out = tmp_path / "parent", tmp_path / "out"
    save_checkpoint(model, parent)
    slice_checkpoint(parent, tmp_path / "whole", maps, max_shard_size=2500)
    written: list[str] = []
    write = stream_module.write_tensors

    def limited(path: Path, *args: Any) -> None:
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(path.name)
        write(path, *args)

    monkeypatch.setattr(stream_module, "write_tensors", limited)
    with pytest.raises(KeyboardInterrupt):
        slice_checkpoint(parent, out, maps, max_shard_size=2500)
    assert not (out / "config.json").exists()
    monkeypatch.setattr(
        stream_module, "write_tensors", lambda path, *args: written.append(path.name) or write(path, *args)
    )
    slice_checkpoint(parent, out, maps, max_shard_size=2500)
    assert contents(out) == contents(tmp_path / "whole")
    assert len(written) == len(set(written)), "finished shards are not written again"

    (out / ".slicing.json").write_text("of another cut")
    (out / "model-00001-of-00000.safetensors").unlink(missing_ok=True)
    damaged = next(iter(sorted(out.glob("*.safetensors"))))
    damaged.write_bytes(b"of another cut")
    slice_checkpoint(parent, out, maps, max_shard_size=2500)
    assert contents(out) == contents(tmp_path / "whole")


def edit_weights(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors")

    return edit


def edit_config(**changes: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return edit


def cut_off(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-8])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (edit_config(hybrid_override_pattern="ME*XM"), "unknown letter 'X' at position 3; known: 'M' Mamba-2"),
        (edit_weights(lambda t: t.pop("backbone.layers.4.mixer.D")), r"missing tensors: backbone\.layers\.4\.mixer\.D"),
        (edit_weights(lambda t: t.update(more=torch.zeros(1))), "unexpected tensors: more"),
        (
            edit_weights(lambda t: t.update({"lm_head.weight": torch.zeros(61, 8)})),
            r"lm_head.weight has shape \(61, 8\)",
        ),
        (
            edit_weights(lambda t: t.update({"lm_head.weight": torch.zeros(61, 16).int()})),
            "lm_head.weight has type I32",
        ),
        (cut_off, "damaged or not a safetensors file"),
    ],
)
def test_a_checkpoint_that_cannot_be_cut_is_refused(
    damage: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    save_checkpoint(random_model(WHOLE).cast(torch.float32), tmp_path / "parent")
    damage(tmp_path / "parent")
    with pytest.raises((CheckpointError, ValueError), match=message):
        slice_checkpoint(tmp_path / "parent", tmp_path / "out", cut(WHOLE))
    assert not list((tmp_path / "out").glob("*.safetensors"))


CHILD = """\
import json, resource, sys
from pathlib import Path
import torch
from model import tensor_file
from model.hf_config import read_config
from model.slicing import WidthScores, differing, prefix_maps, slice_checkpoint, sort_maps
from dataclasses import replace

source, out, block, shard = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
tensor_file.BLOCK = block
config = read_config(source)
generator = torch.Generator().manual_seed(0)
scores = WidthScores(d_model=torch.rand(config.d_model, generator=generator), layers=[
    {"intermediate_size": torch.rand(config.intermediate_size, generator=generator)} if letter == "-" else {}
    for letter in config.pattern
])
target = replace(config, d_model=config.d_model // 4 * 3, intermediate_size=config.intermediate_size // 2)
maps = sort_maps(config, scores).then(prefix_maps(config, target))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
slice_checkpoint(source, out, maps, max_shard_size=shard)
wrong = differing(source, out, maps)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"grown": 1024 * (after - before), "wrong": wrong}))
"""


def synthetic(folder: Path, config: HybridConfig) -> int:
    """A bfloat16 checkpoint, a file for each tensor, all holes on the disk; returns the bytes of its largest tensor."""
    folder.mkdir()
    tensors = {
        name: StoredTensor(path=folder, start=0, dtype="BF16", shape=shape)
        for name, shape in disk_shapes(config).items()
    }
    shards = {f"model-{i:05d}-of-{len(tensors):05d}.safetensors": [name] for i, name in enumerate(tensors, start=1)}
    for file, (name,) in shards.items():
        tensor = tensors[name]
        entry = {"dtype": "BF16", "shape": list(tensor.shape), "data_offsets": [0, tensor.nbytes]}
        header = json.dumps({name: entry}).encode()
        with (folder / file).open("wb") as stream:
            stream.write(len(header).to_bytes(8, "little") + header)
            stream.truncate(8 + len(header) + tensor.nbytes)
    write_description(folder, shards, tensors, config, dtype="bfloat16", tokenizer_files=())
    assert read_header(folder / next(iter(shards)))
    return max(tensor.nbytes for tensor in tensors.values())


def memory_of_a_cut(folder: Path, config: HybridConfig, *, block: int, shard: int) -> tuple[int, int]:
    """Bytes by which cutting a synthetic checkpoint, in a process of its own, grew its peak; of the largest tensor."""
    largest = synthetic(folder / "source", config)
    command = [sys.executable, "-c", CHILD, str(folder / "source"), str(folder / "out"), str(block), str(shard)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    assert found["wrong"] == []
    return found["grown"], largest


def test_memory_is_that_of_blocks_and_not_of_tensors(tmp_path: Path) -> None:
    config = replace(NEMOTRON_H_8B, pattern="M-*-", vocab_size=32768, d_model=1024, intermediate_size=4096)
    grown, largest = memory_of_a_cut(tmp_path, config, block=2**21, shard=10**8)
    assert largest == 2**26
    assert grown < largest


@pytest.mark.slow
def test_a_checkpoint_of_several_gigabytes_is_cut_in_less_than_its_largest_tensor(tmp_path: Path) -> None:
    """Four layers of Nemotron-H-8B with its embeddings: 2.8 GB, the largest tensor 1.07 GB."""
    config = replace(NEMOTRON_H_8B, pattern="M-*-")
    grown, largest = memory_of_a_cut(tmp_path, config, block=tensor_file.BLOCK, shard=10**9)
    assert largest == 131072 * 4096 * 2
    assert grown < largest // 2
    for path in (tmp_path / "out").iterdir():
        path.unlink()
