"""transformers in this process: a checkpoint folder or a GGUF file, on a machine that has nothing else.

One question at a time: in a batch the padding, and so the rounding, would depend on the neighbours.
"""

import copy
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ops.clean.config import LanguageModel
from ops.clean.engines.endpoint import ESTIMATED_BYTES
from ops.clean.engines.interface import Answer, Chat, Failure, Likelihood, Reading
from ops.errors import InputError


class OfflineTransformers:
    """See `ops.clean.engines.interface.Engine`. Weights are read from safetensors or GGUF, never from pickles."""

    def __init__(self, config: LanguageModel, folder: str, *, device: str = "cpu") -> None:
        """
        Raises:
            InputError: when the folder holds no model, or a package is missing.
        """
        self._config, self._device = config, device
        self._tokenizer, self._model = _load(Path(folder), config.dtype, device)
        self._length = int(self._model.config.max_position_embeddings)
        self._head: tuple[list[int], Any] = ([], None)
        ends = self._model.generation_config.eos_token_id
        self._ends = ends if isinstance(ends, list) else [ends]

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        if self._config.count_tokens_by == "estimate":
            return [-(-len(text.encode()) // ESTIMATED_BYTES) for text in texts]
        return [len(self._encode(text)) for text in texts]

    def generate(self, chats: Sequence[Chat]) -> Iterator[tuple[int, Answer | Failure]]:
        for index, chat in enumerate(chats):
            yield index, self._generate(chat)

    def score(self, readings: Sequence[Reading], options: Sequence[str]) -> Iterator[tuple[int, Likelihood | Failure]]:
        """A head is read once, whatever stands beside it in a batch."""
        import torch

        tails = [self._encode(option) for option in options]
        with torch.inference_mode():
            for index, reading in enumerate(readings):
                head, own = self._encode(reading.head), self._encode(reading.tail)
                if len(head) + len(own) + max(map(len, tails)) > self._length:
                    yield index, Failure(reason="too_long", detail=f"{len(head) + len(own)} tokens")
                    continue
                if self._head[0] != head:
                    self._head = (head, self._read(head, None)[1] if head else None)
                yield index, self._score(own, tails)

    def _score(self, own: list[int], tails: list[list[int]]) -> Likelihood:
        head, start = self._head
        logits_TV, cache = self._read(own, copy.deepcopy(start))
        scores: list[float] = []
        for tail in tails:
            rows = [logits_TV[-1]]
            if len(tail) > 1:
                rows += list(self._read(tail[:-1], copy.deepcopy(cache))[0])
            log_likelihood = sum(
                float(row_V.double().log_softmax(-1)[token]) for row_V, token in zip(rows, tail, strict=True)
            )
            scores.append(round(log_likelihood, 6))
        return Likelihood(log_likelihoods=tuple(scores), tokens_in=len(head) + len(own) + sum(map(len, tails)))

    def _read(self, tokens: list[int], cache: Any) -> tuple[Any, Any]:
        """Logits (tokens, vocabulary) behind each token, and the cache that holds them all."""
        import torch

        ids_1T = torch.tensor([tokens], device=self._device)
        done = self._model(input_ids=ids_1T, past_key_values=cache, use_cache=True)
        return done.logits[0], done.past_key_values

    def _encode(self, text: str) -> list[int]:
        return self._tokenizer(text, add_special_tokens=False).input_ids

    def _generate(self, chat: Chat) -> Answer | Failure:
        import torch

        sampling = self._config.sampling
        messages = [{"role": "system", "content": chat.system}] if chat.system else []
        messages.append({"role": "user", "content": chat.user})
        text = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        tokens = self._encode(text)
        room = self._length - len(tokens)
        if room < 1:
            return Failure(reason="too_long", detail=f"{len(tokens)} tokens for a model of {self._length}")
        options: dict[str, Any] = {"do_sample": False}
        if sampling.temperature:
            options = {
                "do_sample": True,
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                "top_k": sampling.top_k or None,
                "min_p": sampling.min_p or None,
            }
        ids_1T = torch.tensor([tokens], device=self._device)
        with torch.inference_mode(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(_seed(sampling.seed, text))
            out_1T = self._model.generate(
                input_ids=ids_1T,
                attention_mask=torch.ones_like(ids_1T),
                max_new_tokens=min(sampling.max_tokens, room),
                pad_token_id=self._ends[0],
                **options,
            )
        written = out_1T[0, len(tokens) :].tolist()
        finished = bool(written) and written[-1] in self._ends
        return Answer(
            text=self._tokenizer.decode(written, skip_special_tokens=True),
            finish_reason="stop" if finished else "length",
            tokens_in=len(tokens),
            tokens_out=len(written),
        )


def _load(folder: Path, dtype: str, device: str) -> tuple[Any, Any]:
    try:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError as error:
        raise InputError(f"engine 'transformers' needs the package transformers: {error}") from error
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    packed = sorted(path.name for path in folder.glob("*.gguf"))
    if len(packed) > 1:
        raise InputError(f"{folder}: several GGUF files, keep one: {packed}")
    if not packed and not (folder / "config.json").is_file():
        raise InputError(f"{folder}: neither config.json nor a GGUF file")
    options: dict[str, Any] = {"gguf_file": packed[0]} if packed else {"use_safetensors": True}
    local = {"local_files_only": True, "trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, **local, **({"gguf_file": packed[0]} if packed else {}))
        loaded: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype), **local, **options)
    except (OSError, ValueError, ImportError) as error:
        raise InputError(f"{folder}: transformers cannot load the model: {error}") from error
    return tokenizer, loaded.to(device).eval()


def _seed(seed: int, text: str) -> int:
    """The same question gets the same random numbers, whatever was asked before it."""
    return int.from_bytes(hashlib.sha256(f"{seed}\n{text}".encode()).digest()[:6], "big")
