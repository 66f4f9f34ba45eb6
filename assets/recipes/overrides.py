"""Own input for any recipe: WARC files, crawls of Common Crawl, models that clean, label and score, a checkpoint as the
teacher."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

from assets.recipes.recipe import Recipe
from ops.adopt.config import AdoptConfig
from ops.annotate.config import AnnotateConfig
from ops.clean.config import LanguageModel, LlmCleaner, Sampling
from ops.crawl_manifest.config import CommonCrawl, WarcFiles
from ops.errors import InputError
from ops.eval_tasks.config import TaskSpec
from ops.eval_tasks.documents import format_of
from ops.quality.config import AnnotatedLabels, QualityConfig
from ops.store.files import sha256_of
from ops.tokenizer.config import FromCheckpoint, TokenizerConfig

LOCAL = "LOCAL"
EVAL_SUFFIXES = (".jsonl", ".jsonl.gz", ".json")
ANSWER_TOKENS = 256
"""Of an annotator: two sentences and a score."""
INLINE_URLS = 1000
"""Up to so many addresses stand in the config itself; a longer list is an artefact of its own."""


def use_warcs(recipe: Recipe) -> Recipe:
    """The recipe over the WARC files that the settings name, as one crawl `LOCAL`."""
    return replace(recipe, source=WarcFiles(), crawls=(LOCAL,))


def use_common_crawl(recipe: Recipe, crawls: tuple[str, ...], *, urls: Path | None, domains: tuple[str, ...]) -> Recipe:
    """The recipe over records of Common Crawl, selected by a file of addresses (one a line) or by domains.

    Raises:
        InputError: when neither is given, or the file cannot be read.
    """
    if urls is None and not domains:
        raise InputError("STILLHOUSE_CRAWLS: set STILLHOUSE_URLS or STILLHOUSE_DOMAINS as well, to say what to take")
    if urls is None:
        return replace(recipe, source=CommonCrawl(domains=domains), crawls=crawls)
    if not urls.is_file():
        raise InputError(f"STILLHOUSE_URLS: {urls}: no such file")
    listed = tuple(line.strip() for line in urls.read_text().splitlines() if line.strip())
    if len(listed) > INLINE_URLS:
        return replace(recipe, source=CommonCrawl(url_list_sha256=sha256_of(urls), domains=domains), crawls=crawls)
    return replace(recipe, source=CommonCrawl(urls=listed, domains=domains), crawls=crawls)


def use_eval_files(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe with each file of JSON lines below a folder (`EVAL_SUFFIXES`) as a task, instead of the package's.

    Raises:
        InputError: when there is none, or a first line cannot be read.
    """
    if not folder.is_dir():
        raise InputError(f"STILLHOUSE_EVAL: {folder}: no such folder")
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.name.endswith(EVAL_SUFFIXES)}
    tasks = tuple(
        TaskSpec(
            name=name.removesuffix(".gz").removesuffix(".jsonl").removesuffix(".json").replace("/", "_"),
            path=name,
            source="files",
            format=format_of(path),
        )
        for name, path in sorted(files.items())
    )
    if not tasks:
        raise InputError(f"STILLHOUSE_EVAL: {folder}: no file below it ends in {', '.join(EVAL_SUFFIXES)}")
    return replace(recipe, eval_tasks=replace(recipe.eval_tasks, tasks=tasks))


def use_llm(recipe: Recipe, place: str, model: str, mode: str, engine: str = "transformers") -> Recipe:
    """The recipe with a language model behind the cleaning rules, at a URL (an endpoint) or in a folder (`engine`).

    Raises:
        InputError: when the model is not `name@revision`, or mode or engine are none.
    """
    name, revision = _named(model, "STILLHOUSE_LLM_MODEL")
    if mode not in ("rewrite", "select"):
        raise InputError(f"STILLHOUSE_LLM_MODE: {mode!r} is not rewrite or select")
    llm = LlmCleaner(
        engine=_engine(place, engine),
        model=name,
        revision=revision,
        mode=mode,  # type: ignore[arg-type]
    )
    return replace(recipe, clean=replace(recipe.clean, llm=llm))


def use_annotator(recipe: Recipe, place: str, model: str, engine: str = "transformers") -> Recipe:
    """The recipe with a classifier trained on the labels of a language model, at a URL or in a folder.

    Raises:
        InputError: when the model is not `name@revision`.
    """
    name, revision = _named(model, "STILLHOUSE_ANNOTATOR_MODEL")
    annotator = LanguageModel(
        engine=_engine(place, engine), model=name, revision=revision, sampling=Sampling(max_tokens=ANSWER_TOKENS)
    )
    quality = replace(recipe.quality or QualityConfig(), labels=AnnotatedLabels())
    return replace(recipe, annotate=AnnotateConfig(model=annotator), quality=quality)


def _engine(place: str, engine: str) -> Literal["endpoint", "vllm", "transformers"]:
    if engine not in ("vllm", "transformers"):
        raise InputError(f"STILLHOUSE_LLM_ENGINE: {engine!r} is not vllm or transformers")
    return "endpoint" if place.startswith(("http://", "https://")) else engine  # type: ignore[return-value]


def _named(model: str, variable: str) -> tuple[str, str]:
    name, separator, revision = model.rpartition("@")
    if not separator or not name or not revision:
        raise InputError(f"{variable}: {model!r} is not name@revision")
    return name, revision


def adopt_teacher(recipe: Recipe) -> Recipe:
    """The recipe with a checkpoint of the user's as teacher, and its tokenizer."""
    tokenizer = TokenizerConfig(source=FromCheckpoint())
    return replace(recipe, teacher=AdoptConfig(), merge=None, parent="teacher", evidence=None, tokenizer=tokenizer)
