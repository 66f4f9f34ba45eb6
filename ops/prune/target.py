"""From what a user asks for to a valid configuration and the layers that stay."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import fields, replace

from model.config import HybridConfig
from model.slicing import GROUPS, validate_target, width_axes
from ops.errors import InputError
from ops.prune.config import DepthTarget, WidthTarget

CHANNEL_MULTIPLE = 8
"""Shares of channel axes are rounded down to a multiple of this, or of the largest power of two below it that fits."""


def resolve_width(parent: HybridConfig, width: WidthTarget) -> HybridConfig:
    """The teacher's configuration with the sizes of the target.

    Shares of head counts are rounded down to the same number in every group (at least one), shares of channels to
    multiples of `CHANNEL_MULTIPLE`.

    Raises:
        InputError: for a size that the teacher cannot be cut to, naming the field.
    """
    sizes: dict[str, int] = {}
    present = width_axes(parent)
    for item in fields(width):
        wanted, size = getattr(width, item.name), getattr(parent, item.name)
        if wanted is None:
            continue
        if item.name not in present:
            raise InputError(
                f"PruneConfig.width.{item.name}: no layer of the teacher {parent.pattern!r} has it; what can be cut "
                f"is {', '.join(present)}"
            )
        if isinstance(wanted, float):
            wanted = size if wanted == 1 else _rounded(int(wanted * size), parent, item.name)
        sizes[item.name] = wanted
    try:
        target = replace(parent, **sizes)
        validate_target(parent, target)
    except ValueError as error:
        raise InputError(f"PruneConfig.width: {error}") from error
    return target


def _rounded(wanted: int, parent: HybridConfig, axis: str) -> int:
    if axis in GROUPS:
        groups = getattr(parent, GROUPS[axis])
        return max(1, wanted // groups) * groups
    unit = min(CHANNEL_MULTIPLE, 1 << (max(wanted, 1).bit_length() - 1))
    return max(1, wanted) // unit * unit


def resolve_layers(pattern: str, depth: DepthTarget, removal_order: Sequence[int]) -> list[int]:
    """The layers that stay, ascending: the target's numbers, met by removing the first of `removal_order` that may go.

    Raises:
        InputError: when the numbers cannot be met.
    """
    have = Counter(pattern)
    for kind, count in depth.keep.items():
        if count > have[kind]:
            raise InputError(f"PruneConfig.depth.keep: {count} layers {kind!r} of only {have[kind]}")
    excess = {kind: have[kind] - count for kind, count in depth.keep.items()}
    free = 0 if depth.num_layers is None else len(pattern) - depth.num_layers - sum(excess.values())
    others = sum(count for kind, count in have.items() if kind not in depth.keep)
    if not 0 <= free <= others or free + sum(excess.values()) >= len(pattern):
        raise InputError(
            f"PruneConfig.depth: num_layers {depth.num_layers} with keep {dict(sorted(depth.keep.items()))} "
            f"cannot be met by the {len(pattern)} layers {pattern!r}"
        )
    removed = set()
    for index in removal_order:
        kind = pattern[index]
        if kind in excess:
            if excess[kind]:
                excess[kind] -= 1
                removed.add(index)
        elif free:
            free -= 1
            removed.add(index)
    return [index for index in range(len(pattern)) if index not in removed]
