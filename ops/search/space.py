"""The candidates of a search: every combination of the space's sizes that can be cut and that the rules let through."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from model.config import HybridConfig
from ops.errors import InputError
from ops.prune.config import DepthTarget, PruneConfig, WidthTarget
from ops.prune.target import resolve_layers, resolve_width
from ops.search.config import Rules, SearchConfig, Space
from ops.search.cost import costs

SHORT = {
    "d_model": "d",
    "intermediate_size": "f",
    "num_attention_heads": "a",
    "mamba_num_heads": "h",
    "mamba_head_dim": "p",
    "n_routed_experts": "e",
    "moe_intermediate_size": "m",
    "moe_shared_expert_intermediate_size": "s",
    "moe_latent_size": "l",
}


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A network that can be cut out of the teacher."""

    label: str
    """The sizes that differ from the teacher's, as `d72-f192-7of9`."""

    prune: PruneConfig
    """Sizes in numbers, so that the same candidate of another space is the same."""

    target: HybridConfig
    layers: tuple[int, ...]
    """The teacher's layers that stay; of everything else it has the first, in the order of importance."""

    costs: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Enumerated:
    """All candidates, and why the other combinations are none: combinations = candidates + rejected."""

    candidates: tuple[Candidate, ...]
    rejected: Mapping[str, int]
    combinations: int
    first_error: str | None
    """Why the first combination that cannot be cut cannot."""


def enumerate_candidates(teacher: HybridConfig, config: SearchConfig, removal_order: Sequence[int]) -> Enumerated:
    """The candidates in the order of the space.

    Args:
        removal_order: all layers of the teacher, the one to go first in front.
    """
    found: dict[tuple[HybridConfig, tuple[int, ...]], Candidate] = {}
    rejected: Counter[str] = Counter()
    combinations = 0
    first_error = None
    for width, depth in _choices(config.space, teacher.pattern):
        combinations += 1
        try:
            wide = resolve_width(teacher, width)
            layers = tuple(resolve_layers(teacher.pattern, depth, removal_order))
            target = replace(wide, pattern="".join(teacher.pattern[index] for index in layers))
        except (InputError, ValueError) as error:
            rejected["cannot_be_cut"] += 1
            first_error = first_error or str(error)
            continue
        reason = ("nothing_cut" if target == teacher else broken_rule(teacher, target, config.rules, config.space)) or (
            "same_as_another" if (target, layers) in found else None
        )
        if reason is not None:
            rejected[reason] += 1
            continue
        sizes = {axis: getattr(target, axis) for axis in config.space.width if _cut(teacher, target, axis)}
        found[target, layers] = Candidate(
            label=_label(teacher, target, sizes),
            prune=replace(config.base, width=WidthTarget(**sizes), depth=depth),
            target=target,
            layers=layers,
            costs=costs(target, config.budget),
        )
    return Enumerated(
        candidates=tuple(found.values()),
        rejected=dict(sorted(rejected.items())),
        combinations=combinations,
        first_error=first_error,
    )


def _choices(space: Space, pattern: str) -> Iterator[tuple[WidthTarget, DepthTarget]]:
    axes = sorted(space.width)
    keep = {kind: _number(value, pattern.count(kind)) for kind, value in space.keep.items()}
    depths = [DepthTarget(num_layers=_number(value, len(pattern)), keep=keep) for value in space.num_layers]
    depths = depths or [DepthTarget(keep=keep)]
    for sizes in product(*(space.width[axis] for axis in axes)):
        for depth in depths:
            yield WidthTarget(**dict(zip(axes, sizes, strict=True))), depth


def _number(value: int | float, of: int) -> int:
    """A number of layers: the number itself, or a share, rounded to the nearest."""
    return round(value * of) if isinstance(value, float) else value


def broken_rule(teacher: HybridConfig, target: HybridConfig, rules: Rules, space: Space) -> str | None:
    """The name of the first rule that the candidate breaks, None where it breaks none."""
    cut = {axis: 1 - getattr(target, axis) / getattr(teacher, axis) for axis in space.width}
    if rules.max_width_cut is not None and any(share > rules.max_width_cut for share in cut.values()):
        return "max_width_cut"
    if rules.max_depth_cut is not None and 1 - target.num_layers / teacher.num_layers > rules.max_depth_cut:
        return "max_depth_cut"
    if any(getattr(target, name) % multiple for name, multiple in rules.multiples.items()):
        return "multiples"
    if any(getattr(target, name) in sizes for name, sizes in rules.excluded.items()):
        return "excluded"
    if "M" in target.pattern and target.mamba_num_heads * target.mamba_head_dim < rules.min_mamba_channels:
        return "min_mamba_channels"
    gone = 1 - target.num_params() / teacher.num_params()
    if target.mamba_num_heads < teacher.mamba_num_heads and gone < rules.mamba_heads_from_cut:
        return "mamba_heads_from_cut"
    others = [share for axis, share in cut.items() if axis != "d_model"]
    if rules.narrow_d_model and len(others) > 1 and all(others) and not cut.get("d_model", 1.0):
        return "narrow_d_model"
    return None


def _cut(teacher: HybridConfig, target: HybridConfig, axis: str) -> bool:
    return getattr(target, axis) != getattr(teacher, axis)


def _label(teacher: HybridConfig, target: HybridConfig, sizes: Mapping[str, int]) -> str:
    parts = [f"{SHORT.get(axis, axis)}{size}" for axis, size in sorted(sizes.items())]
    if target.num_layers != teacher.num_layers:
        parts.append(f"{target.num_layers}of{teacher.num_layers}")
    return "-".join(parts)
