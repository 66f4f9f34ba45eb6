"""Runs in vLLM's environment: `python -m tests.serve.worker JOB.json ANSWER.json`.

A job is `{"generate": [...]}`, models that write greedily behind token ids, or `{"clean": {...}}`, our own cleaner on
vLLM's engine.
"""

import json
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any


def generate(requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each model `ids`, `log_likelihoods` and `finish_reason` of what it wrote, and the ids of a text."""
    import vllm  # pyright: ignore[reportMissingImports]
    from vllm.distributed.parallel_state import (  # pyright: ignore[reportMissingImports]
        cleanup_dist_env_and_memory,
    )

    answers = []
    for request in requests:
        llm = vllm.LLM(model=request["model"], seed=0, enforce_eager=True, **request["options"])
        sampling = vllm.SamplingParams(temperature=0.0, max_tokens=request["max_new_tokens"], logprobs=0)
        outputs = llm.generate([{"prompt_token_ids": ids} for ids in request["prompts"]], sampling, use_tqdm=False)
        written = [output.outputs[0] for output in outputs]
        (read,) = llm.generate([request["text"]], sampling, use_tqdm=False)
        answers.append(
            {
                "ids": [list(output.token_ids) for output in written],
                "log_likelihoods": [
                    [step[token].logprob for step, token in zip(output.logprobs, output.token_ids, strict=True)]
                    for output in written
                ],
                "finish_reason": [output.finish_reason for output in written],
                "text_ids": list(read.prompt_token_ids),
                "text_continuation": read.outputs[0].text,
                "text_continuation_ids": list(read.outputs[0].token_ids),
            }
        )
        del llm
        cleanup_dist_env_and_memory()
    return answers


def clean(job: dict[str, Any]) -> dict[str, Any]:
    """Both modes on one engine: what it said and what became of the documents."""
    from ops.clean.calls import Cache, Calls
    from ops.clean.cleaner import clean_documents
    from ops.clean.config import CleanConfig
    from ops.clean.engines import Reading, make_engine
    from ops.clean.model import Model
    from ops.clean.rules import Rules
    from ops.identity import decode
    from ops.stage import Execution
    from tests.fakes.engines import Noted

    config = decode(CleanConfig, job["config"])
    assert config.llm is not None
    rules = Rules(config.rules)
    engine = make_engine(config.llm, Execution(source=job["folder"]))
    answer: dict[str, Any] = {"tokens": engine.count_tokens(job["texts"])}
    readings = [Reading(**reading) for reading in job["readings"]]
    started = time.perf_counter()
    answer["likelihoods"] = [asdict(result) for _, result in engine.score(readings, job["options"])]
    answer["score_seconds"] = time.perf_counter() - started
    with tempfile.TemporaryDirectory() as cache:
        for mode, rows in job["documents"].items():
            llm = replace(config.llm, mode=mode, prompt="")
            noted = Noted(engine)
            calls = Calls(llm, noted, Cache(Path(cache) / mode))
            counts: Counter[str] = Counter()
            outcomes = clean_documents(Model(llm, rules, calls), rules, rows, counts)
            answer[mode] = {
                "outcomes": [asdict(outcome) for outcome in outcomes],
                "answers": [asdict(each) for each in noted.answers],
                "counts": counts,
                "speed": calls.speed.as_dict(),
            }
    return answer


def main() -> None:
    asked, answered = map(Path, sys.argv[1:])
    job = json.loads(asked.read_text())
    answer = generate(job["generate"]) if "generate" in job else clean(job["clean"])
    answered.write_text(json.dumps(answer))


if __name__ == "__main__":
    main()
