"""Any OpenAI-compatible endpoint: `vllm serve` and others.

`/chat/completions` writes, `/completions` with `echo` and `logprobs` scores (prefill alone: `max_tokens` is 0), and
vLLM's `/tokenize` counts. Settings from the environment, none of them identity:

| variable | meaning | default |
|---|---|---|
| STILLHOUSE_LLM_API_KEY, OPENAI_API_KEY | sent as bearer token | none |
| STILLHOUSE_LLM_CONCURRENCY | questions under way at a time | 16 |
| STILLHOUSE_LLM_TIMEOUT | seconds for an answer | 300 |
| STILLHOUSE_LLM_RETRIES | further attempts after a failed one | 5 |
"""

import email.utils
import json
import os
import random
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any, TypeVar

from ops.clean.config import LanguageModel
from ops.clean.engines.interface import Answer, Chat, EngineError, Failure, Likelihood, Reading
from ops.errors import InputError

T = TypeVar("T")

TRANSIENT = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""HTTP statuses after which the same request may succeed."""
NOT_THE_QUESTION = frozenset({"rate_limited", "unavailable", "unreachable"})
"""Trouble that no question can be blamed for: when it lasts, the stage stops rather than go on without the model."""
LARGEST_ANSWER = 1 << 24
ESTIMATED_BYTES = 3


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How an endpoint is asked. None of it changes an answer."""

    api_key: str | None = None
    concurrency: int = 16
    timeout_s: float = 300.0
    """For one attempt, from the request to the last byte of the answer."""
    retries: int = 5
    first_wait_s: float = 0.5
    """Doubles with each attempt; the wait is a random share of it, between a half and the whole."""
    longest_wait_s: float = 60.0
    most_failures: int = 20
    """So many questions in a row without an answer, all attempts made, stop the stage."""

    @classmethod
    def from_environment(cls) -> "Patience":
        """
        Raises:
            InputError: when a variable is no positive number.
        """
        env = os.environ
        return cls(
            api_key=env.get("STILLHOUSE_LLM_API_KEY") or env.get("OPENAI_API_KEY") or None,
            concurrency=int(_number(env, "STILLHOUSE_LLM_CONCURRENCY", 16)),
            timeout_s=_number(env, "STILLHOUSE_LLM_TIMEOUT", 300),
            retries=int(_number(env, "STILLHOUSE_LLM_RETRIES", 5)),
        )


class _Attempt(Exception):
    """One attempt failed; another may succeed after a wait."""

    def __init__(self, reason: str, detail: str, wait_s: float | None = None) -> None:
        super().__init__(detail)
        self.reason, self.detail, self.wait_s = reason, detail, wait_s


class _Refused(Exception):
    """The endpoint will not answer this question."""


