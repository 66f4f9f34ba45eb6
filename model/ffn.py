"""The feed-forward layer: up_proj, squared ReLU, down_proj; no gate, no bias (Nemotron-H, section 2.1)."""

from torch import Tensor, nn

from kernels.feed_forward import feed_forward
from kernels.relu2 import squared_relu
from model.config import HybridConfig
from model.linear import Linear, is_plain


class FeedForward(nn.Module):
    """down_proj(relu(up_proj(x)) ** 2); the input of `down_proj` is the activation that pruning scores."""

    def __init__(self, config: HybridConfig, *, width: int | None = None) -> None:
        """`width` is that between the projections, `intermediate_size` if None."""
        super().__init__()
        width = config.intermediate_size if width is None else width
        self.up_proj = Linear(config.d_model, width)
        self.down_proj = Linear(width, config.d_model)

    def forward(self, x_BLD: Tensor) -> Tensor:
        if is_plain(self.up_proj) and is_plain(self.down_proj):
            return feed_forward(x_BLD, self.up_proj.weight, self.down_proj.weight)
        return self.down_proj(squared_relu(self.up_proj(x_BLD), consume=True))
