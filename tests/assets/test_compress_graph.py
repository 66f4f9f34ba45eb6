"""The compression half of the graph: what options of a recipe add to it, and what they cost."""

from dataclasses import replace

import dagster as dg
import pytest

from assets.definitions import build_definitions
from assets.graph import build_graph
from assets.plan import plan
from assets.recipes import Recipe, Student
from assets.recipes.overrides import adopt_teacher
from ops.correct.config import CorrectConfig
from ops.distill.config import LossConfig
from ops.errors import InputError
from ops.merge.config import MergeConfig
from ops.prune.config import PruneConfig, WidthTarget
from ops.teacher_logits.config import TeacherLogitsConfig
from ops.train.config import TrainConfig
from tests.assets.tiny import tiny, tiny_settings


def chained() -> Recipe:
    base = tiny()
    first = base.students[0]
    loss = LossConfig(kind="top_k_kl", top_k=8, tail="bucket")
    again = Student(
        name="smaller",
        description="half of the first student",
        parent=first.name,
        prune=PruneConfig(width=WidthTarget(intermediate_size=0.5)),
        distill=replace(first.distill, teacher="cached", loss=loss),
    )
    correction = CorrectConfig(
        schedule=first.distill.schedule, batch_size=4, seq_len=64, total_tokens=12 * 4 * 64, sample_prompts=()
    )
    logits = TeacherLogitsConfig(num_sequences=48, seq_len=64, top_k=16)
    return replace(base, students=(first, again), correction=correction, teacher_logits=logits)


def test_a_student_of_a_student_learns_from_the_teacher() -> None:
    recipe = chained()
    graph = build_graph(recipe)
    dg.Definitions.validate_loadable(build_definitions(tiny_settings(recipe)))
    cut, learnt = graph["pruned_smaller"].deps, graph["student_smaller"].deps
    assert (cut["teacher"], cut["importance"]) == (("student_width",), ("importance_width",))
    assert graph["importance_width"].deps["teacher"] == ("student_width",)
    assert (learnt["student"], learnt["teacher"]) == (("pruned_smaller",), ("corrected_teacher",))
    assert learnt["teacher_logits"] == ("teacher_logits",)
    assert graph["teacher_logits"].deps["teacher"] == ("corrected_teacher",)
    assert graph["pruned_width"].deps["sorted_teacher"] == ("sorted_teacher",)
    assert "teacher_logits" not in graph["student_width"].deps


def test_a_search_cuts_prefixes_of_the_sorted_teacher_and_its_finalists_learn_from_what_students_learn_from() -> None:
    graph = build_graph(tiny())
    deps = graph["search_memory"].deps
    assert deps["sorted_teacher"] == graph["pruned_memory"].deps["sorted_teacher"] == ("sorted_teacher",)
    assert "teacher" not in deps
    assert deps["distillation_teacher"] == ("teacher",)
    corrected = build_graph(replace(tiny(), correction=chained().correction))
    assert corrected["search_memory"].deps["distillation_teacher"] == ("corrected_teacher",)


def test_students_of_a_merged_teacher_have_nothing_of_the_last_checkpoint() -> None:
    base = chained()
    assert isinstance(base.teacher, TrainConfig)
    kept = replace(base.teacher, keep_every_steps=6)
    recipe = replace(base, teacher=kept, merge=MergeConfig(num_checkpoints=2, every_steps=6), parent="merged_teacher")
    graph = build_graph(recipe)
    dg.Definitions.validate_loadable(build_definitions(tiny_settings(recipe)))
    below = {
        name for name, node in graph.items() if "teacher" in {p for parents in node.deps.values() for p in parents}
    }
    assert below == {"merged_teacher", "evaluation_teacher", "export_teacher", "family_report"}
    assert graph["corrected_teacher"].deps["teacher"] == graph["sorted_teacher"].deps["teacher"] == ("merged_teacher",)
    assert build_graph(replace(recipe, correction=None))["student_width"].deps["teacher"] == ("merged_teacher",)
    with pytest.raises(InputError, match="say which checkpoints make a merged_teacher"):
        replace(recipe, merge=None)
    assert adopt_teacher(recipe).parent == "teacher"


def test_the_plan_counts_every_run() -> None:
    recipe = chained()
    rows = {row.asset: row for row in plan(recipe)}
    assert list(rows) == ["teacher", "corrected_teacher", "teacher_logits", "student_width", "student_smaller"]
    assert rows["corrected_teacher"].flops == rows["teacher"].flops
    assert rows["student_smaller"].params < rows["student_width"].params < rows["teacher"].params
    first, second = (rows[f"student_{name}"] for name in ("width", "smaller"))
    assert first.flops - second.flops > rows["teacher"].flops / 3 * 0.99, "no teacher runs beside the second"


def test_what_cannot_be_is_refused() -> None:
    recipe = chained()
    first, again = recipe.students
    with pytest.raises(InputError, match="its parent 'width' is none of the students before it"):
        replace(recipe, students=(again, first))
    with pytest.raises(InputError, match="'smaller' needs teacher_logits"):
        replace(recipe, teacher_logits=None)
