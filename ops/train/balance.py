"""Equal shares for experts: the routers' biases after a step, and how far from equal it was.

Shape suffixes: E expert layers, N experts.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from model.hybrid import HybridLM
from model.moe import balanced_bias, max_violation, routers
from ops.train.distributed import World


@torch.no_grad()
def balance(model: HybridLM, counts: Mapping[str, Tensor], *, rate: float, world: World) -> dict[str, float]:
    """Move the routers' biases by the tokens that each expert got in this step, in all processes together.

    Returns `max_violation`, the load of the most loaded expert above the mean as a share of the mean (MaxVio), of the
    worst layer, and the mean of it over the layers. Nothing for a network without experts.
    """
    found = routers(model)
    if not found:
        return {}
    counts_EN = world.sum(torch.stack([counts[name] for name in found]))
    violations = []
    for router, counts_N in zip(found.values(), counts_EN, strict=True):
        router.e_score_correction_bias.copy_(balanced_bias(router.e_score_correction_bias, counts_N, rate))
        violations.append(max_violation(counts_N))
    return {"max_violation": max(violations), "mean_violation": sum(violations) / len(violations)}
