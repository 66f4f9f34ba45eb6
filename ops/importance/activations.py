"""Width scores and block influence: what forward hooks see in one pass (see ops.importance.statistics).

| statistic                     | of                                                               | aggregated    |
|-------------------------------|------------------------------------------------------------------|---------------|
| d_model                       | output of the layer's norm, by channel                           | L2/mean       |
| intermediate_size             | input of down_proj, by neuron                                    | L2/mean       |
| num_attention_heads           | input of o_proj, L2 norm of the head                             | L2/mean       |
| mamba_x                       | x rows of in_proj, by head and channel (Minitron-SSM, 2504.11409)| L2/mean       |
| mamba_contribution            | W_out[:, h] y_h, L2 norm, by head                                | mean          |
| mamba_channel_contribution    | |y_hp| * |W_out[:, hp]|, by head and channel                     | mean          |
| expert_frequency              | whether the expert gets the token                                | mean          |
| expert_norm                   | L2 norm of the expert's output, 0 without the token              | mean          |
| expert_weighted_norm          | the same times the router's weight                               | mean          |
| moe_intermediate_size         | input of the expert's down_proj times the router's weight, 0     | L2/mean       |
|                               | without the token                                                |               |
| moe_shared_expert_inter-      | input of the shared expert's down_proj, by neuron                | L2/mean       |
| mediate_size                  |                                                                  |               |
| moe_latent_input              | output of fc1_latent_proj, by channel                            | L2/mean       |
| moe_latent_output             | input of fc2_latent_proj, by channel                             | L2/mean       |
| block_influence               | 1 - cos(input, output) of the residual layer (ShortGPT, 2403.03853) | mean       |

The router's weight stands on the input of down_proj because it does in Megatron-LM, whose hooks the published scores
come from. Layers of multi-token prediction (`mtp.{index}`) are scored in the first application of their block, on the
positions whose further token is in the same document.

Shape suffixes: B rows, L positions, T real tokens, F rows of work of the experts, D channels of the layer, N experts,
M their hidden width, H heads, P head dim, E attention head dim, I = H * P.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from model.config import HybridConfig
from model.hybrid import HybridLM
from model.moe import Experts, RoutedRows
from ops.importance.statistics import TOKENS, Documents, Statistics

See = Callable[[Tensor], None]
EXPERT_STATISTICS = ("expert_frequency", "expert_norm", "expert_weighted_norm")


@contextmanager
def scoring(model: HybridLM, statistics: Statistics) -> Iterator[Callable[[Tensor, Tensor], None]]:
    """While open, every forward pass of `model` adds to `statistics`; announce each batch by calling what is yielded
    with seq_idx_BL and valid_BL (False: padding) just before it."""
    config = model.config
    trunk = _Watch(config, statistics)
    depths = [_Watch(config, statistics) for _ in range(config.num_nextn_predict_layers)]

    def announce(seq_idx_BL: Tensor, valid_BL: Tensor) -> None:
        trunk.documents = Documents(seq_idx_BL, valid_BL)
        statistics.add(TOKENS, torch.tensor(trunk.documents.num_tokens))
        for depth, watch in enumerate(depths):
            watch.documents = Documents(seq_idx_BL, followed(seq_idx_BL, valid_BL, depth + 1))

    try:
        for index, letter in enumerate(config.pattern):
            block = model.backbone.layers[index]
            trunk.layer(f"layers.{index}", letter, block)
            trunk.influence(f"layers.{index}.block_influence", block)
        for index, letter in enumerate(config.mtp_pattern):
            assert model.mtp is not None
            watch = depths[index // model.mtp.block_length]
            watch.layer(f"mtp.{index}", letter, model.mtp.layers[index])
            watch.count(f"mtp.{index}.{TOKENS}", model.mtp.layers[index])
        yield announce
    finally:
        for watch in (trunk, *depths):
            watch.close()


def followed(seq_idx_BL: Tensor, valid_BL: Tensor, distance: int) -> Tensor:
    """Real tokens whose document goes on for so many more."""
    later_BL = torch.zeros_like(valid_BL)
    same_BL = seq_idx_BL[:, distance:] == seq_idx_BL[:, :-distance]
    later_BL[:, : valid_BL.shape[1] - distance] = same_BL & valid_BL[:, distance:]
    return valid_BL & later_BL


class _Watch:
    """Hooks that add what layers do to `statistics`, for the documents of the batch that was announced."""

    documents: Documents

    def __init__(self, config: HybridConfig, statistics: Statistics) -> None:
        self.config = config
        self.statistics = statistics
        self.closing: list[Callable[[], None]] = []

    def close(self) -> None:
        for close in self.closing:
            close()

    def layer(self, prefix: str, letter: str, block: nn.Module) -> None:
        """Everything that a layer of this kind is scored by."""
        self.on_output(block.get_submodule("norm"), self.channels(f"{prefix}.d_model"))
        if letter == "-":
            self.on_input(block.get_submodule("mixer.down_proj"), self.channels(f"{prefix}.intermediate_size"))
        elif letter == "*":
            self.on_input(block.get_submodule("mixer.o_proj"), self.heads(f"{prefix}.num_attention_heads"))
        elif letter == "M":
            out_proj = block.get_submodule("mixer.out_proj")
            self.on_output(block.get_submodule("mixer.in_proj"), self.projected(f"{prefix}.mamba_x"))
            self.on_input(out_proj, self.contributed(prefix, out_proj.get_parameter("weight")))
        else:
            self.experts(prefix, block.get_submodule("mixer"))

    def on_input(self, module: nn.Module, see: See) -> None:
        def hook(module: nn.Module, args: tuple[Tensor, ...]) -> None:
            see(args[0])

        self.closing.append(module.register_forward_pre_hook(hook).remove)

    def on_output(self, module: nn.Module, see: See) -> None:
        def hook(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
            see(output)

        self.closing.append(module.register_forward_hook(hook).remove)

    def channels(self, name: str) -> See:
        return lambda value: self.statistics.add(name, self.documents.squared_means(self.documents.tokens(value).abs()))

    def heads(self, name: str) -> See:
        shape = (self.config.num_attention_heads, self.config.head_dim)

        def see(value: Tensor) -> None:
            value_THE = self.documents.tokens(value).unflatten(-1, shape)
            self.statistics.add(name, self.documents.squared_means(value_THE.norm(dim=-1)))

        return see

    def projected(self, name: str) -> See:
        shape = (self.config.mamba_num_heads, self.config.mamba_head_dim)
        x = slice(self.config.d_inner, 2 * self.config.d_inner)

        def see(value: Tensor) -> None:
            x_TI = self.documents.tokens(value[..., x])
            self.statistics.add(name, self.documents.squared_means(x_TI.abs().unflatten(-1, shape)))

        return see

    def contributed(self, prefix: str, weight_DI: Tensor) -> See:
        shape = (self.config.mamba_num_heads, self.config.mamba_head_dim)
        weight_DHP = weight_DI.detach().double().unflatten(-1, shape)
        gram_HPP = torch.einsum("dhp,dhq->hpq", weight_DHP, weight_DHP)
        column_HP = gram_HPP.diagonal(dim1=-2, dim2=-1).sqrt()

        def see(value: Tensor) -> None:
            y_THP = self.documents.tokens(value).unflatten(-1, shape)
            squares_TH = (torch.einsum("thp,hpq->thq", y_THP, gram_HPP.to(y_THP.dtype)) * y_THP).sum(-1)
            norms_H = self.documents.total(squares_TH.clamp(min=0).sqrt())
            self.statistics.add(f"{prefix}.mamba_contribution", norms_H)
            magnitudes_HP = self.documents.total(y_THP.abs())
            self.statistics.add(f"{prefix}.mamba_channel_contribution", magnitudes_HP * column_HP)

        return see

    def experts(self, prefix: str, mixer: nn.Module) -> None:
        shared = f"{prefix}.moe_shared_expert_intermediate_size"
        self.on_input(mixer.get_submodule("shared_experts.down_proj"), self.channels(shared))
        if self.config.moe_latent_size is not None:
            self.on_output(mixer.get_submodule("fc1_latent_proj"), self.channels(f"{prefix}.moe_latent_input"))
            self.on_input(mixer.get_submodule("fc2_latent_proj"), self.channels(f"{prefix}.moe_latent_output"))
        experts = mixer.get_submodule("experts")
        assert isinstance(experts, Experts)
        experts.watch = self.routed(prefix)

        def close() -> None:
            experts.watch = None

        self.closing.append(close)

    def routed(self, prefix: str) -> Callable[[RoutedRows], None]:
        num_experts = self.config.n_routed_experts

        def see(rows: RoutedRows) -> None:
            work = torch.promote_types(rows.output_FX.dtype, torch.float32)
            real_F, document_F = self.documents.routed(rows.tokens_F)

            def of_tokens(value: Tensor) -> Tensor:
                return value if real_F is None else value.index_select(0, real_F)

            experts_F, weights_F = of_tokens(rows.experts_F), of_tokens(rows.weights_F).to(work)
            norms_F = of_tokens(rows.output_FX.to(work).norm(dim=-1))
            values_F3 = torch.stack([torch.ones_like(norms_F), norms_F, norms_F * weights_F], dim=-1).double()
            sums_N3 = values_F3.new_zeros((num_experts, 3)).index_add_(0, experts_F, values_F3)
            for name, sums_N in zip(EXPERT_STATISTICS, sums_N3.unbind(-1), strict=True):
                self.statistics.add(f"{prefix}.{name}", sums_N)
            inner_FM = of_tokens(rows.inner_FM).to(work) * weights_F[:, None]
            squares_NM = self.documents.squared_means_by_expert(inner_FM, experts_F, document_F, num_experts)
            self.statistics.add(f"{prefix}.moe_intermediate_size", squares_NM)

        return see

    def influence(self, name: str, block: nn.Module) -> None:
        def hook(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
            before_TD, after_TD = self.documents.tokens(args[0]), self.documents.tokens(output)
            self.statistics.add(name, self.documents.total(1 - cosine_similarity(before_TD, after_TD, dim=-1)))

        self.closing.append(block.register_forward_hook(hook).remove)

    def count(self, name: str, block: nn.Module) -> None:
        def hook(module: nn.Module, *_: Any) -> None:
            self.statistics.add(name, torch.tensor(self.documents.num_tokens))

        self.closing.append(block.register_forward_hook(hook).remove)
