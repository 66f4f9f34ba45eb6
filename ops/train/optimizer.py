"""AdamW: which parameters decay, and its state as plain tensors by name.

The update itself is torch's fused kernel. `torch.optim.AdamW` around it is left out: its first step imports
`torch._dynamo`, which costs a training process seconds and gives it nothing.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from ops.train.config import AdamWConfig
from ops.train.distributed import World
from ops.train.sharding import local

MOMENTS = ("exp_avg", "exp_avg_sq")


def decays(parameter: Tensor) -> bool:
    """Weight decay is for matrices, embeddings and convolution filters; norms, biases, A_log, D and dt_bias (all
    one-dimensional) keep their size, as in Megatron-LM."""
    return parameter.ndim >= 2


class AdamW:
    """AdamW (arXiv 1711.05101) over the parameters of a model, which stay in float32.

    Attributes:
        step: updates done.
    """

    def __init__(self, model: nn.Module, config: AdamWConfig) -> None:
        """Raises ValueError for a parameter that is not float32: the parameters are the masters, and a state-space
        model is sensitive to its A_log, D and dt_bias (Mamba-2's README)."""
        self.config = config
        self.step = 0
        self.parameters = dict(model.named_parameters())
        for name, parameter in self.parameters.items():
            if parameter.dtype != torch.float32:
                raise ValueError(f"parameter {name} is {parameter.dtype}; the optimizer needs float32 masters")
        self._moments = {
            moment: {name: torch.zeros_like(parameter) for name, parameter in self.parameters.items()}
            for moment in MOMENTS
        }

    @torch.no_grad()
    def update(self, lr: float) -> None:
        """One update with this learning rate from the gradients of all parameters, which are left in place."""
        self.step += 1
        config = self.config
        for decaying in (True, False):
            names = [name for name, parameter in self.parameters.items() if decays(parameter) is decaying]
            gradients = [local(gradient) for name in names if (gradient := self.parameters[name].grad) is not None]
            if len(gradients) != len(names):
                raise ValueError("a parameter has no gradient: every parameter must take part in the loss")
            steps = [torch.tensor(float(self.step), device=self.parameters[name].device) for name in names]
            torch._fused_adamw_(  # pyright: ignore[reportPrivateImportUsage]
                [local(self.parameters[name].detach()) for name in names],
                gradients,
                [local(self._moments["exp_avg"][name]) for name in names],
                [local(self._moments["exp_avg_sq"][name]) for name in names],
                [],
                steps,
                lr=lr,
                beta1=config.beta1,
                beta2=config.beta2,
                weight_decay=config.weight_decay if decaying else 0.0,
                eps=config.eps,
                amsgrad=False,
                maximize=False,
            )

    @torch.no_grad()
    def clip(self, world: World) -> float:
        """Scale the gradients down to the L2 norm `clip_norm` where theirs, over all parameters of all shares, is above
        it, and if it is finite; returns their norm."""
        gradients = [local(p.grad) for p in self.parameters.values() if p.grad is not None]
        norm = get_total_norm(gradients)
        if world.sharded:
            norm = world.sum(norm.square()).sqrt()
        if bool(norm.isfinite()):
            scale = (self.config.clip_norm / (norm + 1e-6)).clamp(max=1.0)
            torch._foreach_mul_(gradients, scale)  # pyright: ignore[reportPrivateImportUsage]
        return float(norm)

    def clear_gradients(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters.values():
            parameter.grad = None

    def tensors(self) -> dict[str, Tensor]:
        """The moments of every parameter as `exp_avg.<name>` and `exp_avg_sq.<name>`."""
        return {f"{moment}.{name}": tensor for moment in MOMENTS for name, tensor in self._moments[moment].items()}
