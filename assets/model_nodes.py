"""The model half of the graph: teacher, students, evaluations, exports."""

from dataclasses import replace

from assets.node import Node
from assets.recipes.recipe import Recipe, Student
from ops.adopt.config import AdoptConfig
from ops.execute import Stage
from ops.search.stages import DISTILL, PRUNE, SEARCH

MODEL = ("finite_weights", "parameter_count")
DATA = {"training_set": ("training_set",), "tokens": ("tokens",)}


def pretrain_nodes(recipe: Recipe) -> list[Node]:
    adopted = isinstance(recipe.teacher, AdoptConfig)
    package = "ops.adopt" if adopted else "ops.train"
    nodes = [
        Node(
            asset="teacher",
            group="pretrain",
            stage=Stage(package=package, version="1" if adopted else "4", observes=adopted, distributed=not adopted),
            config=recipe.teacher,
            deps={"tokenizer": ("tokenizer",)} if adopted else {**DATA, "tokenizer": ("tokenizer",)},
            checks=MODEL if adopted else ("validation_loss_improved", "beats_unigrams", *MODEL),
            description="The parent model: a hybrid Mamba-Transformer in Hugging Face nemotron_h layout.",
            kinds=("pytorch", "huggingface"),
            heavy=True,
            source="teacher" if adopted else None,
            pool="gpu",
        )
    ]
    if recipe.merge is not None:
        nodes.append(
            Node(
                asset="merged_teacher",
                group="pretrain",
                stage=Stage(package="ops.merge", version="1"),
                config=recipe.merge,
                deps={"checkpoint": ("teacher",)},
                checks=MODEL,
                description="The weighted average of the teacher's checkpoints over a window of steps.",
                kinds=("pytorch", "huggingface"),
                heavy=True,
            )
        )
    return nodes


def compress_nodes(recipe: Recipe) -> list[Node]:
    nodes = _distillation_teacher_nodes(recipe)
    parents = sorted({student.parent for student in recipe.students if student.parent is not None})
    nodes += [_importance_node(recipe, parent) for parent in (None, *parents)]
    nodes.append(_sorted_node(recipe))
    for student in recipe.students:
        if student.search is not None:
            nodes.append(_search_node(student, recipe))
        nodes += [_pruned_node(student, recipe), _student_node(student, recipe)]
    return nodes


def _distillation_teacher_nodes(recipe: Recipe) -> list[Node]:
    """What students learn from, where that is not the teacher as it is."""
    nodes = []
    if recipe.correction is not None:
        nodes.append(
            Node(
                asset="corrected_teacher",
                group="compress",
                stage=Stage(package="ops.correct", version="2", distributed=True),
                config=recipe.correction,
                deps={"teacher": (recipe.parent,), "tokenizer": ("tokenizer",), **DATA},
                checks=("validation_loss_improved", *MODEL),
                description="The teacher, further trained on the data that students are distilled on.",
                kinds=("pytorch", "huggingface"),
                heavy=True,
                pool="gpu",
            )
        )
    if recipe.teacher_logits is not None:
        nodes.append(
            Node(
                asset="teacher_logits",
                group="compress",
                stage=Stage(package="ops.teacher_logits", version="2", distributed=True),
                config=recipe.teacher_logits,
                deps={"teacher": (distillation_teacher(recipe),), **DATA},
                checks=("finite",),
                description="What the teacher gives its most likely tokens, kept for students to learn from.",
                kinds=("pytorch",),
                heavy=True,
                pool="gpu",
            )
        )
    return nodes


def distillation_teacher(recipe: Recipe) -> str:
    """The asset that students learn from."""
    return recipe.parent if recipe.correction is None else "corrected_teacher"


def _importance_node(recipe: Recipe, parent: str | None) -> Node:
    return Node(
        asset="importance" if parent is None else f"importance_{parent}",
        group="compress",
        stage=Stage(package="ops.importance", version="4", distributed=True),
        config=recipe.importance,
        deps={"teacher": (_cut_from(parent, recipe),), **DATA},
        checks=("finite",),
        description=f"How much each channel, head and layer of {'the teacher' if parent is None else parent} matters, "
        "from one forward-only pass.",
        kinds=("pytorch",),
        heavy=True,
        pool="gpu",
    )


def _sorted_node(recipe: Recipe) -> Node:
    return Node(
        asset="sorted_teacher",
        group="compress",
        stage=Stage(package="ops.sort_teacher", version="1"),
        config=recipe.sort,
        deps={"teacher": (recipe.parent,), "importance": ("importance",), "tokenizer": ("tokenizer",), **DATA},
        checks=("same_function", "reads_back"),
        description="The teacher with its channels, heads and experts in the order in which students keep them.",
        kinds=("pytorch", "huggingface"),
        heavy=True,
    )


