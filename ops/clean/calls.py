"""Calls of a model, each made once: answers are kept by the digest of all that decides them.

The cache is a folder, local or at any fsspec URL (STILLHOUSE_LLM_CACHE, or `calls/` beside the work under way): one
small file a call, written as soon as the answer is there. A killed run repeats no call that was answered; a cache that
outlives the run serves every later one that asks the same.
"""

import dataclasses
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import fsspec

from ops.atomic import write_bytes
from ops.clean.config import LanguageModel
from ops.clean.engines import Answer, Chat, Engine, Failure, Likelihood, Reading
from ops.identity import canonical, encode
from ops.stage import Execution

SPEED, CALLS = "speed.json", "calls"
"""What a stage that asks a model leaves in its folder: how fast it was; and while it is under way, the answers."""
logger = logging.getLogger("stillhouse")
Q = TypeVar("Q")
R = TypeVar("R", Answer, Likelihood)


@dataclass(kw_only=True)
class Speed:
    """Work done by this process: what a resumed run finds in its cache is not in it."""

    calls: int = 0
    cached: int = 0
    failed: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0

    def as_dict(self) -> dict[str, float]:
        """With rates; a rate is absent where no call was made."""
        tokens = {"tokens_in_per_second": self.tokens_in, "tokens_out_per_second": self.tokens_out}
        rates = {name: round(count / self.seconds, 3) for name, count in tokens.items() if count}
        return {**dataclasses.asdict(self), **rates}


class Cache:
    """Answers by digest."""

    def __init__(self, place: str | Path, options: Mapping[str, Any] | None = None) -> None:
        """`place` is a folder or an fsspec URL, `options` go to its file system."""
        self._local = None if "://" in str(place) else Path(place)
        if self._local is None:
            self._remote, self._root = fsspec.core.url_to_fs(str(place), **(options or {}))
        self.damaged = 0
        """Files that are not what was written; their calls are made again."""

    def get(self, key: str) -> dict[str, Any] | None:
        """The answer under `key`, None when there is none."""
        try:
            data = self._path(key).read_bytes() if self._local else self._remote.cat_file(self._url(key))
        except FileNotFoundError:
            return None
        try:
            entry = json.loads(data)
            if entry["sha256"] == _sha256(canonical(entry["answer"])):
                return entry["answer"]
        except (ValueError, KeyError, TypeError):
            pass
        self.damaged += 1
        logger.warning("cleaning cache: the file of call %s is damaged, the call is made again", key)
        return None

    def put(self, key: str, answer: Mapping[str, Any]) -> None:
        """Keep an answer, whole or not at all."""
        data = (canonical({"answer": answer, "sha256": _sha256(canonical(answer))}) + "\n").encode()
        if self._local:
            write_bytes(self._path(key), data)
        else:
            self._remote.pipe_file(self._url(key), data)

    def _path(self, key: str) -> Path:
        assert self._local is not None
        return self._local / key[:2] / f"{key}.json"

    def _url(self, key: str) -> str:
        return f"{self._root}/{key[:2]}/{key}.json"


def open_cache(out: Path, execution: Execution) -> Cache:
    """The cache that the environment names, else one beside the work under way in `out`."""
    place = os.environ.get("STILLHOUSE_LLM_CACHE") or out / CALLS
    is_s3 = str(place).startswith("s3://") and execution.endpoint_url
    return Cache(place, {"endpoint_url": execution.endpoint_url} if is_s3 else None)


class Calls:
    """An engine behind a cache."""

    def __init__(self, config: LanguageModel, engine: Engine, cache: Cache) -> None:
        self.engine = engine
        self.speed = Speed()
        self._cache = cache
        self._model = {
            "model": config.model,
            "revision": config.revision,
            "engine": config.engine,
            "dtype": config.dtype,
        }
        self._sampling = encode(config.sampling)

    def generate(self, chats: Sequence[Chat]) -> list[Answer | Failure]:
        """An answer for each question, in order; equal questions are asked once."""
        keys = [self._key({"sampling": self._sampling, "system": chat.system, "user": chat.user}) for chat in chats]
        return self._ask(Answer, keys, chats, self.engine.generate)

    def score(self, readings: Sequence[Reading], options: Sequence[str]) -> list[Likelihood | Failure]:
        """Likelihoods of the options behind each text, in order."""
        keys = [self._key({**encode(reading), "options": list(options)}) for reading in readings]
        return self._ask(Likelihood, keys, readings, lambda asked: self.engine.score(asked, options))

    def _key(self, question: Mapping[str, Any]) -> str:
        return _sha256(canonical({**self._model, **question}))

    def _ask(
        self,
        kind: type[R],
        keys: Sequence[str],
        questions: Sequence[Q],
        ask: Callable[[Sequence[Q]], Iterator[tuple[int, R | Failure]]],
    ) -> list[R | Failure]:
        found: dict[str, R | Failure] = {}
        missing: dict[str, Q] = {}
        for key, question in zip(keys, questions, strict=True):
            if key in found or key in missing:
                continue
            known = self._cache.get(key)
            if known is None:
                missing[key] = question
            else:
                found[key] = _restored(kind, known)
                self.speed.cached += 1
        asked = list(missing)
        started = time.perf_counter()
        for index, result in ask(list(missing.values())) if missing else ():
            found[asked[index]] = result
            self.speed.calls += 1
            if isinstance(result, Failure):
                self.speed.failed += 1
                continue
            self._cache.put(asked[index], dataclasses.asdict(result))
            self.speed.tokens_in += result.tokens_in
            self.speed.tokens_out += result.tokens_out if isinstance(result, Answer) else 0
        if missing:
            self.speed.seconds += time.perf_counter() - started
        lost = Failure(reason="no_answer", detail="the engine returned nothing for this question")
        return [found.get(key, lost) for key in keys]


def _restored(kind: type[R], data: Mapping[str, Any]) -> R:
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in data.items()}
    return kind(**values)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
