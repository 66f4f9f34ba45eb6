"""A real small model cleans on vLLM, in the process and behind its OpenAI-compatible server.

transformers is the reference: the same checkpoint in float32. SmolLM2-135M invents text and equations when it is asked
to edit a page; not one of its answers may pass.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from ops.clean.calls import Cache, Calls
from ops.clean.chunks import make_chunks
from ops.clean.cleaner import Outcome, clean_documents
from ops.clean.config import CleanConfig, LlmCleaner
from ops.clean.contract import CleanedDocument, ContractViolation, DroppedParagraph
from ops.clean.document import protect
from ops.clean.engines import Answer, Engine, Likelihood, Reading, make_engine
from ops.clean.engines.endpoint import Endpoint, Patience
from ops.clean.engines.offline_transformers import OfflineTransformers
from ops.clean.model import Model
from ops.clean.prompts import OPTIONS
from ops.clean.rewrite import take
from ops.clean.rules import Rules
from ops.clean.select import reading
from ops.identity import encode
from ops.stage import Execution
from tests.fakes.documents import check_formulas
from tests.fakes.engines import LENIENT, Noted
from tests.ops.smollm2 import ABSENT, ARTICLE, BOILERPLATE, CONFIG, MISSING, PAGES, mixed_page, save
from tests.serve.environment import api_server, needs_vllm, work

pytestmark = [
    pytest.mark.slow,
    needs_vllm,
    pytest.mark.skipif(bool(MISSING), reason=ABSENT),
    pytest.mark.timeout(2400),
]
TEXTS = ["", "The derivative of a sum", "αβγ ⟦F1⟧", ARTICLE[2]]
MIXED = {"doc_id": "mixed", "title": None, "text": mixed_page(), "formulas": []}
RULES = Rules(LENIENT)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("smollm2"))


@pytest.fixture(scope="module")
def reference(checkpoint: Path) -> OfflineTransformers:
    engine = make_engine(CONFIG, Execution(source=str(checkpoint)))
    assert isinstance(engine, OfflineTransformers)
    return engine


def readings() -> list[Reading]:
    config = select(CONFIG)
    texts = [*ARTICLE[:4], *BOILERPLATE[:4], ""]
    return [reading(protect("page", None, text, []), text, config) for text in texts]


def select(config: LlmCleaner) -> LlmCleaner:
    return replace(config, mode="select", prompt="")


def outcome_of(data: Mapping[str, Any]) -> Outcome:
    document = {**data["document"], "dropped": [DroppedParagraph(**each) for each in data["document"]["dropped"]]}
    return Outcome(**{**data, "document": CleanedDocument(**document)})


def check_likelihoods(found: Sequence[Any], reference: OfflineTransformers, *, times_read: int) -> None:
    """Against transformers, which reads a text once; `times_read` is how often tokens are counted here."""
    expected = [result for _, result in reference.score(readings(), OPTIONS)]
    texts = reference.count_tokens([each.head + each.tail for each in readings()])
    for one, other, tokens in zip(found, expected, texts, strict=True):
        assert isinstance(one, Likelihood)
        assert isinstance(other, Likelihood)
        assert one.log_likelihoods == pytest.approx(other.log_likelihoods, abs=1e-3)
        assert one.tokens_in == other.tokens_in + (times_read - 1) * tokens


def check_rewritten(outcomes: Sequence[Outcome], answers: Sequence[Answer], engine: Engine) -> None:
    """Formulas are what they were, and no answer would pass, had it ended where it was cut off."""
    reasons = Counter(reason for outcome in outcomes for reason in outcome.rejected_chunks)
    accepted = sum(outcome.accepted_chunks for outcome in outcomes)
    assert sum(outcome.num_chunks for outcome in outcomes) == reasons.total() + accepted == len(answers)
    assert reasons.total() == len(answers)
    invented = Counter()
    for row, outcome, answer in zip(PAGES, outcomes, answers, strict=True):
        check_formulas(row, outcome)
        shielded = protect(row["doc_id"], None, row["text"], row["formulas"])
        (chunk,) = make_chunks(shielded, list(enumerate(shielded.paragraphs)), 10_000, engine.count_tokens)
        with pytest.raises(ContractViolation) as rejected:
            take(shielded, chunk, replace(answer, finish_reason="stop"), CONFIG)
        invented[rejected.value.reason] += 1
        print(f"--- {rejected.value}\n{answer.text}")
    print("rejected:", dict(reasons), "had they ended there:", dict(invented))


def check_selected(outcome: Outcome, reference: OfflineTransformers, cache: Path) -> None:
    """What it drops is what transformers drops."""
    config = select(CONFIG)
    (expected,) = clean_documents(Model(config, RULES, Calls(config, reference, Cache(cache))), RULES, [MIXED])
    assert outcome.document.text == expected.document.text
    assert outcome.num_chunks == expected.num_chunks > 10
    by_model = [paragraph.text for paragraph in outcome.document.dropped if paragraph.reason == "model"]
    assert by_model == [paragraph.text for paragraph in expected.document.dropped if paragraph.reason == "model"]


def test_in_the_process(checkpoint: Path, reference: OfflineTransformers, tmp_path: Path) -> None:
    job = {
        "config": encode(CleanConfig(rules=LENIENT, llm=replace(CONFIG, engine="vllm"))),
        "folder": str(checkpoint),
        "texts": TEXTS,
        "readings": [asdict(each) for each in readings()],
        "options": list(OPTIONS),
        "documents": {"rewrite": PAGES, "select": [MIXED]},
    }
    answer = work({"clean": job}, tmp_path)
    assert answer["tokens"] == reference.count_tokens(TEXTS)
    found = [
        Likelihood(log_likelihoods=tuple(each["log_likelihoods"]), tokens_in=each["tokens_in"])
        for each in answer["likelihoods"]
    ]
    check_likelihoods(found, reference, times_read=1)
    rewritten = answer["rewrite"]
    print("\nvLLM:", rewritten["speed"], answer["select"]["speed"])
    check_rewritten(
        [outcome_of(each) for each in rewritten["outcomes"]],
        [Answer(**each) for each in rewritten["answers"]],
        reference,
    )
    (selected,) = answer["select"]["outcomes"]
    check_selected(outcome_of(selected), reference, tmp_path / "reference")


@pytest.fixture(scope="module")
def endpoint(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    folder = tmp_path_factory.mktemp("server")
    options = ["--dtype", "float32", "--enforce-eager", "--max-model-len", "2048"]
    with api_server(checkpoint, CONFIG.model, folder, *options) as url:
        yield Endpoint(replace(CONFIG, engine="endpoint"), url, Patience(timeout_s=600.0, concurrency=4))


def test_behind_its_server(endpoint: Endpoint, reference: OfflineTransformers, tmp_path: Path) -> None:
    assert endpoint.count_tokens(TEXTS) == reference.count_tokens(TEXTS)
    found = sorted(endpoint.score(readings(), OPTIONS), key=lambda item: item[0])
    check_likelihoods([result for _, result in found], reference, times_read=len(OPTIONS))
    config = replace(CONFIG, engine="endpoint")
    noted = Noted(endpoint)
    calls = Calls(config, noted, Cache(tmp_path / "rewrite"))
    outcomes = clean_documents(Model(config, RULES, calls), RULES, PAGES)
    print("\nserver:", calls.speed.as_dict())
    answers = [answer for answer in noted.answers if isinstance(answer, Answer)]
    assert len(answers) == len(noted.answers)
    check_rewritten(outcomes, answers, reference)
    calls = Calls(select(config), endpoint, Cache(tmp_path / "select"))
    (selected,) = clean_documents(Model(select(config), RULES, calls), RULES, [MIXED])
    print("server:", calls.speed.as_dict())
    check_selected(selected, reference, tmp_path / "reference")
