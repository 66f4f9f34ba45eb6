"""Settings from the environment: which recipe, and how it runs here.

| variable | meaning | default |
|---|---|---|
| STILLHOUSE_RECIPE | name of the recipe | `demo` |
| STILLHOUSE_STORE, STILLHOUSE_SCRATCH, STILLHOUSE_S3_ENDPOINT | the store, see `ops.settings` | `store` |
| STILLHOUSE_WARCS | a folder, file or URL of WARC files to use instead of the recipe's crawls | none |
| STILLHOUSE_CRAWLS | Common Crawl ids, comma-separated, to use instead of the recipe's crawls | none |
| STILLHOUSE_URLS, STILLHOUSE_DOMAINS | what to take from them: a file of URLs; domains, comma-separated | none |
| STILLHOUSE_CC | where Common Crawl lies: `https://data.commoncrawl.org/`, `s3://commoncrawl/` or a copy | the first |
| STILLHOUSE_LLM | a model that cleans behind the rules: URL of an OpenAI-compatible API, or a folder | none: rules |
| STILLHOUSE_LLM_MODEL | its `name@revision`, part of the identity of what it cleans | that of the recipe |
| STILLHOUSE_LLM_ENGINE | what runs a model in a folder: `transformers` or `vllm` | `transformers` |
| STILLHOUSE_LLM_MODE | `rewrite`: it returns the cleaned text; `select`: it scores paragraphs | `rewrite` |
| STILLHOUSE_LLM_API_KEY, STILLHOUSE_LLM_CONCURRENCY | its key; questions at once | none; 16 |
| STILLHOUSE_LLM_TIMEOUT, STILLHOUSE_LLM_RETRIES | seconds for an answer; further attempts | 300; 5 |
| STILLHOUSE_LLM_CACHE | folder or URL where answers are kept for every run | none: for the run under way |
| STILLHOUSE_TEACHER | a Hugging Face `nemotron_h` directory to adopt as the teacher | none: pretrain one |
| STILLHOUSE_LABELS | a file of labelled documents: a classifier trained on them scores the corpus | none: rules do |
| STILLHOUSE_ANNOTATOR | a model that labels documents for such a classifier: URL or folder, as STILLHOUSE_LLM | none |
| STILLHOUSE_ANNOTATOR_MODEL | its `name@revision` | none |
| STILLHOUSE_CLASSIFIER | FineMath's classifier scores the corpus: a folder with its weights, or `cache` | none |
| STILLHOUSE_EVAL | a folder of files of JSON lines to evaluate on instead of the packaged sets | none |
| STILLHOUSE_PINS | `asset=version,...`: artefacts in the store to take instead of the recipe's | none |
| STILLHOUSE_DEVICE | `cpu`, `cuda` | `cpu` |
| STILLHOUSE_PROCESSES | processes for data stages | number of cores |
| STILLHOUSE_THREADS | threads of a training process | number of cores |
| STILLHOUSE_LAUNCH | heavy stages: `inprocess`, `subprocess` or `torchrun` | `subprocess` |
| STILLHOUSE_NPROC | processes per node under torchrun | 1 |
| STILLHOUSE_PARALLEL | training under torchrun: `ddp`, whole models; `fsdp`, each process its rows of one | `ddp` |
| STILLHOUSE_COMPILE | `1`: training compiles its layers with torch.compile | no |
| STILLHOUSE_WATCH | `tensorboard`, `wandb`, comma-separated: who else is shown a training run | none |
| STILLHOUSE_REFERENCE | an earlier training run, its directory: a warning when the loss leaves its curve | none |
| STILLHOUSE_KEEP_STATES | states of a training run that are kept to go on from | 2 |
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

from assets.recipes import RECIPES
from assets.recipes.overrides import adopt_teacher, use_annotator, use_common_crawl, use_eval_files, use_llm, use_warcs
from assets.recipes.recipe import Recipe
from ops.errors import InputError
from ops.quality.config import QualityConfig
from ops.score.config import Classifier
from ops.settings import open_store
from ops.stage import Execution, Parallel
from ops.takedowns import read_takedowns

LaunchMode = Literal["inprocess", "subprocess", "torchrun"]
CACHE = "cache"
"""The local Hugging Face cache, instead of a folder."""
COMMON_CRAWL = "https://data.commoncrawl.org/"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the environment says."""

    recipe: Recipe
    sources: Mapping[str, str] = field(default_factory=dict)
    """`warcs`, `urls`, `llm`, `teacher`, `labels`, `annotator`, `classifier`,
    `eval` -> where it lies."""

    pins: Mapping[str, str] = field(default_factory=dict)
    device: str = "cpu"
    num_processes: int = 1
    threads: int = 1
    launch: LaunchMode = "subprocess"
    nproc: int = 1
    endpoint_url: str | None = None
    parallel: Parallel = "ddp"
    compile: bool = False
    keep_states: int = 2
    watch: tuple[str, ...] = ()
    reference: str | None = None

    def execution(self, source: str | None) -> Execution:
        """How a stage runs here; `source` is the kind of thing it reads outside the store."""
        return Execution(
            device=self.device,
            num_processes=self.num_processes,
            threads=self.threads,
            source=self.sources.get(source) if source else None,
            endpoint_url=self.endpoint_url,
            parallel=self.parallel,
            compile=self.compile,
            keep_states=self.keep_states,
            watch=self.watch,
            reference=self.reference,
        )


