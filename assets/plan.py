"""What a recipe would cost before anything runs: parameters, tokens, FLOPs, GPU-hours, storage.

`python -m assets.plan --recipe nano_9b_v2`; without `--recipe`, the recipe of the settings.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from assets.recipes import RECIPES
from assets.recipes.recipe import Recipe, Student
from assets.settings import load_settings
from model.config import HybridConfig
from ops.errors import StillhouseError
from ops.train.config import RunConfig, TrainConfig

H100_BF16_TFLOPS = 989.0
"""Dense bf16 peak of an H100 SXM, vendor's figure."""

STATE_BYTES_PER_PARAM = 16
"""fp32 weights, two moments and gradients: what a resumable checkpoint of a run under way holds, rounded up."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One model of the family."""

    asset: str
    params: int
    at_most: bool
    tokens: int
    steps: int
    flops: float


def plan(recipe: Recipe) -> list[Row]:
    """A row for each model that is trained.

    Raises:
        InputError: when a student cannot be cut from the teacher.
    """
    teacher = recipe.teacher
    if not isinstance(teacher, TrainConfig):
        raise StillhouseError("the teacher of this recipe is adopted: its size is known once it is in the store")
    rows = [_row("teacher", teacher.model, teacher)]
    if recipe.correction is not None:
        rows.append(_row("corrected_teacher", teacher.model, recipe.correction))
    if (logits := recipe.teacher_logits) is not None:
        tokens = logits.num_sequences * logits.seq_len
        flops = float(tokens * teacher.model.flops_per_token(logits.seq_len))
        rows.append(
            Row(
                asset="teacher_logits",
                params=teacher.model.num_params(),
                at_most=False,
                tokens=tokens,
                steps=-(-logits.num_sequences // logits.batch_size),
                flops=flops,
            )
        )
    shapes: dict[str | None, tuple[HybridConfig, bool]] = {None: (teacher.model, False)}
    for student in recipe.students:
        parent, uncertain = shapes[student.parent]
        config, at_most = student_config(parent, student)
        shapes[student.name] = config, at_most or uncertain
        alone = student.distill.teacher == "cached" or student.distill.loss.kind == "cross_entropy"
        reading = 0 if alone else teacher.model.flops_per_token(student.distill.seq_len)
        rows.append(
            _row(f"student_{student.name}", config, student.distill, reading=reading, at_most=at_most or uncertain)
        )
    return rows


def _row(asset: str, config: HybridConfig, run: RunConfig, *, reading: int = 0, at_most: bool = False) -> Row:
    """A run that trains a network of this shape; `reading`: FLOPs per token of a teacher beside it."""
    tokens = run.num_steps * run.tokens_per_step
    return Row(
        asset=asset,
        params=config.num_params(),
        at_most=at_most,
        tokens=tokens,
        steps=run.num_steps,
        flops=float(config.training_flops_per_token(run.seq_len) + reading) * tokens,
    )


def student_config(teacher: HybridConfig, student: Student) -> tuple[HybridConfig, bool]:
    """The student's shape. Which layers go is known only after importance, and what a search chooses after it: then the
    largest shape, and True."""
    from dataclasses import replace

    from ops.prune.target import resolve_layers, resolve_width

    if student.search is not None:
        return teacher, True

    narrow = resolve_width(teacher, student.prune.width)
    cheapest_first = sorted(range(narrow.num_layers), key=lambda index: narrow.layer_params(narrow.pattern[index]))
    kept = resolve_layers(narrow.pattern, student.prune.depth, cheapest_first)
    certain = set(student.prune.depth.keep) >= set(teacher.pattern) or len(kept) == teacher.num_layers
    return replace(narrow, pattern="".join(narrow.pattern[index] for index in kept)), not certain


def render(recipe: Recipe, *, tflops: float, mfu: float, processes: int = 8) -> str:
    """The plan as text; memory is that of the teacher's run on so many GPUs."""
    from ops.train.plan import render as memory_lines

    rows = plan(recipe)
    lines = [f"{recipe.name}: {recipe.description}", ""]
    lines.append(
        f"{'model':<20}{'parameters':>14}{'tokens':>10}{'steps':>10}{'FLOPs':>11}{'GPU-hours':>15}{'weights':>11}"
    )
    for row in rows:
        hours = row.flops / (tflops * 1e12 * mfu) / 3600
        params = ("<= " if row.at_most else "") + amount(row.params)
        cells = f"{params:>14}{amount(row.tokens):>10}{row.steps:>10,}{row.flops:>11.2e}{hours:>15,.2f}"
        lines.append(f"{row.asset:<20}{cells}{amount(2 * row.params) + 'B':>11}")
    total = sum(row.flops for row in rows)
    vocabulary = max(row.params for row in rows)
    longest = max(row.tokens for row in rows)
    lines += [
        f"{'in all':<20}{'':>34}{total:>11.2e}{total / (tflops * 1e12 * mfu) / 3600:>15,.2f}",
        "",
        f"GPU-hours at {tflops:g} TFLOP/s peak and {mfu:.0%} of it. Weights in bf16.",
        f"Storage: at most {amount(4 * longest)}B of token shards (4 bytes a token, if none is read twice), "
        f"{amount(STATE_BYTES_PER_PARAM * vocabulary)}B of state for each checkpoint of the largest run under way.",
        f"Data: {len(recipe.crawls)} crawls x {recipe.num_buckets} buckets, source {type(recipe.source).__name__}.",
    ]
    if isinstance(recipe.teacher, TrainConfig):
        lines += ["", f"Teacher, {recipe.teacher.micro_batch_size or 'all'} sequences of a process at a time:"]
        lines += memory_lines(recipe.teacher, recipe.teacher.model, processes=processes)
    return "\n".join(lines)


def amount(value: float) -> str:
    """A number with a metric prefix."""
    for limit, suffix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.2f} {suffix}"
    return f"{value:.0f} "


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m assets.plan", description=__doc__)
    parser.add_argument("--recipe", choices=sorted(RECIPES), help="default: the recipe of the settings")
    parser.add_argument("--tflops", type=float, default=H100_BF16_TFLOPS, help="peak of one GPU, in TFLOP/s")
    parser.add_argument("--mfu", type=float, default=0.4, help="share of the peak that training reaches")
    parser.add_argument("--processes", type=int, default=8, help="GPUs that the teacher's run is shared by")
    arguments = parser.parse_args(argv)
    try:
        recipe = RECIPES[arguments.recipe]() if arguments.recipe else load_settings().recipe
        print(render(recipe, tflops=arguments.tflops, mfu=arguments.mfu, processes=arguments.processes))
    except StillhouseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
