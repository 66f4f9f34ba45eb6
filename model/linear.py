"""A projection without bias, as everywhere in the family."""

from torch import Tensor, nn

from kernels.linear import linear


class Linear(nn.Linear):
    """y = x W^T by kernels.linear; with a bias that somebody gave it as torch has it."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        return linear(input, self.weight) if self.bias is None else super().forward(input)


def is_plain(module: nn.Module) -> bool:
    """Whether calling it is y = x W^T and nothing else: a `Linear` without bias, hooks and `forward` of its own."""
    hooks = module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    return type(module) is Linear and module.bias is None and not hooks and "forward" not in vars(module)
