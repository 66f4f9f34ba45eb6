"""States of sharded runs: the rows of any number of processes, read by any other, in files that execute nothing."""

import json
import multiprocessing
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from model.hybrid import HybridLM
from ops.errors import InputError
from ops.train.config import AdamWConfig
from ops.train.distributed import ALONE, World
from ops.train.objective import CrossEntropy
from ops.train.optimizer import AdamW
from ops.train.sharding import shard
from ops.train.shares import write_shares
from ops.train.state import newest_state, restore, save_state
from tests.ops.training_inputs import tiny_model

CONFIG = replace(
    tiny_model(97),
    pattern="ME*-",
    mamba_num_heads=2,  # fewer rows than three processes
    mamba_head_dim=16,
    n_routed_experts=5,
    num_experts_per_tok=2,
    moe_intermediate_size=16,
    moe_shared_expert_intermediate_size=24,
)
STEP = 7
GATE = "backbone.layers.1.mixer.gate.e_score_correction_bias"


def made(world: World, seed: int, config=CONFIG):
    """A network, whose rows are those of this process, and its optimizer, with random moments where it is whole."""
    model = HybridLM.create(config, seed=seed)
    if world.sharded:
        shard(CrossEntropy(model), world)
    optimizer = AdamW(model, AdamWConfig(peak_lr=1e-3))
    if not world.sharded:
        for tensor in (*model.buffers(), *optimizer.tensors().values()):
            tensor.copy_(torch.rand(tensor.shape, generator=torch.Generator().manual_seed(seed)))
    return model, optimizer


def resume(folder: Path, model, optimizer, world: World = ALONE) -> None:
    state = newest_state(folder, identity="x")
    assert state is not None
    restore(state, model=model, optimizer=optimizer, world=world)
    assert optimizer.step == STEP


def pass_on(rank: int, size: int, source: Path, target: Path) -> None:
    """Body of one of `size` processes: they read a state and write it again."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{target}.store", rank=rank, world_size=size)
    world = World(device=torch.device("cpu"), rank=rank, size=size, sharded=True)
    model, optimizer = made(world, seed=2)
    resume(source, model, optimizer, world)
    save_state(target, identity="x", model=model, optimizer=optimizer, notes={}, world=world)
    torch.distributed.destroy_process_group()


def passed_on(source: Path, target: Path, size: int) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch._dynamo", "torch.distributed.fsdp", "ops.train.shares", __name__])
    children = [context.Process(target=pass_on, args=(rank, size, source, target)) for rank in range(size)]
    for child in children:
        child.start()
    for child in children:
        child.join(timeout=100)
        assert child.exitcode == 0


@pytest.fixture(scope="module")
def states(tmp_path_factory):
    """The same state as one process wrote it, two that read it from there, and three that read it from those."""
    folder = tmp_path_factory.mktemp("states")
    model, optimizer = made(ALONE, seed=1)
    optimizer.step = STEP
    save_state(folder / "1", identity="x", model=model, optimizer=optimizer, notes={})
    passed_on(folder / "1", folder / "2", 2)
    passed_on(folder / "2", folder / "3", 3)
    return folder


def files_of(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    return {path.name: load_file(path) for path in sorted(folder.glob("state/*/*.safetensors"))}


@pytest.mark.parametrize("processes", ["1", "2", "3"])
def test_every_bit_comes_back_without_a_pickle(states, processes, monkeypatch):
    """One process reads what any number wrote."""
    expected, theirs = made(ALONE, seed=1)
    model, optimizer = made(ALONE, seed=3)
    with monkeypatch.context() as patch:
        for module, name in ((pickle, "load"), (pickle, "loads"), (pickle, "Unpickler"), (torch, "load")):
            patch.setattr(module, name, None)
        resume(states / processes, model, optimizer)
    mine = {**model.state_dict(), **optimizer.tensors()}
    for name, tensor in {**expected.state_dict(), **theirs.tensors()}.items():
        assert torch.equal(mine[name], tensor), name


@pytest.mark.parametrize("processes", ["1", "2", "3"])
def test_files_are_tensors_and_json(states, processes):
    (state,) = (states / processes / "state").iterdir()
    paths = set(state.iterdir())
    json.loads((state / "state.json").read_text())
    for path in paths - {state / "state.json"}:
        assert path.suffix == ".safetensors"
        with safe_open(path, "pt") as handle:  # refuses bytes that are neither header nor tensor
            assert handle.keys()
    assert len(paths) == 3 * int(processes) + 1


def test_every_process_writes_its_rows(states):
    three = list(files_of(states / "3").values())
    heads = [
        file["backbone.layers.0.mixer.A_log"].shape[0] for file in three if "backbone.layers.0.mixer.A_log" in file
    ]
    experts = "exp_avg.backbone.layers.1.mixer.experts.up_proj"
    assert heads == [1, 1, 0]
    assert [file[experts].shape[0] for file in three if experts in file] == [2, 2, 1]
    assert [tuple(file[GATE].shape) for file in three if GATE in file] == [(5,)]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps({"tensors": {}}))


def of_another_process(path: Path) -> None:
    shutil.copy(path.with_name(path.name.replace("shard-00002", "shard-00001")), path)


def of_another_type(path: Path) -> None:
    with safe_open(path, "pt") as handle:
        metadata = handle.metadata()
    save_file({name: tensor.to(torch.float16) for name, tensor in load_file(path).items()}, path, metadata)


def without_a_tensor(path: Path) -> None:
    with safe_open(path, "pt") as handle:
        metadata = handle.metadata()
    save_file(dict(list(load_file(path).items())[1:]), path, metadata)


@pytest.mark.parametrize("damage", [cut, pickled, Path.unlink, of_another_process, of_another_type, without_a_tensor])
@pytest.mark.parametrize("number", [1, 3])
def test_a_damaged_file_is_named(states, tmp_path, damage, number):
    shutil.copytree(states / "2", tmp_path, dirs_exist_ok=True)
    (path,) = tmp_path.glob(f"state/*/shard-00002-model-0000{number}-of-00003.safetensors")
    damage(path)
    with pytest.raises(InputError, match=path.name):
        resume(tmp_path, *made(ALONE, seed=3))


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_file_that_was_not_written_with_the_others_is_named(states, tmp_path, processes):
    shutil.copytree(states / processes, tmp_path, dirs_exist_ok=True)
    (state,) = (tmp_path / "state").iterdir()
    save_file({GATE: torch.zeros(5)}, state / "more.safetensors")
    with pytest.raises(InputError, match=r"more\.safetensors"):
        resume(tmp_path, *made(ALONE, seed=3))


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_state_of_another_network_is_refused(states, processes):
    with pytest.raises(InputError, match=r"state/step-00000007: .*lm_head\.weight"):
        resume(states / processes, *made(ALONE, seed=3, config=replace(CONFIG, tie_word_embeddings=True)))
    with pytest.raises(InputError, match=r"state/step-00000007: .*97"):
        resume(states / processes, *made(ALONE, seed=3, config=replace(CONFIG, vocab_size=96)))


def test_an_older_state_is_refused(states, tmp_path):
    shutil.copytree(states / "1", tmp_path, dirs_exist_ok=True)
    (path,) = tmp_path.glob("state/*/state.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 2}))
    with pytest.raises(InputError, match="another version"):
        resume(tmp_path, *made(ALONE, seed=3))


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
def test_an_error_of_writing_is_raised_itself(tmp_path):
    (tmp_path / "shard-00001-model-00001-of-00001.safetensors").mkdir()
    with pytest.raises(IsADirectoryError):
        write_shares(tmp_path, [{"weight": torch.zeros(2)}])
