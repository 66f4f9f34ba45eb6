"""Narrower or shallower at the same number of parameters, after distillation (Minitron, arXiv 2407.14679, table 10)."""

from dataclasses import replace

from model.config import HybridConfig
from model.hybrid import HybridLM
from model.slicing import gather_model, prefix_maps
from ops.evidence.claims import Findings
from ops.evidence.claims.common import FORWARD_KL, compare, curves_of, harmed, rows_of, student_maps
from ops.evidence.lab import Lab

TITLE = "At equal parameters a narrower student is better than a shallower one"
CUT = 0.25
"""Share of the layers that the shallow student lacks."""


def run(lab: Lab) -> Findings:
    config = lab.config.model

    def layers(seed: int) -> list[int]:
        gone = lab.importance(seed).removal_order("iterative_mse")[: max(1, round(CUT * config.num_layers))]
        return [index for index in range(config.num_layers) if index not in gone]

    def shallow(seed: int) -> HybridConfig:
        return replace(config, pattern="".join(config.pattern[index] for index in layers(seed)))

    def deep_cut(replicate: int) -> tuple[HybridLM, HybridLM]:
        seed = lab.seed_of(replicate)
        maps = prefix_maps(config, shallow(seed), layers(seed))
        return gather_model(lab.teacher(seed), maps), lab.teacher(seed)

    def wide_cut(replicate: int) -> tuple[HybridLM, HybridLM]:
        seed = lab.seed_of(replicate)
        target = narrow(config, shallow(seed).num_params())
        return gather_model(lab.teacher(seed), student_maps(lab, seed, target)), lab.teacher(seed)

    arms = {
        name: [
            lab.train(name, r, lambda r=r, cut=cut: cut(r), lr=lab.config.student_lr, loss=FORWARD_KL)
            for r in range(lab.config.replicates)
        ]
        for name, cut in (("width", wide_cut), ("depth", deep_cut))
    }
    sizes = {
        str(seed): {
            "width": narrow(config, shallow(seed).num_params()).num_params(),
            "depth": shallow(seed).num_params(),
        }
        for seed in lab.config.teachers.seeds
    }
    powered = harmed(lab, arms["width"]) and harmed(lab, arms["depth"])
    comparison = compare("width beats depth", arms, "width", "depth", powered=powered, parameters=sizes)
    return Findings(comparisons=[comparison], arms=rows_of(arms), curves=curves_of(lab, arms))


def narrow(config: HybridConfig, parameters: int) -> HybridConfig:
    """The network whose FFN and Mamba heads are cut as far as it takes to have at most so many parameters, and where
    that does not suffice its channels too: the largest such network."""
    heads = range(config.n_groups, config.mamba_num_heads + 1, config.n_groups)
    candidates = [
        replace(config, d_model=d_model, intermediate_size=ffn, mamba_num_heads=count)
        for d_model in range(8, config.d_model + 1, 8)
        for ffn in range(8, config.intermediate_size + 1, 8)
        for count in heads
    ]
    fitting = [candidate for candidate in candidates if candidate.num_params() <= parameters]
    # The widest residual stream first: it is what every layer reads and writes.
    return max(fitting, key=lambda c: (c.d_model, min(c.num_params(), parameters), c.mamba_num_heads))
