"""A recipe: everything that decides what comes out, one frozen config per stage."""

from dataclasses import dataclass
from typing import Literal

from ops.adopt.config import AdoptConfig
from ops.annotate.config import AnnotateConfig
from ops.clean.config import CleanConfig
from ops.correct.config import CorrectConfig
from ops.crawl_manifest.config import CommonCrawl, SampleSource, WarcFiles
from ops.crawl_pages.config import CrawlPagesConfig
from ops.decontaminate.config import DecontaminateConfig
from ops.dedup_clusters.config import DedupClustersConfig
from ops.deduplicate.config import DeduplicateConfig
from ops.distill.config import DistillConfig
from ops.errors import InputError
from ops.eval_tasks.config import EvalTasksConfig
from ops.evaluate.config import EvaluateConfig
from ops.evidence.config import EvidenceConfig
from ops.export.config import ExportConfig
from ops.export_corpus.config import ExportCorpusConfig
from ops.extract.config import ExtractConfig
from ops.importance.config import ImportanceConfig
from ops.ledger.config import LedgerConfig
from ops.merge.config import MergeConfig, check_kept
from ops.minhash.config import MinHashConfig
from ops.prune.config import PruneConfig
from ops.quality.config import AnnotatedLabels, QualityConfig
from ops.sample_crawl.config import SampleCrawlConfig
from ops.score.config import ScoreConfig
from ops.search.config import SearchConfig
from ops.sort_teacher.config import SortConfig
from ops.teacher_logits.config import TeacherLogitsConfig
from ops.tokenize.config import TokenizeConfig
from ops.tokenizer.config import TokenizerConfig
from ops.train.config import TrainConfig
from ops.training_set.config import TrainingSetConfig

MAX_BUCKETS = 99
"""Dagster stops comparing data versions on an edge with 100 upstream partitions or more."""


@dataclass(frozen=True, kw_only=True)
class Student:
    """One member of the family: how it is cut from the teacher and how it learns from it."""

    name: str
    description: str
    prune: PruneConfig
    distill: DistillConfig
    parent: str | None = None
    """The student that it is cut from (None: the recipe's parent). It learns from that all the same: cuts of more than
    half go better in steps, from 15B by 8B to 4B in Minitron (arXiv 2407.14679, section 4.4)."""

    search: SearchConfig | None = None
    """How its shape is searched (None: `prune` says it)."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One family of models, from its crawls to its report."""

    name: str
    description: str
    source: SampleSource | WarcFiles | CommonCrawl
    crawls: tuple[str, ...]
    num_buckets: int
    """Buckets of a crawl: each a fixed set of WARC files or index rows."""

    sample_crawl: SampleCrawlConfig = SampleCrawlConfig()
    pages: CrawlPagesConfig = CrawlPagesConfig(bucket=0)
    extract: ExtractConfig = ExtractConfig()
    clean: CleanConfig = CleanConfig()
    annotate: AnnotateConfig | None = None
    """A language model labels a sample of documents for the classifier."""

    quality: QualityConfig | None = None
    """A classifier trained on labels scores the documents; None: rules do."""

    score: ScoreConfig = ScoreConfig()
    minhash: MinHashConfig = MinHashConfig()
    dedup_clusters: DedupClustersConfig = DedupClustersConfig()
    deduplicate: DeduplicateConfig = DeduplicateConfig()
    eval_tasks: EvalTasksConfig = EvalTasksConfig()
    decontaminate: DecontaminateConfig = DecontaminateConfig()
    ledger: LedgerConfig = LedgerConfig()
    tokenizer: TokenizerConfig = TokenizerConfig()
    tokenize: TokenizeConfig = TokenizeConfig()
    training_set: TrainingSetConfig = TrainingSetConfig()
    teacher: TrainConfig | AdoptConfig = TrainConfig()
    merge: MergeConfig | None = None
    """Which checkpoints of the teacher are averaged into a model of its own, `merged_teacher`; None: no such model."""

    parent: Literal["teacher", "merged_teacher"] = "teacher"
    """What students are cut from, and learn from where there is no correction."""

    importance: ImportanceConfig = ImportanceConfig()
    correction: CorrectConfig | None = None
    """How the parent learns on before students learn from it, as `corrected_teacher`; None: it does not."""

    teacher_logits: TeacherLogitsConfig | None = None
    """What is kept of the logits that they learn from for students whose `distill.teacher` is `cached`."""

    sort: SortConfig = SortConfig()
    """The order of the sorted teacher, which all students are cut from."""

    students: tuple[Student, ...]
    evaluate: EvaluateConfig = EvaluateConfig()
    evidence: EvidenceConfig | None = None
    """The experiments behind the compression, on small networks of their own (`make evidence`)."""

    export: ExportConfig = ExportConfig(name="Stillhouse")
    """Its name is the first word of every model's."""

    export_corpus: ExportCorpusConfig = ExportCorpusConfig()

    def __post_init__(self) -> None:
        if not 1 <= self.num_buckets <= MAX_BUCKETS:
            raise InputError(f"recipe {self.name!r}: num_buckets must be 1 to {MAX_BUCKETS}, got {self.num_buckets}")
        if not self.crawls or len(set(self.crawls)) != len(self.crawls):
            raise InputError(f"recipe {self.name!r}: crawls must be given, each once, got {self.crawls}")
        if self.merge is not None:
            if not isinstance(self.teacher, TrainConfig):
                raise InputError(f"recipe {self.name!r}: merge: an adopted teacher has no checkpoints to merge")
            check_kept(self.merge, self.teacher.kept_steps, self.teacher.num_steps)
        if self.parent not in ("teacher", "merged_teacher"):
            raise InputError(f"recipe {self.name!r}: parent: {self.parent!r} is not teacher or merged_teacher")
        if self.parent == "merged_teacher" and self.merge is None:
            raise InputError(f"recipe {self.name!r}: parent: say which checkpoints make a merged_teacher, as `merge`")
        annotated = self.quality is not None and isinstance(self.quality.labels, AnnotatedLabels)
        if annotated != (self.annotate is not None):
            raise InputError(f"recipe {self.name!r}: `annotate` and a `quality` with AnnotatedLabels go together")
        names = [student.name for student in self.students]
        if len(set(names)) != len(names):
            raise InputError(f"recipe {self.name!r}: two students have the same name: {names}")
        for index, student in enumerate(self.students):
            if student.parent is not None and student.parent not in names[:index]:
                raise InputError(
                    f"recipe {self.name!r}: student {student.name!r}: its parent {student.parent!r} is none of the "
                    f"students before it: {names[:index]}"
                )
            if student.search is not None and student.prune != PruneConfig():
                raise InputError(
                    f"recipe {self.name!r}: student {student.name!r} has a search, so its prune must be PruneConfig(): "
                    "scores to cut by are the search's `base`"
                )
            if student.distill.teacher == "cached" and self.teacher_logits is None:
                raise InputError(f"recipe {self.name!r}: student {student.name!r} needs teacher_logits of the recipe")
        for student in self.students:
            prune = student.prune if student.search is None else student.search.base
            for name in ("mamba_head_score", "expert_score"):
                wanted, sorted_by = getattr(prune, name), getattr(self.sort, name)
                if student.parent is None and wanted != sorted_by:
                    raise InputError(
                        f"recipe {self.name!r}: student {student.name!r} asks for {name} {wanted!r}, its teacher is "
                        f"sorted by {sorted_by!r}: change Recipe.sort, or give it a recipe of its own"
                    )
