"""What several claims share: the student that is cut, the arms that are trained, their curves."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from model.config import HybridConfig
from model.hybrid import HybridLM
from model.slicing import IndexMaps, WidthScores, gather_model, prefix_maps, sort_maps
from ops.distill.config import LossConfig
from ops.evidence.lab import Curve, Lab, mean
from ops.evidence.stats import Comparison
from ops.prune.config import WidthTarget
from ops.prune.target import resolve_width

FORWARD_KL = LossConfig()
STUDENT = WidthTarget(d_model=0.75, intermediate_size=0.5, mamba_num_heads=0.75)
"""A cut of about 40 %, on three axes at once."""

Arms = Mapping[str, Sequence[Curve]]


def student_target(lab: Lab) -> HybridConfig:
    """The shape of the student that most claims cut."""
    return resolve_width(lab.config.model, STUDENT)


def student_maps(lab: Lab, seed: int, target: HybridConfig) -> IndexMaps:
    """What of the teacher the student keeps by activation importance."""
    scores = lab.importance(seed).width_scores(lab.config.model)
    return sort_maps(lab.config.model, scores).then(prefix_maps(lab.config.model, target))


def pruned(lab: Lab, replicate: int) -> tuple[HybridLM, HybridLM]:
    """The student cut from its teacher by activation importance, and the teacher."""
    seed = lab.seed_of(replicate)
    teacher = lab.teacher(seed)
    return gather_model(teacher, student_maps(lab, seed, student_target(lab))), teacher


def scratch(lab: Lab, replicate: int) -> tuple[HybridLM, HybridLM]:
    """A network of the student's shape that has learned nothing, and the teacher."""
    return lab.scratch(student_target(lab), replicate), lab.teacher(lab.seed_of(replicate))


def only(scores: WidthScores, axis: str) -> WidthScores:
    """The scores of one axis; the others keep their order."""
    if axis == "d_model":
        return WidthScores(d_model=scores.d_model)
    return WidthScores(layers=[{k: v for k, v in layer.items() if k == axis} for layer in scores.layers])


def mapped(scores: WidthScores, change: Any) -> WidthScores:
    """The scores with `change` applied to every tensor."""
    d_model = None if scores.d_model is None else change(scores.d_model)
    return WidthScores(d_model=d_model, layers=[{k: change(v) for k, v in layer.items()} for layer in scores.layers])


def negated(scores: WidthScores) -> WidthScores:
    """The inverse order."""
    return mapped(scores, torch.neg)


def drawn(scores: WidthScores, generator: torch.Generator) -> WidthScores:
    """A random order."""
    return mapped(scores, lambda tensor: torch.rand(tensor.shape, generator=generator, dtype=torch.float64))


def cut_axis(config: HybridConfig, axis: str, keep: float) -> HybridConfig:
    """The network with this share of one axis."""
    return resolve_width(config, WidthTarget(**{axis: float(keep)}))


def compare(name: str, arms: Arms, better: str, worse: str, *, powered: bool = True, **notes: Any) -> Comparison:
    """Whether one arm ends below another, replicate by replicate."""
    pairs = zip(arms[better], arms[worse], strict=True)
    return Comparison(
        name=name,
        better=better,
        worse=worse,
        differences=tuple(b.last - a.last for a, b in pairs),
        powered=powered,
        notes=notes,
    )


def harmed(lab: Lab, students: Sequence[Curve]) -> bool:
    """Whether cutting cost enough for a recovery to be seen."""
    losses = [student.first - teacher_loss(lab, lab.seed_of(r)) for r, student in enumerate(students)]
    return mean(losses) > lab.config.power


def teacher_loss(lab: Lab, seed: int) -> float:
    """Held-out loss of a teacher, measured once."""
    return lab.kept(f"teacher-{seed}", lambda: {"loss": lab.loss(lab.teacher(seed))})["loss"]


def rows_of(arms: Arms) -> list[dict[str, Any]]:
    """A row for each arm: mean losses before and after."""
    return [
        {
            "arm": name,
            "before": mean([curve.first for curve in curves]),
            "after": mean([curve.last for curve in curves]),
            "each": [curve.last for curve in curves],
        }
        for name, curves in arms.items()
    ]


def curves_of(lab: Lab, arms: Arms) -> dict[str, list[tuple[float, float]]]:
    """Arm -> (tokens, mean held-out loss) at each mark."""
    tokens = lab.config.teachers.batch_size * lab.config.teachers.seq_len
    return {
        name: [(float(step * tokens), mean([curve.losses[step] for curve in curves])) for step in curves[0].losses]
        for name, curves in arms.items()
    }
