"""The graph: which artefacts exist, which stage makes each, what feeds it. Dagster's assets are a view of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from assets.recipes.recipe import Recipe
from ops.adopt.config import AdoptConfig
from ops.crawl_manifest.config import CommonCrawl, CrawlManifestConfig, SampleSource, WarcFiles
from ops.execute import Stage
from ops.report.config import ReportConfig
from ops.tokenizer.config import FromCheckpoint, TrainBPE
from ops.url_list.config import UrlListConfig

Scope = Literal["whole", "crawl", "bucket"]
"""One artefact in all, one per crawl, or one per crawl and bucket."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """One asset: its stage, its part of the recipe and its parents."""

    asset: str
    group: str
    stage: Stage
    config: Any
    scope: Scope = "whole"
    deps: Mapping[str, tuple[str, ...]]
    """Input of the stage -> the assets behind it."""

    checks: tuple[str, ...]
    """Names of the checks that the stage reports."""

    description: str
    kinds: tuple[str, ...]
    at_partition: Callable[[Any, str, str], Any] | None = None
    """(config, crawl, bucket) -> config, when the stage must know its partition."""

    heavy: bool = False
    """Imports torch: runs in a child process, in the `gpu` pool."""

    source: str | None = None
    """Which setting names what it reads outside the store (`warcs`, `teacher`, `eval`), if it does."""

    pool: str | None = None

    def config_at(self, partition: str | None) -> Any:
        """The stage's config for one partition (`CRAWL` or `CRAWL|BUCKET`)."""
        if self.at_partition is None or partition is None:
            return self.config
        crawl, _, bucket = partition.partition("|")
        return self.at_partition(self.config, crawl, bucket)

    @property
    def code_version(self) -> str:
        return self.stage.code_version(self.config)


def build_graph(recipe: Recipe) -> dict[str, Node]:
    """All nodes of a recipe by asset name, parents before children."""
    nodes = [*_crawl(recipe), *_corpus(recipe), *_tokens(recipe), *_pretrain(recipe), *_compress(recipe)]
    nodes += _evaluate(recipe)
    nodes.append(_report(nodes, recipe))
    graph = {node.asset: node for node in nodes}
    if len(graph) != len(nodes):
        raise ValueError("two nodes have the same asset name")
    return graph


def _crawl(recipe: Recipe) -> list[Node]:
    nodes: list[Node] = []
    sampled = {"sample_crawl": ("sample_crawl",)} if isinstance(recipe.source, SampleSource) else {}
    source = "warcs" if isinstance(recipe.source, WarcFiles | CommonCrawl) else None
    selected = isinstance(recipe.source, CommonCrawl)
    list_sha256 = recipe.source.url_list_sha256 if isinstance(recipe.source, CommonCrawl) else None
    if list_sha256:
        nodes.append(
            Node(
                asset="url_list",
                group="crawl",
                stage=Stage(package="ops.url_list", version="1"),
                config=UrlListConfig(sha256=list_sha256),
                deps={},
                checks=("not_empty",),
                description="The addresses to take from Common Crawl.",
                kinds=("file",),
                source="urls",
            )
        )
    if sampled:
        nodes.append(
            Node(
                asset="sample_crawl",
                group="crawl",
                stage=Stage(package="ops.sample_crawl", version="1", observes=True),
                config=recipe.sample_crawl,
                deps={},
                checks=("every_carrier_present",),
                description="WARC files rendered from the documentation of installed packages, with planted faults.",
                kinds=("python",),
            )
        )
    nodes.append(
        Node(
            asset="crawl_manifest",
            group="crawl",
            stage=Stage(package="ops.crawl_manifest", version="1", observes=True),
            config=CrawlManifestConfig(crawl=recipe.crawls[0], source=recipe.source, num_buckets=recipe.num_buckets),
            scope="crawl",
            deps={"url_list": ("url_list",)} if list_sha256 else sampled,
            checks=("not_empty", "nothing_vanishes", "everything_found") if selected else ("not_empty",),
            description="What belongs to a crawl: its WARC files or selected index rows, each in its bucket.",
            kinds=("parquet", "polars"),
            at_partition=lambda config, crawl, _: replace(config, crawl=crawl),
            source=source,
            pool="network",
        )
    )
    nodes.append(
        Node(
            asset="pages",
            group="crawl",
            stage=Stage(package="ops.crawl_pages", version="1"),
            config=recipe.pages,
            scope="bucket",
            deps={"crawl_manifest": ("crawl_manifest",), **sampled},
            checks=("nothing_vanishes", "every_record_accounted", "every_byte_accounted", "payload_digests"),
            description="HTML pages from WARC records, each with its file, offset and digest.",
            kinds=("parquet",),
            at_partition=lambda config, _, bucket: replace(config, bucket=int(bucket)),
            source=source,
            pool="network",
        )
    )
    return nodes


