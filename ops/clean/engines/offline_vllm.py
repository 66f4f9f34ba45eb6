"""vLLM in this process (extra `serve`, or `serve-cpu`)."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ops.clean.config import LanguageModel
from ops.clean.engines.endpoint import ESTIMATED_BYTES
from ops.clean.engines.interface import Answer, Chat, Failure, Likelihood, Reading
from ops.errors import InputError

BATCH = 256
"""Questions given to vLLM at a time; what a killed run repeats at most."""


class OfflineVllm:
    """See `ops.clean.engines.interface.Engine`."""

    def __init__(self, config: LanguageModel, folder: str) -> None:
        """
        Raises:
            InputError: when the folder is none, or vLLM is not installed.
        """
        try:
            import vllm  # pyright: ignore[reportMissingImports]
            from vllm.platforms import current_platform  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise InputError(f"engine 'vllm' needs the extra `serve` or `serve-cpu`: {error}") from error
        if not Path(folder).is_dir():
            raise InputError(f"{folder}: no such folder")
        self._config = config
        self._vllm = vllm
        self._llm: Any = vllm.LLM(
            model=folder,
            dtype=config.dtype,
            seed=config.sampling.seed,
            trust_remote_code=False,
            enforce_eager=current_platform.is_cpu(),  # compiling takes minutes there
        )
        self._tokenizer: Any = self._llm.get_tokenizer()
        self._length = int(self._llm.llm_engine.model_config.max_model_len)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        if self._config.count_tokens_by == "estimate":
            return [-(-len(text.encode()) // ESTIMATED_BYTES) for text in texts]
        return [len(self._encode(text)) for text in texts]

    def generate(self, chats: Sequence[Chat]) -> Iterator[tuple[int, Answer | Failure]]:
        sampling = self._config.sampling
        prompts = []
        for chat in chats:
            messages = [{"role": "system", "content": chat.system}] if chat.system else []
            messages.append({"role": "user", "content": chat.user})
            text = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            prompts.append(self._encode(text))
        parameters = [
            self._vllm.SamplingParams(
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                top_k=sampling.top_k,
                min_p=sampling.min_p,
                seed=sampling.seed,
                max_tokens=max(1, min(sampling.max_tokens, self._length - len(prompt))),
            )
            for prompt in prompts
        ]
        for index, prompt, output in self._run(prompts, parameters, room=1):
            if output is None:
                yield index, Failure(reason="too_long", detail=f"{len(prompt)} tokens")
                continue
            written = output.outputs[0]
            yield (
                index,
                Answer(
                    text=written.text,
                    finish_reason=str(written.finish_reason),
                    tokens_in=len(prompt),
                    tokens_out=len(written.token_ids),
                ),
            )

    def score(self, readings: Sequence[Reading], options: Sequence[str]) -> Iterator[tuple[int, Likelihood | Failure]]:
        """Every token of an option is asked for by itself, behind those before it: so the text is read once and comes
        from vLLM's cache of prefixes then, which the likelihoods of a whole prompt (`prompt_logprobs`) would bypass."""
        tails = [tuple(self._encode(option)) for option in options]
        steps: dict[tuple[int, ...], set[int]] = {}
        for tail in tails:
            for place, token in enumerate(tail):
                steps.setdefault(tail[:place], set()).add(token)
        texts = [self._encode(reading.head) + self._encode(reading.tail) for reading in readings]
        prompts = [[*text, *before] for text in texts for before in steps]
        # vLLM writes at least one token; it is not looked at.
        parameters = [
            self._vllm.SamplingParams(temperature=0.0, max_tokens=1, logprob_token_ids=sorted(tokens))
            for _ in texts
            for tokens in steps.values()
        ]
        found: list[Any] = []
        for index, _, output in self._run(prompts, parameters, room=1):
            found.append(output)
            if len(found) < len(steps):
                continue
            question = index // len(steps)
            if None in found:
                yield question, Failure(reason="too_long", detail=f"{len(texts[question])} tokens")
            else:
                given = {before: output.outputs[0].logprobs[0] for before, output in zip(steps, found, strict=True)}
                scores = tuple(
                    float(sum(given[tail[:place]][token].logprob for place, token in enumerate(tail))) for tail in tails
                )
                tokens_in = len(texts[question]) + sum(map(len, tails))
                yield question, Likelihood(log_likelihoods=scores, tokens_in=tokens_in)
            found = []

    def _run(
        self, prompts: list[list[int]], parameters: list[Any], *, room: int
    ) -> Iterator[tuple[int, list[int], Any]]:
        """Outputs in order; None for a prompt that leaves no room in the model's length."""
        for start in range(0, len(prompts), BATCH):
            indices = range(start, min(start + BATCH, len(prompts)))
            fitting = [index for index in indices if len(prompts[index]) + room <= self._length]
            outputs = self._llm.generate(
                [{"prompt_token_ids": prompts[index]} for index in fitting],
                [parameters[index] for index in fitting],
                use_tqdm=False,
            )
            by_index = dict(zip(fitting, outputs, strict=True))
            for index in indices:
                yield index, prompts[index], by_index.get(index)

    def _encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False))
