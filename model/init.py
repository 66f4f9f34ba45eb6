"""Initial weights, after Megatron-LM's for hybrid models.

| parameter                                   | distribution                                                    |
|---------------------------------------------|-----------------------------------------------------------------|
| matrices, embeddings                        | normal, std = initializer_range                                 |
| out_proj, o_proj, down_proj, fc2_latent_proj| normal, std = initializer_range / sqrt(number of layers)        |
| conv1d weight and bias                      | uniform in +-1/sqrt(conv_kernel)                                |
| A_log                                       | log of uniform in [1, 16]                                       |
| dt_bias                                     | inverse softplus of log-uniform in [1e-3, 1e-1], at least 1e-4  |
| D, norms                                    | 1                                                               |
| e_score_correction_bias                     | 0                                                               |

Each layer adds to the residual stream once, hence sqrt(layers) and not sqrt(2 * layers).
"""

import math

import torch
from torch import nn

from model.config import HybridConfig

A_RANGE = (1.0, 16.0)
DT_RANGE = (1e-3, 1e-1)
DT_FLOOR = 1e-4
RESIDUAL_PROJECTIONS = ("out_proj", "o_proj", "down_proj", "fc2_latent_proj")
NORMS = ("norm", "norm_f", "output_norm", "q_norm", "k_norm", "v_norm", "enorm", "hnorm", "final_layernorm")


@torch.no_grad()
def initialise(model: nn.Module, config: HybridConfig, generator: torch.Generator) -> None:
    """Set every parameter and buffer of a HybridLM in the order of `named_parameters`; the generator alone decides.

    Raises ValueError for a parameter that the table does not know.
    """
    bound = 1 / math.sqrt(config.conv_kernel)
    for name, parameter in model.named_parameters():
        module, _, kind = name.rpartition(".")
        owner = module.rpartition(".")[2]
        if kind == "A_log":
            parameter.uniform_(*A_RANGE, generator=generator).log_()
        elif kind == "dt_bias":
            low, high = (math.log(edge) for edge in DT_RANGE)
            dt = parameter.uniform_(low, high, generator=generator).exp_().clamp_(min=DT_FLOOR)
            parameter.copy_(dt + torch.log(-torch.expm1(-dt)))
        elif kind == "D" or owner in NORMS:
            parameter.fill_(1.0)
        elif owner == "conv1d":
            parameter.uniform_(-bound, bound, generator=generator)
        elif parameter.ndim == 2 or owner == "experts":
            residual = (kind if owner == "experts" else owner) in RESIDUAL_PROJECTIONS
            scale = math.sqrt(config.num_layers) if residual else 1.0
            parameter.normal_(0.0, config.initializer_range / scale, generator=generator)
        else:
            raise ValueError(f"no initialisation is defined for parameter {name}")
    for buffer in model.buffers():
        buffer.zero_()