def _corpus(recipe: Recipe) -> list[Node]:
    def node(asset: str, package: str, config: Any, parents: dict[str, str], description: str, **more: Any) -> Node:
        return Node(
            asset=asset,
            group=more.pop("group", "corpus"),
            stage=Stage(package=package, version="1", observes=more.pop("observes", False)),
            config=config,
            scope=more.pop("scope", "bucket"),
            deps={name: (parent,) for name, parent in parents.items()},
            checks=more.pop("checks", ("nothing_vanishes",)),
            description=description,
            kinds=more.pop("kinds", ("parquet",)),
            **more,
        )

    return [
        node(
            "documents",
            "ops.extract",
            recipe.extract,
            {"pages": "pages"},
            "Text with LaTeX, code and tables from the main content of each page.",
            checks=("nothing_vanishes", "formulas_found", "formulas_by_carrier_add_up"),
        ),
        node(
            "cleaned",
            "ops.clean",
            recipe.clean,
            {"documents": "documents"},
            "Documents without boilerplate, every formula kept or listed.",
            checks=("nothing_vanishes", "formulas_reconcile", "cleaner_kept_the_contract"),
        ),
        node(
            "scored",
            "ops.score",
            recipe.score,
            {"cleaned": "cleaned"},
            "Documents with their language and a 0 to 5 mathematics score.",
            observes=True,
        ),
        node(
            "minhash",
            "ops.minhash",
            recipe.minhash,
            {"scored": "scored"},
            "Exact digests and MinHash signatures.",
            kinds=("parquet", "numpy"),
        ),
        node(
            "dedup_clusters",
            "ops.dedup_clusters",
            recipe.dedup_clusters,
            {"minhash": "minhash"},
            "Clusters of duplicates over all crawls, each with its survivor.",
            scope="whole",
            checks=("nothing_vanishes", "similar_to_survivor"),
        ),
        node(
            "deduplicated",
            "ops.deduplicate",
            recipe.deduplicate,
            {"scored": "scored", "dedup_clusters": "dedup_clusters"},
            "One document of each cluster.",
        ),
        node(
            "eval_tasks",
            "ops.eval_tasks",
            recipe.eval_tasks,
            {},
            "Evaluation items: what the models are measured on and the corpus is kept clean of.",
            group="evaluate",
            scope="whole",
            observes=True,
            source="eval",
            checks=("every_task_has_documents",),
        ),
        node(
            "corpus",
            "ops.decontaminate",
            recipe.decontaminate,
            {"deduplicated": "deduplicated", "eval_tasks": "eval_tasks"},
            "The corpus: documents that hold no evaluation item.",
        ),
    ]


