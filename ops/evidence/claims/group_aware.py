"""Mamba heads ranked inside their B/C group, or over the layer (Minitron-SSM, arXiv 2504.11409, section 2.2).

That the ranking across groups does not preserve the function is exact, and tested; here is what it costs."""

from dataclasses import replace
from typing import Any

from model.config import HybridConfig
from model.hybrid import HybridLM
from model.slicing import IndexMaps, LayerMap, gather_model
from ops.evidence.claims import Findings
from ops.evidence.claims.common import FORWARD_KL, compare, curves_of, cut_axis, harmed, rows_of, student_maps
from ops.evidence.lab import Lab, mean

TITLE = "Mamba heads are to be ranked inside their group"
AXIS = "mamba_num_heads"


def run(lab: Lab) -> Findings:
    target = cut_axis(lab.config.model, AXIS, lab.config.keep)

    def make(replicate: int, naive: bool) -> tuple[HybridLM, HybridLM]:
        seed = lab.seed_of(replicate)
        maps = student_maps(lab, seed, target)
        if naive:
            maps = naive_maps(lab, seed, target, maps)
        return gather_model(lab.teacher(seed), maps), lab.teacher(seed)

    def trained(name: str, naive: bool) -> list[Any]:
        return [
            lab.train(name, r, lambda r=r: make(r, naive), lr=lab.config.student_lr, loss=FORWARD_KL)
            for r in range(lab.config.replicates)
        ]

    arms = {"group-aware": trained("aware", False), "naive": trained("naive", True)}
    displaced = mean([displaced_share(lab, seed, target) for seed in lab.config.teachers.seeds])
    comparison = compare(
        "group-aware ranking beats naive ranking after distillation",
        arms,
        "group-aware",
        "naive",
        powered=harmed(lab, arms["group-aware"]) and displaced > 0,
        heads_in_a_wrong_group=displaced,
    )
    return Findings(comparisons=[comparison], arms=rows_of(arms), curves=curves_of(lab, arms))


def naive_maps(lab: Lab, seed: int, target: HybridConfig, aware: IndexMaps) -> IndexMaps:
    """`aware` with the best heads of each whole layer, which then take their places in the groups by their order."""
    scores = lab.importance(seed).width_scores(lab.config.model)
    layers = []
    for layer in aware.layers:
        if AXIS not in layer.axes:
            layers.append(layer)
            continue
        ranked = scores.layers[layer.parent][AXIS].sort(descending=True, stable=True).indices.tolist()
        best = tuple(sorted(ranked[: target.mamba_num_heads]))
        layers.append(LayerMap(parent=layer.parent, axes={**layer.axes, AXIS: best}))
    return replace(aware, layers=tuple(layers))


def displaced_share(lab: Lab, seed: int, target: HybridConfig) -> float:
    """Share of the kept heads that naive ranking puts behind the B and C of another group."""
    config = lab.config.model
    maps = naive_maps(lab, seed, target, student_maps(lab, seed, target))
    before, after = config.mamba_num_heads // config.n_groups, target.mamba_num_heads // config.n_groups
    kept = [layer.axes[AXIS] for layer in maps.layers if AXIS in layer.axes]
    wrong = [head // before != place // after for heads in kept for place, head in enumerate(heads)]
    return sum(wrong) / len(wrong)
