"""A real model cleans pages, offline: SmolLM2-135M-Instruct, which a package carries.

It is far too small for the task. Asked to edit a page it makes up text and formulas, which the contract must reject;
the likelihoods that it gives paragraphs tell boilerplate from text better than chance. Figures are printed as they are
(`pytest -s`).
"""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from ops.clean.calls import Cache, Calls
from ops.clean.chunks import make_chunks
from ops.clean.cleaner import clean_documents
from ops.clean.contract import ContractViolation
from ops.clean.document import protect
from ops.clean.engines import Answer, make_engine
from ops.clean.engines.endpoint import Endpoint, Patience
from ops.clean.engines.offline_transformers import OfflineTransformers
from ops.clean.model import Model
from ops.clean.prompts import SELECT
from ops.clean.rewrite import take
from ops.clean.rules import Rules
from ops.clean.select import Score, score, worth_asking
from ops.stage import Execution
from tests.fakes.documents import check_formulas
from tests.fakes.engines import LENIENT, Noted
from tests.fakes.openai_server import serve
from tests.ops.smollm2 import ABSENT, BOILERPLATE, CONFIG, MISSING, PAGES, folder, mixed_page

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=ABSENT),
    pytest.mark.timeout(1200),
]


@pytest.fixture(scope="module")
def smollm2() -> OfflineTransformers:
    engine = make_engine(CONFIG, Execution(source=str(folder())))
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
    whole = protect("page", None, mixed_page(), [])
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
