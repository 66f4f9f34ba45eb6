"""A sequence classifier with one output, such as FineMath's `HuggingFaceTB/finemath-classifier`, as a scorer.

Read by transformers from a folder, or by name from the local Hugging Face cache; nothing is downloaded. The text is
cropped for it (to the middle 2 x 10,000 characters, then to the first 512 tokens of those), the document is kept whole.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ops.errors import InputError
from ops.score.config import Classifier
from ops.score.excerpt import crop

HIGHEST_SCORE = 5.0
WEIGHTS = ("*.safetensors", "*.json", "*.txt", "*.model")
"""Files that decide a score; pickles are not read."""
NEEDS_TRANSFORMERS = "classifier {name}: needs the package transformers (extra `llm`)"


class TrainedElsewhere:
    """Scores of texts from 0 to 5. Batches depend on the texts alone, not on what was scored before."""

    def __init__(self, config: Classifier, source: str | None, *, device: str = "cpu") -> None:
        """
        Raises:
            InputError: when the weights are not there, are no classifier with one output, or a package is missing.
        """
        import torch

        self._config, self._device = config, device
        folder = locate(config, source)
        try:
            from transformers import AutoModelForSequenceClassification, AutoTokenizer
        except ImportError as error:
            raise InputError(
                f"classifier {config.name}: needs the package transformers (extra `llm`): {error}"
            ) from error
        local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(folder, **local)
            loaded: Any = AutoModelForSequenceClassification.from_pretrained(
                folder, dtype=getattr(torch, config.dtype), use_safetensors=True, **local
            )
        except (OSError, ValueError) as error:
            raise InputError(f"{folder}: transformers cannot load the classifier {config.name}: {error}") from error
        if loaded.config.num_labels != 1:
            raise InputError(f"{folder}: the classifier has {loaded.config.num_labels} outputs, a score needs one")
        self._model = loaded.to(device).eval()

    def score(self, texts: Sequence[str], max_chars: int) -> list[float]:
        """The score of each text, clipped to 0..5, to 4 digits."""
        cropped = [crop(text, max_chars) for text in texts]
        ids = self._tokenizer(cropped, truncation=True, max_length=self._config.max_tokens)["input_ids"]
        scores = [0.0] * len(texts)
        for batch in self._batches([len(row) for row in ids]):
            for index, score in zip(batch, self._forward([ids[index] for index in batch]), strict=True):
                scores[index] = round(min(max(score, 0.0), HIGHEST_SCORE), 4)
        return scores

    def _batches(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        order = sorted(range(len(lengths)), key=lambda index: (lengths[index], index))
        for start in range(0, len(order), self._config.batch_size):
            yield order[start : start + self._config.batch_size]

    def _forward(self, ids: list[list[int]]) -> list[float]:
        import torch

        padded = self._tokenizer.pad({"input_ids": ids}, return_tensors="pt").to(self._device)
        with torch.inference_mode():
            logits_B1 = self._model(**padded).logits
        return logits_B1[:, 0].float().tolist()


def locate(config: Classifier, source: str | None) -> Path:
    """The folder of the weights: `source`, or the revision in the local Hugging Face cache.

    Raises:
        InputError: when it is in neither place.
    """
    if source:
        folder = Path(source)
        if not (folder / "config.json").is_file():
            raise InputError(f"{folder}: holds no config.json, so no classifier {config.name}")
        return folder
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError as error:
        raise InputError(NEEDS_TRANSFORMERS.format(name=config.name)) from error
    found = try_to_load_from_cache(config.name, "config.json", revision=config.revision)
    if not isinstance(found, str):
        raise InputError(
            f"classifier {config.name}@{config.revision}: its weights are not here. Say in which folder they lie, or "
            f"fetch them once into the cache: hf download {config.name} --revision {config.revision}"
        )
    return Path(found).parent


def observe_classifier(config: Classifier, source: str | None) -> dict[str, str]:
    """SHA-256 of every file that decides a score."""
    from ops.store.files import sha256_of

    folder = locate(config, source)
    files = sorted({path for pattern in WEIGHTS for path in folder.glob(pattern)})
    return {path.name: sha256_of(path) for path in files}
