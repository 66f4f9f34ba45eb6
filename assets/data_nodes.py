"""The data half of the graph: from the crawl to the training set."""

from dataclasses import replace
from typing import Any

from assets.node import Node
from assets.recipes.recipe import Recipe
from ops.crawl_manifest.config import CommonCrawl, CrawlManifestConfig, SampleSource, WarcFiles
from ops.execute import Stage
from ops.export_corpus import INPUTS as EXPORTED
from ops.quality.config import AnnotatedLabels, FileLabels
from ops.tokenizer.config import FromCheckpoint, TrainBPE
from ops.url_list.config import UrlListConfig


def crawl_nodes(recipe: Recipe) -> list[Node]:
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
            at_partition=lambda config, crawl, bucket: config.at(crawl, bucket),
            source=source,
            pool="network",
        )
    )
    return nodes


def corpus_nodes(recipe: Recipe) -> list[Node]:
    def node(asset: str, package: str, config: Any, parents: dict[str, str], description: str, **more: Any) -> Node:
        return Node(
            asset=asset,
            group=more.pop("group", "corpus"),
            stage=Stage(package=package, version=more.pop("version", "1"), observes=more.pop("observes", False)),
            config=config,
            scope=more.pop("scope", "bucket"),
            deps={name: (parent,) for name, parent in parents.items()},
            checks=more.pop("checks", ("nothing_vanishes",)),
            description=description,
            kinds=more.pop("kinds", ("parquet",)),
            **more,
        )

    classifier: list[Node] = []
    if recipe.annotate is not None:
        classifier.append(
            node(
                "labels",
                "ops.annotate",
                recipe.annotate,
                {"cleaned": "cleaned"},
                "Scores from 0 to 5 that a language model gave a sample of documents.",
                scope="whole",
                observes=True,
                source="annotator",
                checks=("nothing_vanishes", "most_answers_have_a_score"),
                kinds=("json",),
            )
        )
    if recipe.quality is not None:
        annotated = isinstance(recipe.quality.labels, AnnotatedLabels)
        classifier.append(
            node(
                "quality_model",
                "ops.quality",
                recipe.quality,
                {"cleaned": "cleaned", **({"labels": "labels"} if annotated else {})},
                "A classifier of mathematical quality, trained on labels and measured on documents held out.",
                scope="whole",
                observes=True,
                source="labels" if isinstance(recipe.quality.labels, FileLabels) else None,
                checks=("better_than_the_mean",),
                kinds=("numpy",),
            )
        )
    return [
        node(
            "documents",
            "ops.extract",
            recipe.extract,
            {"pages": "pages"},
            "Text with LaTeX, code and tables from the main content of each page.",
            version="4",
            observes=True,
            checks=("nothing_vanishes", "formulas_found", "formulas_by_carrier_add_up"),
        ),
        node(
            "cleaned",
            "ops.clean",
            recipe.clean,
            {"documents": "documents"},
            "Documents without boilerplate; what went is listed with its reason.",
            version="3",
            observes=True,
            source="llm",
            checks=("nothing_vanishes", "formulas_reconcile", "cleaner_kept_the_contract", "chunks_reconcile"),
        ),
        *classifier,
        node(
            "scored",
            "ops.score",
            recipe.score,
            {"cleaned": "cleaned", **({"quality_model": "quality_model"} if classifier else {})},
            "Documents with their language and a 0 to 5 mathematics score.",
            observes=True,
            source="classifier" if recipe.score.classifier is not None else None,
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
        node(
            "formula_ledger",
            "ops.ledger",
            recipe.ledger,
            {name: name for name in ("documents", "cleaned", "scored", "deduplicated", "corpus")},
            "Every formula that was found: its carrier, whether it is valid, and what each stage made of it.",
            checks=("every_formula_accounted", "no_formula_changed", "formulas_valid"),
        ),
    ]


def token_nodes(recipe: Recipe) -> list[Node]:
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
            stage=Stage(package="ops.tokenize", version="3"),
            config=recipe.tokenize,
            scope="bucket",
            deps={"corpus": ("corpus",), "tokenizer": ("tokenizer",)},
            checks=("nothing_vanishes", "lengths_add_up", "ids_in_vocabulary", "eod_ends_documents", "round_trip"),
            description="Megatron and datatrove shards, and a table that leads from each token to its WARC record.",
            kinds=("numpy", "parquet"),
        ),
        Node(
            asset="training_set",
            group="tokens",
            stage=Stage(package="ops.training_set", version="2"),
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


def corpus_export_node(recipe: Recipe) -> Node:
    return Node(
        asset="export_corpus",
        group="export",
        stage=Stage(package="ops.export_corpus", version="1"),
        config=recipe.export_corpus,
        deps={name: (name,) for name in EXPORTED},
        checks=("nothing_vanishes", "files_hold_every_row"),
        description="The corpus for `datasets`, by score, with a dataset card from its records.",
        kinds=("parquet", "huggingface"),
    )