class Endpoint:
    """See `ops.clean.engines.interface.Engine`."""

    def __init__(self, config: LanguageModel, base_url: str, patience: Patience) -> None:
        if not base_url.startswith(("http://", "https://")):
            raise InputError(f"{base_url}: not the URL of an API (http:// or https://)")
        self._config, self._patience = config, patience
        self._base = base_url.rstrip("/")
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._failures = 0
        self.retries = 0
        """Attempts that were made again."""

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        if self._config.count_tokens_by == "estimate":
            return [-(-len(text.encode()) // ESTIMATED_BYTES) for text in texts]
        url = f"{self._base.removesuffix('/v1')}/tokenize"

        def count(text: str) -> int:
            body = {"model": self._config.model, "prompt": text, "add_special_tokens": False}
            return _taken(lambda: int(self._post(url, body)["count"]))

        counts: dict[int, int] = {}
        try:
            for index, result in self._each(texts, count):
                if isinstance(result, Failure):
                    raise EngineError(result.detail)
                counts[index] = result
        except EngineError as error:
            raise EngineError(f'{error}; set count_tokens_by to "estimate" if this endpoint counts none') from error
        return [counts[index] for index in range(len(texts))]

    def generate(self, chats: Sequence[Chat]) -> Iterator[tuple[int, Answer | Failure]]:
        sampling = self._config.sampling
        body: dict[str, Any] = {
            "model": self._config.model,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": sampling.seed,
            "max_tokens": sampling.max_tokens,
        }
        if sampling.top_k:
            body["top_k"] = sampling.top_k
        if sampling.min_p:
            body["min_p"] = sampling.min_p

        def ask(chat: Chat) -> Answer:
            messages = [{"role": "system", "content": chat.system}] if chat.system else []
            messages.append({"role": "user", "content": chat.user})
            data = self._post(f"{self._base}/chat/completions", {**body, "messages": messages})

            def read() -> Answer:
                choice, usage = data["choices"][0], data.get("usage") or {}
                return Answer(
                    text=str(choice["message"]["content"] or ""),
                    finish_reason=str(choice["finish_reason"]),
                    tokens_in=int(usage.get("prompt_tokens") or 0),
                    tokens_out=int(usage.get("completion_tokens") or 0),
                )

            return _taken(read)

        return self._each(chats, ask)

    def score(self, readings: Sequence[Reading], options: Sequence[str]) -> Iterator[tuple[int, Likelihood | Failure]]:
        def likelihood(prompt: str, option: str) -> tuple[float, int]:
            body = {
                "model": self._config.model,
                "prompt": prompt + option,
                "echo": True,
                "logprobs": 1,
                "max_tokens": 0,
                "temperature": 0.0,
            }
            data = self._post(f"{self._base}/completions", body)

            def read() -> tuple[float, int]:
                given = data["choices"][0]["logprobs"]
                scores = given["token_logprobs"]
                # From the end: servers count the offsets of characters that several tokens share in their own ways.
                total, missing = 0.0, len(option)
                for token, score in zip(reversed(given["tokens"]), reversed(scores), strict=True):
                    if missing <= 0:
                        return total, len(scores)
                    total += score
                    missing -= len(token)
                raise ValueError("likelihoods of the prompt are missing")

            return _taken(read)

        def ask(reading: Reading) -> Likelihood:
            found = [likelihood(reading.head + reading.tail, option) for option in options]
            return Likelihood(
                log_likelihoods=tuple(score for score, _ in found), tokens_in=sum(tokens for _, tokens in found)
            )

        return self._each(readings, ask)

    def _each(self, questions: Sequence[Any], ask: Callable[[Any], T]) -> Iterator[tuple[int, T | Failure]]:
        """Ask many at a time; what is ready first comes first."""

        def attempt(question: Any) -> T | Failure:
            try:
                result = self._patiently(ask, question)
            except EngineError:
                self._stop.set()
                raise
            with self._lock:
                self._failures = self._failures + 1 if isinstance(result, Failure) else 0
                if isinstance(result, Failure) and self._failures >= self._patience.most_failures:
                    raise EngineError(
                        f"{self._base}: {self._failures} questions in a row failed, the last: {result.detail}"
                    )
            return result

        if not questions:
            return
        self._stop.clear()
        with ThreadPoolExecutor(min(self._patience.concurrency, len(questions))) as pool:
            futures = {pool.submit(attempt, question): index for index, question in enumerate(questions)}
            try:
                for future in as_completed(futures):
                    yield futures[future], future.result()
            finally:
                self._stop.set()
                pool.shutdown(wait=True, cancel_futures=True)

    def _patiently(self, ask: Callable[[Any], T], question: Any) -> T | Failure:
        wait, last = self._patience.first_wait_s, Failure(reason="stopped", detail="stopped")
        for attempt in range(self._patience.retries + 1):
            if self._stop.is_set():
                break
            try:
                return ask(question)
            except _Refused as refusal:
                return Failure(reason="refused", detail=str(refusal))
            except _Attempt as failed:
                last = Failure(reason=failed.reason, detail=failed.detail)
                pause = wait * random.uniform(0.5, 1.0) if failed.wait_s is None else failed.wait_s
            if attempt == self._patience.retries and last.reason in NOT_THE_QUESTION:
                raise EngineError(f"after {attempt + 1} attempts: {last.detail}")
            if attempt == self._patience.retries or self._stop.wait(min(pause, self._patience.longest_wait_s)):
                break
            with self._lock:
                self.retries += 1
            wait = min(2 * wait, self._patience.longest_wait_s)
        return last

    def _post(self, url: str, body: Mapping[str, Any]) -> Any:
        headers = {"Content-Type": "application/json"}
        if self._patience.api_key:
            headers["Authorization"] = f"Bearer {self._patience.api_key}"
        data = self._receive(urllib.request.Request(url, json.dumps(body).encode(), headers))
        try:
            return json.loads(data)
        except ValueError as error:
            raise _Attempt("malformed_answer", f"{url}: not JSON: {data[:200]!r}") from error

    def _receive(self, request: urllib.request.Request) -> bytes:
        url, patience = request.full_url, self._patience
        deadline = time.monotonic() + patience.timeout_s
        data = b""
        try:
            with urllib.request.urlopen(request, timeout=patience.timeout_s) as response:
                while block := response.read1(1 << 16):
                    data += block
                    if time.monotonic() > deadline:
                        raise _Attempt("timed_out", f"{url}: no whole answer in {patience.timeout_s} s")
                    if len(data) > LARGEST_ANSWER:
                        raise _Attempt("malformed_answer", f"{url}: more than {LARGEST_ANSWER} bytes")
        except urllib.error.HTTPError as error:
            with error:
                raise self._failure(url, error) from error
        except TimeoutError as error:
            raise _Attempt("timed_out", f"{url}: {error}") from error
        except (HTTPException, OSError) as error:
            reason = "timed_out" if isinstance(getattr(error, "reason", None), TimeoutError) else "unreachable"
            raise _Attempt(reason, f"{url}: {error}") from error
        return data

    def _failure(self, url: str, error: urllib.error.HTTPError) -> Exception:
        detail = f"{url}: HTTP {error.code}: {error.read(500).decode(errors='replace')}"
        if error.code in (401, 403, 404, 405):
            return EngineError(detail)
        if error.code not in TRANSIENT:
            return _Refused(detail)
        reason = {429: "rate_limited", 502: "unavailable", 503: "unavailable", 504: "unavailable", 529: "unavailable"}
        return _Attempt(reason.get(error.code, "server_error"), detail, _retry_after(error.headers.get("Retry-After")))


def _taken(read: Callable[[], T]) -> T:
    """What `read` takes from an answer; another shape than expected is a failed attempt."""
    try:
        return read()
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise _Attempt("malformed_answer", f"an answer of another shape: {error!r}") from error


def _retry_after(value: str | None) -> float | None:
    """Seconds, from a number of seconds or a date; None when there is neither."""
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def _number(env: Mapping[str, str], name: str, default: float) -> float:
    text = env.get(name) or str(default)
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if number < 0 or (number < 1 and name.endswith("CONCURRENCY")):
        raise InputError(f"{name}: {text!r} is no positive number")
    return number
