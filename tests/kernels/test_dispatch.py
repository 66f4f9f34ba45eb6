"""Choice of a backend."""

import pytest
import torch

from kernels.dispatch import Operation

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def make_operation():
    operation = Operation("demo")
    operation.register("ref")(lambda: "ref")
    operation.register("torch")(lambda: "torch")
    operation.register("triton", usable=lambda device: device.type == "cuda")(lambda: "triton")
    return operation


def test_auto_takes_the_best_that_runs_on_the_device():
    operation = make_operation()
    assert operation.select("auto", CPU)() == "torch"
    assert operation.select("auto", CUDA)() == "triton"
    assert operation.select("ref", CUDA)() == "ref"
    assert operation.backends("cpu") == ["ref", "torch"]


def test_auto_never_takes_the_oracle():
    operation = Operation("demo")
    operation.register("ref")(lambda: "ref")
    with pytest.raises(RuntimeError, match="demo: no backend runs on cpu"):
        operation.select("auto", CPU)


def test_errors_name_the_operation_and_the_backend():
    operation = make_operation()
    with pytest.raises(ValueError, match="demo: unknown backend 'cuda'; known: auto, ref, torch, triton"):
        operation.select("cuda", CPU)
    with pytest.raises(RuntimeError, match="demo: backend 'triton' cannot run on cpu"):
        operation.select("triton", CPU)
    with pytest.raises(ValueError, match="'torch' is already registered"):
        operation.register("torch")


def test_the_environment_limits_and_orders_what_auto_takes(monkeypatch):
    operation = make_operation()
    operation.register("cpu", usable=lambda device: device.type == "cpu")(lambda: "cpu")
    assert operation.select("auto", CPU)() == "cpu"
    monkeypatch.setenv("STILLHOUSE_KERNELS", "torch, cpu")
    assert operation.select("auto", CPU)() == "torch"
    assert operation.select("cpu", CPU)() == "cpu"
    monkeypatch.setenv("STILLHOUSE_KERNELS", "triton")
    with pytest.raises(RuntimeError, match="no backend runs on cpu"):
        operation.select("auto", CPU)
    monkeypatch.setenv("STILLHOUSE_KERNELS", "fast")
    with pytest.raises(ValueError, match="STILLHOUSE_KERNELS: unknown backend 'fast'"):
        operation.select("auto", CPU)


def test_a_backend_of_some_types_takes_tensors_of_one_of_them():
    operation = Operation("demo")
    operation.register("torch")(lambda: "torch")
    operation.register("cpu", dtypes=[torch.float32, torch.float64])(lambda: "cpu")
    assert operation.select("auto", CPU, torch.float32, torch.float32)() == "cpu"
    assert operation.select("auto", CPU, torch.float32, torch.float64)() == "torch"
    assert operation.select("auto", CPU, torch.bfloat16)() == "torch"
    with pytest.raises(RuntimeError, match="'cpu' cannot run on tensors of float32, float64"):
        operation.select("cpu", CPU, torch.float32, torch.float64)


def test_a_backend_may_run_where_auto_does_not_take_it_and_take_types_as_they_come():
    operation = Operation("demo")
    operation.register("torch")(lambda: "torch")
    operation.register(
        "triton",
        preferred=lambda device: device.type == "cuda",
        dtypes=[torch.float32, torch.bfloat16],
        mixed=True,
    )(lambda: "triton")
    assert operation.backends("cpu") == ["torch", "triton"]
    assert operation.select("auto", CPU, torch.float32)() == "torch"
    assert operation.select("triton", CPU, torch.float32, torch.bfloat16)() == "triton"
    assert operation.select("auto", CUDA, torch.float32, torch.bfloat16)() == "triton"
    assert operation.select("auto", CUDA, torch.float32, torch.float64)() == "torch"