def load_settings(env: Mapping[str, str] = os.environ) -> Settings:
    """Read the environment.

    Raises:
        InputError: naming the variable that cannot be used.
    """
    name = env.get("STILLHOUSE_RECIPE") or "demo"
    if name not in RECIPES:
        raise InputError(f"STILLHOUSE_RECIPE: no recipe {name!r}; there are {sorted(RECIPES)}")
    recipe = RECIPES[name]()
    sources: dict[str, str] = {}
    warcs, crawls = env.get("STILLHOUSE_WARCS"), _names(env, "STILLHOUSE_CRAWLS")
    if warcs and crawls:
        raise InputError("STILLHOUSE_WARCS and STILLHOUSE_CRAWLS: set one of them")
    if warcs:
        recipe = use_warcs(recipe)
        sources["warcs"] = warcs
    elif crawls:
        urls = Path(env["STILLHOUSE_URLS"]) if env.get("STILLHOUSE_URLS") else None
        recipe = use_common_crawl(recipe, crawls, urls=urls, domains=_names(env, "STILLHOUSE_DOMAINS"))
        sources["warcs"] = env.get("STILLHOUSE_CC") or COMMON_CRAWL
        if urls:
            sources["urls"] = str(urls)
    takedowns = read_takedowns(open_store(env.get("STILLHOUSE_STORE") or "store"))
    if takedowns:
        recipe = replace(recipe, pages=replace(recipe.pages, takedowns=takedowns))
    engine = env.get("STILLHOUSE_LLM_ENGINE") or "transformers"
    if env.get("STILLHOUSE_LLM"):
        sources["llm"] = env["STILLHOUSE_LLM"]
        model, mode = env.get("STILLHOUSE_LLM_MODEL"), env.get("STILLHOUSE_LLM_MODE") or "rewrite"
        if model:
            recipe = use_llm(recipe, sources["llm"], model, mode, engine)
        elif recipe.clean.llm is None:
            raise InputError(f"STILLHOUSE_LLM: recipe {name!r} names no model; set STILLHOUSE_LLM_MODEL=name@revision")
    if env.get("STILLHOUSE_TEACHER"):
        recipe = adopt_teacher(recipe)
        sources["teacher"] = env["STILLHOUSE_TEACHER"]
    if env.get("STILLHOUSE_LABELS"):
        recipe = replace(recipe, quality=recipe.quality or QualityConfig())
        sources["labels"] = env["STILLHOUSE_LABELS"]
    if env.get("STILLHOUSE_ANNOTATOR"):
        if env.get("STILLHOUSE_LABELS"):
            raise InputError("STILLHOUSE_LABELS and STILLHOUSE_ANNOTATOR: set one of them")
        sources["annotator"] = env["STILLHOUSE_ANNOTATOR"]
        recipe = use_annotator(recipe, sources["annotator"], env.get("STILLHOUSE_ANNOTATOR_MODEL") or "", engine)
    if env.get("STILLHOUSE_CLASSIFIER"):
        if recipe.quality is not None:
            raise InputError("STILLHOUSE_CLASSIFIER: a classifier of labels scores already; set one of them")
        recipe = replace(recipe, score=replace(recipe.score, classifier=recipe.score.classifier or Classifier()))
        if env["STILLHOUSE_CLASSIFIER"] != CACHE:
            sources["classifier"] = env["STILLHOUSE_CLASSIFIER"]
    if env.get("STILLHOUSE_EVAL"):
        recipe = use_eval_files(recipe, Path(env["STILLHOUSE_EVAL"]))
        sources["eval"] = env["STILLHOUSE_EVAL"]
    launch = env.get("STILLHOUSE_LAUNCH") or "subprocess"
    if launch not in get_args(LaunchMode):
        raise InputError(f"STILLHOUSE_LAUNCH: {launch!r} is not one of {list(get_args(LaunchMode))}")
    parallel = env.get("STILLHOUSE_PARALLEL") or "ddp"
    if parallel not in get_args(Parallel):
        raise InputError(f"STILLHOUSE_PARALLEL: {parallel!r} is not one of {list(get_args(Parallel))}")
    return Settings(
        recipe=recipe,
        sources=sources,
        pins=_pins(env.get("STILLHOUSE_PINS", "")),
        device=env.get("STILLHOUSE_DEVICE") or "cpu",
        num_processes=_count(env, "STILLHOUSE_PROCESSES", os.cpu_count() or 1),
        threads=_count(env, "STILLHOUSE_THREADS", os.cpu_count() or 1),
        launch=launch,  # type: ignore[arg-type]
        nproc=_count(env, "STILLHOUSE_NPROC", 1),
        endpoint_url=env.get("STILLHOUSE_S3_ENDPOINT"),
        parallel=parallel,  # type: ignore[arg-type]
        compile=_yes(env, "STILLHOUSE_COMPILE"),
        keep_states=_count(env, "STILLHOUSE_KEEP_STATES", 2),
        watch=_names(env, "STILLHOUSE_WATCH"),
        reference=env.get("STILLHOUSE_REFERENCE"),
    )


def _yes(env: Mapping[str, str], variable: str) -> bool:
    text = env.get(variable) or "0"
    if text not in ("0", "1"):
        raise InputError(f"{variable}: {text!r} is not 0 or 1")
    return text == "1"


def _names(env: Mapping[str, str], variable: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in env.get(variable, "").split(",") if name.strip())


def _pins(text: str) -> dict[str, str]:
    pins = {}
    for item in filter(None, (item.strip() for item in text.split(","))):
        asset, separator, version = item.partition("=")
        if not separator or not version:
            raise InputError(f"STILLHOUSE_PINS: {item!r} is not asset=version")
        pins[asset] = version
    return pins


def _count(env: Mapping[str, str], variable: str, default: int) -> int:
    text = env.get(variable) or str(default)
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"{variable}: {text!r} is not a positive number")
    return int(text)
