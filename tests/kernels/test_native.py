"""The builder of the C++ kernels, and what all of them promise: the same bits for every number of threads, and NaN
that stays NaN."""

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from kernels import cpp, native
from kernels.attention import attention
from kernels.conv1d import causal_conv1d
from kernels.linear_loss import linear_cross_entropy, linear_kl
from kernels.mamba2 import States, mamba2_mix
from kernels.relu2 import squared_relu
from kernels.rmsnorm import gated_rms_norm, rms_norm
from kernels.ssd import ssd
from tests.kernels.test_mamba2 import make_mixer

ROOT = Path(__file__).resolve().parents[2]
needs_kernels = pytest.mark.skipif(not native.usable(torch.device("cpu")), reason="no C++ compiler here")

USE = """
import warnings, torch
from kernels.ssd import SSD, ssd
from kernels import native
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    print(SSD.backends("cpu"))
    B = torch.ones(1, 5, 1, 4)
    y, _ = ssd(torch.ones(1, 5, 2, 3), torch.ones(1, 5, 2), -torch.ones(2), B, B)
    print(float(y.sum()))
print(len(caught))
for warning in caught:
    print(warning.message)
"""


def use(**environment):
    """What a process of its own says that uses a kernel in this environment."""
    done = subprocess.run(
        [sys.executable, "-c", USE],
        capture_output=True,
        text=True,
        timeout=280,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@needs_kernels
def test_one_warning_and_torch_without_a_compiler(tmp_path):
    with_compiler = use()
    assert with_compiler[0] == "['ref', 'torch', 'cpu']"
    assert with_compiler[2:] == ["0"]
    without = use(CXX="no-such-compiler", STILLHOUSE_KERNEL_CACHE=str(tmp_path))
    assert without[0] == "['ref', 'torch']"
    assert float(without[1]) == pytest.approx(float(with_compiler[1]), rel=1e-5)
    assert without[2] == "1"
    assert "no-such-compiler" in without[3]
    assert not list(tmp_path.iterdir())


def build() -> Path:
    return cpp.build(native.SOURCES, "kernels")


def fake_compiler(folder: Path, log: Path) -> Path:
    """A compiler that notes its calls and writes what it is told to."""
    path = folder / "fake-cxx"
    path.write_text(
        f'#!/bin/sh\necho "$@" >> {log}\n[ "$1" = --version ] && echo "fake 1.0" && exit 0\n'
        'while [ $# -gt 0 ]; do [ "$1" = -o ] && echo built > "$2"; shift; done\n'
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def toolchain(tmp_path, monkeypatch):
    """(cache folder, calls of the compiler that build something) with a compiler that is quick."""
    log, folder = tmp_path / "calls", tmp_path / "cache"
    log.touch()
    monkeypatch.setenv("CXX", str(fake_compiler(tmp_path, log)))
    monkeypatch.setenv("STILLHOUSE_KERNEL_CACHE", str(folder))
    return folder, lambda: [line for line in log.read_text().splitlines() if line != "--version"]


def test_a_build_is_kept_and_belongs_to_sources_flags_and_processor(toolchain, monkeypatch, tmp_path):
    folder, calls = toolchain
    first = build()
    assert first.parent == folder
    assert first.read_text() == "built\n"
    count = len(calls())
    assert count == len(list(native.SOURCES.glob("*.cpp"))) + 1
    assert build() == first
    assert len(calls()) == count

    others = set()
    with monkeypatch.context() as patch:
        patch.setattr(cpp, "FLAGS", (*cpp.FLAGS, "-O1"))
        others.add(build())
    with monkeypatch.context() as patch:
        patch.setattr(cpp, "_processor", lambda: "another")
        others.add(build())
    with monkeypatch.context() as patch:
        changed = tmp_path / "csrc"
        changed.mkdir()
        for source in native.SOURCES.iterdir():
            (changed / source.name).write_bytes(source.read_bytes() + b"\n" * (source.suffix == ".h"))
        others.add(cpp.build(changed, "kernels"))
    assert len(others | {first}) == 4


def test_builders_that_start_together_build_once(toolchain):
    folder, calls = toolchain
    built: list[Path] = []
    threads = [threading.Thread(target=lambda: built.append(build())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(built)) == 1
    assert len(built) == 4
    assert len(calls()) == len(list(native.SOURCES.glob("*.cpp"))) + 1
    assert sorted(path.suffix for path in folder.iterdir()) == [".lock", ".so"]


def test_a_failing_compiler_leaves_nothing_and_says_why(tmp_path, monkeypatch):
    compiler = tmp_path / "bad-cxx"
    compiler.write_text('#!/bin/sh\n[ "$1" = --version ] && exit 0\necho "error: no such thing" >&2\nexit 1\n')
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setenv("STILLHOUSE_KERNEL_CACHE", str(tmp_path / "cache"))
    with pytest.raises(cpp.BuildError, match="no such thing"):
        build()
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]


def test_a_cache_that_cannot_be_written_is_named(toolchain, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("STILLHOUSE_KERNEL_CACHE", str(tmp_path / "file"))
    with pytest.raises(cpp.BuildError, match=r"file cannot be written: .*STILLHOUSE_KERNEL_CACHE"):
        build()


def test_cache_folder_follows_the_environment(monkeypatch):
    monkeypatch.delenv("STILLHOUSE_KERNEL_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/some/cache")
    assert cpp.cache_folder() == Path("/some/cache/stillhouse")
    monkeypatch.setenv("STILLHOUSE_KERNEL_CACHE", "/other")
    assert cpp.cache_folder() == Path("/other")


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def scan_inputs():
    B, C = normal(2, 70, 2, 9, seed=3), normal(2, 70, 2, 9, seed=4)
    return [normal(2, 70, 12, 5), normal(2, 70, 12).exp() / 9, -normal(12).exp(), B, C]


def mixer_inputs():
    zxBCdt, weights, settings, states, seq_idx = make_mixer((2, 37, 4, 8, 2, 8), dtype=torch.float32)

    def run(*tensors):
        weights_given = weights._make(tensors[1:])
        return mamba2_mix(
            tensors[0], weights_given, settings, states=States(*states), seq_idx_BL=seq_idx, backend="cpu"
        )

    return [zxBCdt, *weights], run


def attention_inputs():
    seq_idx = torch.arange(150).gt(40).long().expand(2, 150)
    inputs = [normal(2, heads, 150, 20, seed=heads) for heads in (6, 2, 2)]
    return inputs, lambda *t: [attention(*t, seq_idx_BT=seq_idx, backend="cpu")]


TARGETS = torch.arange(300) % 77
OPERATIONS = {
    "attention": attention_inputs(),
    "ssd": (scan_inputs(), lambda *t: ssd(*t, backend="cpu")),
    "conv1d": ([normal(3, 50, 70), normal(70, 4), normal(70)], lambda *t: causal_conv1d(*t, backend="cpu")[:1]),
    "rms_norm": ([normal(300, 40), normal(40)], lambda *t: [rms_norm(*t, eps=1e-5, backend="cpu")]),
    "gated_rms_norm": (
        [normal(300, 40), normal(300, 40, seed=1), normal(40)],
        lambda *t: [gated_rms_norm(*t, group_size=20, eps=1e-5, backend="cpu")],
    ),
    "squared_relu": ([normal(70_001)], lambda x: [squared_relu(x, backend="cpu")]),
    "cross_entropy": (
        [normal(300, 20), normal(77, 20)],
        lambda h, w: linear_cross_entropy(h, w, TARGETS, chunk_size=100, backend="cpu")[:1],
    ),
    "kl": (
        [normal(300, 20), normal(77, 20)],
        lambda h, w: linear_kl(h, w, normal(300, 9), normal(77, 9), chunk_size=100, backend="cpu")[:1],
    ),
    "mamba2": mixer_inputs(),
}

WITH_PRODUCTS = ("cross_entropy", "kl")
"""Their matrix products are the BLAS's, which rounds by the number of threads."""


def outputs_and_gradients(name, tensors=None):
    inputs, run = OPERATIONS[name]
    leaves = [t.detach().clone().requires_grad_() for t in tensors or inputs]
    outputs = [output for output in run(*leaves) if output.requires_grad]
    loss = torch.stack([(output * torch.cos(torch.arange(output.numel())).view_as(output)).sum() for output in outputs])
    return [*outputs, *torch.autograd.grad(loss.sum(), leaves)]


@needs_kernels
@pytest.mark.parametrize("name", [name for name in OPERATIONS if name not in WITH_PRODUCTS])
def test_bits_do_not_depend_on_the_number_of_threads(name):
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        try:
            results.append(outputs_and_gradients(name))
        finally:
            torch.set_num_threads(1)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@needs_kernels
@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_reach_the_output(name, value):
    inputs = [t.clone() for t in OPERATIONS[name][0]]
    inputs[0].view(-1)[17] = value
    outputs = outputs_and_gradients(name, inputs)
    assert not all(torch.isfinite(output).all() for output in outputs)


@needs_kernels
def test_other_types_are_refused_and_auto_goes_on_to_torch():
    x = normal(4, 8).bfloat16()
    with pytest.raises(RuntimeError, match="rms_norm: backend 'cpu' cannot run on tensors of bfloat16"):
        rms_norm(x, torch.ones(8).bfloat16(), eps=1e-5, backend="cpu")
    with pytest.raises(RuntimeError, match="cannot run on tensors of bfloat16, float32"):
        rms_norm(x, torch.ones(8), eps=1e-5, backend="cpu")
    assert rms_norm(x, torch.ones(8), eps=1e-5).dtype == torch.bfloat16
