"""What the tests of the Triton kernels share: values and gradients of a backend against `ref` in float64."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 2e-2}
"""Norm of the difference relative to the norm of the reference."""


def normal(*shape: int, seed: int = 0) -> Tensor:
    """float64 numbers of a standard normal distribution."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def results(
    run: Callable[..., Iterable[Tensor]], backend: str, inputs: Sequence[Tensor], wanted: Sequence[int]
) -> list[Tensor]:
    """Outputs of `run(backend, *inputs)`, and gradients of a loss on all of them in the inputs numbered `wanted`."""
    leaves = [t.detach().clone().requires_grad_(i in wanted) for i, t in enumerate(inputs)]
    outputs = list(run(backend, *leaves))
    loss = torch.zeros((), dtype=torch.float64, device=inputs[0].device)
    for number, output in enumerate(outputs, 1):
        weights = torch.cos(number * torch.arange(output.numel(), dtype=torch.float64, device=output.device))
        loss = loss + (output.double() * weights.view_as(output)).sum()
    return [*outputs, *torch.autograd.grad(loss, [leaves[i] for i in wanted])]


def agree(
    run: Callable[..., Iterable[Tensor]],
    inputs: Sequence[Tensor],
    dtype: torch.dtype,
    *,
    backend: str = "triton",
    reference: str = "ref",
    wanted: Sequence[int] | None = None,
    single: Sequence[int] = (),
) -> None:
    """Fails where `backend` on inputs of `dtype` (those numbered `single` in float32) is not the reference on the same
    numbers in float64, gradients in all inputs (or those numbered `wanted`) included."""
    wanted = range(len(inputs)) if wanted is None else wanted
    rounded = [t.to(torch.float32 if i in single else dtype) for i, t in enumerate(inputs)]
    actual = results(run, backend, rounded, wanted)
    expected = results(run, reference, [t.double() for t in rounded], wanted)
    for number, (a, e) in enumerate(zip(actual, expected, strict=True)):
        assert a.shape == e.shape
        error, size = (a.double() - e).norm().item(), e.norm().item()
        assert error <= TOLERANCE[dtype] * (size + 1e-3), f"tensor {number}: {error:.2e} of {size:.2e}"
        assert a.isfinite().all()