def _cut_from(parent: str | None, recipe: Recipe) -> str:
    return recipe.parent if parent is None else f"student_{parent}"


def _cut(student: Student, recipe: Recipe) -> dict[str, tuple[str, ...]]:
    """What a student is cut from: the sorted teacher, of which it is a prefix, or another student, which has an order
    of its own and is sorted as it is cut; by which scores, and with which tokenizer."""
    if student.parent is None:
        source, importance = {"sorted_teacher": ("sorted_teacher",)}, "importance"
    else:
        source, importance = {"teacher": (_cut_from(student.parent, recipe),)}, f"importance_{student.parent}"
    return {**source, "importance": (importance,), "tokenizer": ("tokenizer",)}


def _search_node(student: Student, recipe: Recipe) -> Node:
    return Node(
        asset=f"search_{student.name}",
        group="compress",
        stage=SEARCH,
        config=student.search,
        deps={**_cut(student, recipe), "distillation_teacher": (distillation_teacher(recipe),), **DATA},
        checks=("within_budget", "costs_hold", "ranking_stable"),
        description=f"Which network to cut, under a budget: {student.description}.",
        kinds=("pytorch",),
        heavy=True,
        pool="gpu",
    )


def _pruned_node(student: Student, recipe: Recipe) -> Node:
    searched = {} if student.search is None else {"search": (f"search_{student.name}",)}
    return Node(
        asset=f"pruned_{student.name}",
        group="compress",
        stage=PRUNE,
        config=student.prune,
        deps={**_cut(student, recipe), **searched},
        checks=("parameter_count", "reloads", "smaller"),
        description=f"{'The teacher' if student.parent is None else student.parent} sorted by importance and sliced: "
        f"{student.description}.",
        kinds=("pytorch", "huggingface"),
        heavy=True,
    )


def _student_node(student: Student, recipe: Recipe) -> Node:
    kept = {"teacher_logits": ("teacher_logits",)} if student.distill.teacher == "cached" else {}
    return Node(
        asset=f"student_{student.name}",
        group="compress",
        stage=DISTILL,
        config=student.distill,
        deps={
            "student": (f"pruned_{student.name}",),
            "teacher": (distillation_teacher(recipe),),
            "tokenizer": ("tokenizer",),
            **DATA,
            **kept,
        },
        checks=("validation_kl_improved", "validation_loss_improved", *MODEL),
        description=f"Distilled from the teacher: {student.description}.",
        kinds=("pytorch", "huggingface"),
        heavy=True,
        pool="gpu",
    )


def checkpoints(recipe: Recipe) -> list[str]:
    """Assets of the family that are evaluated: the teacher, its merged checkpoints where the recipe asks for them, and
    each student before (one whose shape was given) and after distillation."""
    merged = ["merged_teacher"] if recipe.merge is not None else []
    return [
        "teacher",
        *merged,
        *(
            f"{kind}_{student.name}"
            for student in recipe.students
            for kind in (("pruned", "student") if student.search is None else ("student",))
        ),
    ]


def evaluate_nodes(recipe: Recipe) -> list[Node]:
    return [
        Node(
            asset=f"evaluation_{checkpoint}",
            group="evaluate",
            stage=Stage(package="ops.evaluate", version="3"),
            config=recipe.evaluate,
            deps={
                "checkpoint": (checkpoint,),
                "tokenizer": ("tokenizer",),
                "eval_tasks": ("eval_tasks",),
                **DATA,
            },
            checks=("finite", "better_than_uniform"),
            description=f"Bits per byte, tasks, speed and memory of {checkpoint}.",
            kinds=("pytorch",),
            heavy=True,
            pool="gpu",
        )
        for checkpoint in checkpoints(recipe)
    ]


def export_nodes(recipe: Recipe) -> list[Node]:
    return [
        Node(
            asset=f"export_{checkpoint}",
            group="export",
            stage=Stage(package="ops.export", version="1"),
            config=replace(recipe.export, name=f"{recipe.export.name} {recipe.name} {checkpoint.replace('_', ' ')}"),
            deps={"checkpoint": (checkpoint,), "evaluation": (f"evaluation_{checkpoint}",)},
            checks=(*MODEL, "reads_back"),
            description=f"{checkpoint} for transformers and vLLM, with a model card from its record and scores.",
            kinds=("huggingface",),
            heavy=True,
        )
        for checkpoint in checkpoints(recipe)
        if not checkpoint.startswith("pruned_")
    ]
