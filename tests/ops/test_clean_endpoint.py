"""Cleaning over an OpenAI-compatible endpoint: retries, limits, refusals, and the same results as in process."""

import email.utils
import json
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest

from ops.clean.config import LlmCleaner, Sampling
from ops.clean.engines import Answer, Chat, EngineError, Failure, Likelihood, Reading, make_engine
from ops.clean.engines.endpoint import Endpoint, Patience
from ops.clean.prompts import OPTIONS
from ops.errors import InputError
from ops.stage import Execution
from tests.fakes.engines import Scripted
from tests.fakes.openai_server import Reply, Server, serve

CONFIG = LlmCleaner(engine="endpoint", model="scripted", revision="1")
HASTY = Patience(first_wait_s=0.001, timeout_s=5.0, retries=3, concurrency=4)
CHATS = [Chat(system="edit", user=f"text {number}") for number in range(9)]


def ask(server: Server, patience: Patience = HASTY, config: LlmCleaner = CONFIG) -> dict[int, Answer | Failure]:
    return dict(Endpoint(config, server.url, patience).generate(CHATS))


def texts(results: dict[int, Answer | Failure]) -> list[str]:
    return [result.text if isinstance(result, Answer) else result.reason for _, result in sorted(results.items())]


UPPER = Scripted(str.upper)
ALL = [f"TEXT {number}" for number in range(9)]


def test_answers_come_with_their_questions() -> None:
    config = replace(CONFIG, sampling=Sampling(temperature=0.7, top_p=0.8, top_k=20, seed=5, max_tokens=77))
    with serve(UPPER) as server:
        results = ask(server, replace(HASTY, api_key="secret"), config)
    assert texts(results) == ALL
    assert results[0] == Answer(text="TEXT 0", finish_reason="stop", tokens_in=2, tokens_out=2)
    path, body, headers = server.requests[0]
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == "Bearer secret"
    assert {name: body[name] for name in ("model", "temperature", "top_p", "top_k", "seed", "max_tokens")} == {
        "model": "scripted", "temperature": 0.7, "top_p": 0.8, "top_k": 20, "seed": 5, "max_tokens": 77,
    }  # fmt: skip
    assert "min_p" not in body


def test_several_questions_are_under_way_but_not_more_than_allowed() -> None:
    slow = Scripted(str.upper)
    with serve(slow, lambda number, path: time.sleep(0.05)) as server:
        ask(server, replace(HASTY, concurrency=3))
    assert 2 <= server.most_at_once <= 3


TROUBLES: dict[str, Callable[[int, str], Reply | None]] = {
    "too many requests": lambda number, path: Reply(status=429) if number < 3 else None,
    "retry after": lambda number, path: Reply(status=429, headers={"Retry-After": "0"}) if number < 3 else None,
    "retry at": lambda number, path: (
        Reply(status=503, headers={"Retry-After": email.utils.formatdate(0, usegmt=True)}) if number < 3 else None
    ),
    "server error": lambda number, path: Reply(status=500) if number in (0, 3, 6) else None,
    "not JSON": lambda number, path: Reply(body=b"<html>busy</html>") if number < 3 else None,
    "another shape": lambda number, path: Reply(body=b'{"choices": []}') if number < 3 else None,
    "no content": lambda number, path: Reply(body=b"") if number < 3 else None,
}


@pytest.mark.parametrize("name", TROUBLES)
def test_passing_trouble_passes(name: str) -> None:
    with serve(UPPER, TROUBLES[name]) as server:
        results = ask(server)
    assert texts(results) == ALL
    assert len(server.requests) > len(CHATS)


