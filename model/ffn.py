"""The feed-forward layer: up_proj, squared ReLU, down_proj; no gate, no bias (Nemotron-H, section 2.1)."""

from torch import Tensor, nn
from torch.nn.functional import relu

from model.config import HybridConfig


class FeedForward(nn.Module):
    """down_proj(relu(up_proj(x)) ** 2); the input of `down_proj` is the activation that pruning scores."""

    def __init__(self, config: HybridConfig) -> None:
        super().__init__()
        self.up_proj = nn.Linear(config.d_model, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.d_model, bias=False)

    def forward(self, x_BLD: Tensor) -> Tensor:
        return self.down_proj(relu(self.up_proj(x_BLD)).square())