def _tokens(recipe: Recipe) -> list[Node]:
    adopted = isinstance(recipe.tokenizer.source, FromCheckpoint)
    trained = isinstance(recipe.tokenizer.source, TrainBPE)
    return [
        Node(
            asset="tokenizer",
            group="tokens",
            stage=Stage(package="ops.tokenizer", version="1", observes=True),
            config=recipe.tokenizer,
            deps={"corpus": ("corpus",)},
            checks=("round_trip", "vocabulary_full") if trained else ("round_trip",),
            description="Byte-level BPE trained on the corpus, or a named one.",
            kinds=("huggingface",),
            source="teacher" if adopted else None,
        ),
        Node(
            asset="tokens",
            group="tokens",
            stage=Stage(package="ops.tokenize", version="1"),
            config=recipe.tokenize,
            scope="bucket",
            deps={"corpus": ("corpus",), "tokenizer": ("tokenizer",)},
            checks=("nothing_vanishes", "lengths_add_up", "ids_in_vocabulary", "eod_ends_documents", "round_trip"),
            description="Megatron .bin/.idx shards and a table that leads from each token to its WARC record.",
            kinds=("numpy", "parquet"),
        ),
        Node(
            asset="training_set",
            group="tokens",
            stage=Stage(package="ops.training_set", version="1"),
            config=recipe.training_set,
            deps={"tokens": ("tokens",)},
            checks=(
                "nothing_vanishes",
                "no_cluster_straddles",
                "training_not_empty",
                "validation_not_empty",
                "phase_2_not_empty",
            ),
            description="Which document trains in which phase and which is held out.",
            kinds=("parquet",),
        ),
    ]


MODEL = ("finite_weights", "parameter_count")
DATA = {"training_set": ("training_set",), "tokens": ("tokens",)}


def _pretrain(recipe: Recipe) -> list[Node]:
    adopted = isinstance(recipe.teacher, AdoptConfig)
    package = "ops.adopt" if adopted else "ops.train"
    return [
        Node(
            asset="teacher",
            group="pretrain",
            stage=Stage(package=package, version="1", observes=adopted),
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


def _compress(recipe: Recipe) -> list[Node]:
    nodes = [
        Node(
            asset="importance",
            group="compress",
            stage=Stage(package="ops.importance", version="1"),
            config=recipe.importance,
            deps={"teacher": ("teacher",), **DATA},
            checks=("finite",),
            description="How much each channel, head and layer of the teacher matters, from one forward-only pass.",
            kinds=("pytorch",),
            heavy=True,
            pool="gpu",
        )
    ]
    for student in recipe.students:
        nodes.append(
            Node(
                asset=f"pruned_{student.name}",
                group="compress",
                stage=Stage(package="ops.prune", version="1"),
                config=student.prune,
                deps={"teacher": ("teacher",), "importance": ("importance",), "tokenizer": ("tokenizer",)},
                checks=("parameter_count", "reloads", "smaller"),
                description=f"The teacher sorted by importance and sliced: {student.description}.",
                kinds=("pytorch", "huggingface"),
                heavy=True,
            )
        )
        nodes.append(
            Node(
                asset=f"student_{student.name}",
                group="compress",
                stage=Stage(package="ops.distill", version="1"),
                config=student.distill,
                deps={
                    "student": (f"pruned_{student.name}",),
                    "teacher": ("teacher",),
                    "tokenizer": ("tokenizer",),
                    **DATA,
                },
                checks=("validation_kl_improved", "validation_loss_improved", *MODEL),
                description=f"Distilled from the teacher: {student.description}.",
                kinds=("pytorch", "huggingface"),
                heavy=True,
                pool="gpu",
            )
        )
    return nodes


def checkpoints(recipe: Recipe) -> list[str]:
    """Assets of the family that are evaluated: the teacher and each student before and after distillation."""
    return ["teacher", *(f"{kind}_{student.name}" for student in recipe.students for kind in ("pruned", "student"))]


def _evaluate(recipe: Recipe) -> list[Node]:
    return [
        Node(
            asset=f"evaluation_{checkpoint}",
            group="evaluate",
            stage=Stage(package="ops.evaluate", version="1"),
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


def _report(nodes: list[Node], recipe: Recipe) -> Node:
    deps = {node.asset: (node.asset,) for node in nodes}
    return Node(
        asset="family_report",
        group="evaluate",
        stage=Stage(package="ops.report", version="1"),
        config=ReportConfig(recipe=recipe.name, checkpoints=tuple(checkpoints(recipe))),
        deps=deps,
        checks=("lineage_complete", "nothing_vanishes"),
        description="The family on one page: quality against size and speed, lineage, drops and costs.",
        kinds=("html",),
    )
