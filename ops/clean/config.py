"""What the result of cleaning depends on."""

from dataclasses import dataclass, field
from typing import Literal

from ops.clean.prompts import REWRITE, SELECT
from ops.errors import InputError


def _at_least(config: object, name: str, least: int) -> None:
    if getattr(config, name) < least:
        raise InputError(f"{type(config).__name__}.{name} must be at least {least}, got {getattr(config, name)}")


def _share(config: object, name: str) -> None:
    if not 0 <= getattr(config, name) <= 1:
        raise InputError(f"{type(config).__name__}.{name} must be between 0 and 1, got {getattr(config, name)}")


@dataclass(frozen=True, kw_only=True)
class RuleCleaner:
    """The rule-based cleaner: no model, deterministic, fast."""

    longest_boilerplate: int = 160
    """A line longer than this, in characters, is prose whatever it says."""

    most_repeats: int = 4
    """A line of at least three words that comes more often than this is kept once."""

    least_chars: int = 100
    """Shorter documents are dropped as `too_short` (Gopher, arXiv 2112.11446 A.1, asks for 50 words)."""

    least_alphabetic: float = 0.4
    """A document without formulas and with a smaller share of letters among its visible characters outside code is
    dropped as `no_alphabet`."""

    most_duplicate: float = 0.5
    """A document with a larger share of its characters in repeated paragraphs is dropped as `repetition`
    (Gopher, table A1, uses 0.3 for paragraphs by number and 0.2 by characters; code and tables repeat more)."""

    def __post_init__(self) -> None:
        for name in ("longest_boilerplate", "most_repeats", "least_chars"):
            _at_least(self, name, 1)
        for name in ("least_alphabetic", "most_duplicate"):
            _share(self, name)


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How a model picks its tokens. The default is greedy."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    """0: no limit."""
    min_p: float = 0.0
    seed: int = 0
    max_tokens: int = 8192
    """Longest answer in tokens. An answer that reaches it is rejected as `truncated`."""

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise InputError(f"Sampling.temperature must not be negative, got {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise InputError(f"Sampling.top_p must be above 0 and at most 1, got {self.top_p}")
        _share(self, "min_p")
        _at_least(self, "top_k", 0)
        _at_least(self, "seed", 0)
        _at_least(self, "max_tokens", 1)


@dataclass(frozen=True, kw_only=True)
class LanguageModel:
    """A language model, the engine that runs it, and how it picks its tokens.

    Where the model lies (the URL of an endpoint, a folder) is `Execution.source` and no identity.
    """

    engine: Literal["endpoint", "vllm", "transformers"]
    """An OpenAI-compatible endpoint, vLLM in this process, or transformers in this process. Part of the identity: the
    same model rounds differently in each."""

    model: str
    """Name, such as `microsoft/phi-4`: what an endpoint is asked for."""

    revision: str
    """Commit or digest of the weights."""

    sampling: Sampling = Sampling()

    count_tokens_by: Literal["tokenizer", "estimate"] = "tokenizer"
    """`tokenizer`: the model's own; an endpoint must then answer `/tokenize`, as vLLM's does. `estimate`: one token for
    every three bytes of UTF-8, rounded up (English with placeholders takes about four)."""

    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of the weights, in the engines that run here. An endpoint has its own."""

    def __post_init__(self) -> None:
        for name in ("model", "revision"):
            if not getattr(self, name):
                raise InputError(f"{type(self).__name__}.{name} must be given")


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """How far a model's text may go from what it was given. Formulas are exact whatever stands here: a formula is kept
    to the letter or listed as dropped."""

    max_formulas_dropped: float = 0.2
    """Share of the formulas and code blocks of a chunk (`select`: of a document) that may go with paragraphs that the
    model left out."""

    max_moved: float = 0.0
    """Share of a chunk's placeholders that may stand in another order."""

    max_growth: float = 1.1
    """Longest text outside placeholders, as a multiple of what it was (and 40 characters more)."""

    min_length: float = 0.3
    """Shortest text outside placeholders, as a share of what it was."""

    min_kept: float = 0.7
    """The same for the paragraphs that were not left out: a paragraph may go, but it may not be summarised."""

    max_new_words: float = 0.1
    """Share of the words of an answer that its chunk does not have (and two more)."""

    def __post_init__(self) -> None:
        for name in ("max_formulas_dropped", "max_moved", "min_length", "min_kept", "max_new_words"):
            _share(self, name)
        if self.max_growth < 1:
            raise InputError(f"Tolerance.max_growth must be at least 1, got {self.max_growth}")


@dataclass(frozen=True, kw_only=True)
class LlmCleaner(LanguageModel):
    """A language model that cleans what the rules left, chunk by chunk.

    Chunks whose answer breaks the contract stay as the rules left them.
    """

    mode: Literal["rewrite", "select"] = "rewrite"
    """`rewrite`: the model returns the text as it should be. `select`: it gives each paragraph a likelihood, and
    returns no text at all."""

    prompt: str = ""
    """Empty: `ops.clean.prompts.REWRITE` or `SELECT`, by mode. Always the full text once constructed."""

    chunk_tokens: int = 5000
    """Most tokens of a chunk (`rewrite`), or of a paragraph as it is shown (`select`: the head of a longer one)."""

    threshold: float = 0.0
    """`select`: a paragraph is kept when its log-odds of being part of the article, less those of an empty paragraph,
    are at least this (calibration by an input without content, arXiv 2102.09690)."""

    tolerance: Tolerance = Tolerance()

    def __post_init__(self) -> None:
        if not self.prompt:
            object.__setattr__(self, "prompt", REWRITE if self.mode == "rewrite" else SELECT)
        super().__post_init__()
        needed = "{example}" if self.mode == "rewrite" else "{paragraph}"
        if needed not in self.prompt:
            raise InputError(f"LlmCleaner.prompt must have the field {needed} in mode {self.mode!r}")
        _at_least(self, "chunk_tokens", 16)

    @property
    def name(self) -> str:
        """Mode, engine, model, revision: what rows carry, with the digest of the prompt."""
        return f"{self.mode}-{self.engine}-{self.model}@{self.revision}"


@dataclass(frozen=True, kw_only=True)
class CleanConfig:
    """The rules, and the model that works behind them."""

    rules: RuleCleaner = field(default_factory=RuleCleaner)
    """Run first, on every document. What they leave is the text wherever the model's answer is rejected."""

    llm: LlmCleaner | None = None
    """None: rules alone."""