def test_waits_grow_and_keep_to_what_the_server_asks() -> None:
    times: list[float] = []

    def trouble(number: int, path: str) -> Reply | None:
        times.append(time.monotonic())
        return Reply(status=429, headers={"Retry-After": "0.4"} if number == 0 else {}) if number < 3 else None

    with serve(UPPER, trouble) as server:
        endpoint = Endpoint(CONFIG, server.url, replace(HASTY, first_wait_s=0.1))
        assert texts(dict(endpoint.generate(CHATS[:1]))) == ["TEXT 0"]
    waits = [after - before for before, after in pairwise(times)]
    assert waits[0] >= 0.4
    assert waits[1] >= 0.1  # the second of 0.1, 0.2, 0.4; at least a half of it
    assert waits[2] >= 0.2
    assert endpoint.retries == 3


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(status=500), "server_error"),
        (Reply(status=400, body=b"context length exceeded"), "refused"),
        (Reply(body=b"[]"), "malformed_answer"),
        (Reply(hang=True), "timed_out"),
    ],
)
def test_lasting_trouble_is_the_failure_of_its_question(reply: Reply, reason: str) -> None:
    def trouble(number: int, path: str) -> Reply | None:
        return reply if json.dumps("text 3") in json.dumps(server.requests[number][1]) else None

    with serve(UPPER, trouble) as server:
        results = ask(server, replace(HASTY, timeout_s=0.2, retries=1))
    assert texts(results) == [*ALL[:3], reason, *ALL[4:]]
    attempts = sum("text 3" in json.dumps(body) for _, body, _ in server.requests)
    assert attempts == (1 if reason == "refused" else 2)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_wrong_key_or_address_stops_the_stage(status: int) -> None:
    with (
        serve(UPPER, lambda number, path: Reply(status=status, body=b"who are you")) as server,
        pytest.raises(EngineError, match=f"HTTP {status}.*who are you"),
    ):
        ask(server)
    assert len(server.requests) <= HASTY.concurrency


@pytest.mark.parametrize("status", [429, 502, 503])
def test_an_endpoint_that_stays_unavailable_stops_the_stage(status: int) -> None:
    """It is not the question's fault: going on by the rules would hide it."""
    with (
        serve(UPPER, lambda number, path: Reply(status=status)) as server,
        pytest.raises(EngineError, match=f"after 4 attempts: .*HTTP {status}"),
    ):
        ask(server)


def test_an_endpoint_that_is_down_stops_the_stage() -> None:
    with serve(UPPER) as server:
        pass
    with pytest.raises(EngineError, match=r"after 2 attempts: .*refused"):
        ask(server, replace(HASTY, retries=1))


def test_many_failures_in_a_row_stop_the_stage() -> None:
    with (
        serve(UPPER, lambda number, path: Reply(status=500)) as server,
        pytest.raises(EngineError, match="5 questions in a row failed"),
    ):
        ask(server, replace(HASTY, most_failures=5, concurrency=1, retries=1))


def test_tokens_are_counted_there_or_estimated() -> None:
    counted = ["one two three", "", "αβγ δ"]
    with serve(UPPER) as server:
        assert Endpoint(CONFIG, server.url, HASTY).count_tokens(counted) == [3, 0, 2]
    assert {path for path, _, _ in server.requests} == {"/tokenize"}
    estimate = replace(CONFIG, count_tokens_by="estimate")
    assert Endpoint(estimate, "http://nowhere", HASTY).count_tokens(counted) == [5, 0, 3]
    with (
        serve(UPPER, lambda number, path: Reply(status=404)) as server,
        pytest.raises(EngineError, match=r"HTTP 404.*set count_tokens_by"),
    ):
        Endpoint(CONFIG, server.url, HASTY).count_tokens(["one"])


def test_likelihoods() -> None:
    judge = Scripted(judge=lambda paragraph: -2.5 if "menu" in paragraph else 1.5)
    readings = [Reading(head="Paragraph:", tail=f" {text}\nKind:") for text in ("a proof", "a menu ⟦F1⟧")]
    with serve(judge) as server:
        results = dict(Endpoint(CONFIG, server.url, HASTY).score(readings, OPTIONS))
    assert results == {
        0: Likelihood(log_likelihoods=(1.5, 1.5), tokens_in=8),
        1: Likelihood(log_likelihoods=(-2.5, -2.5), tokens_in=8),
    }
    assert [body["prompt"] for _, body, _ in server.requests if "proof" in body["prompt"]] == [
        "Paragraph: a proof\nKind:" + option for option in OPTIONS
    ]


def test_settings_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STILLHOUSE_LLM_API_KEY", "secret")
    monkeypatch.setenv("STILLHOUSE_LLM_CONCURRENCY", "64")
    assert Patience.from_environment() == Patience(api_key="secret", concurrency=64)
    monkeypatch.setenv("STILLHOUSE_LLM_TIMEOUT", "soon")
    with pytest.raises(InputError, match="STILLHOUSE_LLM_TIMEOUT"):
        make_engine(CONFIG, Execution(source="http://localhost:1/v1"))
    with pytest.raises(InputError, match="base URL"):
        make_engine(CONFIG, Execution())
    with pytest.raises(InputError, match="not the URL"):
        Endpoint(CONFIG, "models/phi", HASTY)
