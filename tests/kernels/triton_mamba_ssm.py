"""mamba-ssm's own Triton kernels of the SSD scan, interpreted beside ours: the `mamba_ssm` backend and the `triton` one
agree with the recurrence, and so with one another."""

import contextlib
import sys
import types
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from kernels.ssd import SSD
from tests.kernels.test_ssd import make_inputs, run
from tests.kernels.triton_agreement import agree

pytestmark = pytest.mark.skipif(find_spec("mamba_ssm") is None, reason="mamba-ssm is not installed (extra `gpu`)")


@pytest.fixture(autouse=True)
def without_a_gpu(monkeypatch):
    """The package's parts without their __init__, which load compiled ones; no autotuning; no device to ask."""
    found = find_spec("mamba_ssm")
    assert found is not None
    assert found.submodule_search_locations is not None
    root = Path(found.submodule_search_locations[0])
    for name in ("mamba_ssm", "mamba_ssm.ops", "mamba_ssm.ops.triton", "mamba_ssm.utils"):
        module = types.ModuleType(name)
        module.__path__ = [str(root.joinpath(*name.split(".")[1:]))]
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setenv("MAMBA_DETERMINISTIC", "1")
    monkeypatch.setattr(torch.cuda, "device", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda *_: SimpleNamespace(multi_processor_count=8), raising=False
    )
    registered = SSD._backends["mamba_ssm"]
    always = type(registered)(**{**vars(registered), "usable": lambda device: True})
    monkeypatch.setitem(SSD._backends, "mamba_ssm", always)


@pytest.mark.parametrize("backend", ["mamba_ssm", "triton"])
def test_agrees_with_the_recurrence(backend):
    shape = (1, 40, 4, 16, 2, 16, 32)
    inputs, seq_idx = make_inputs(shape)
    agree(
        lambda name, *t: run(t, seq_idx + 3, ("D", "initial", "packed"), 32, name),
        inputs,
        torch.float32,
        backend=backend,
    )
