"""A checkpoint and its tokenizer as something that continues text.

Shape suffixes: B rows, L prompt length.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer

from model.checkpoint import load_checkpoint
from model.generate import GREEDY, Sampling, decode, prefill
from model.hybrid import HybridLM
from ops.atomic import read_json
from ops.errors import InputError
from ops.generate.text import TextStream
from ops.store.record import RECORD_NAME
from ops.train.result import clear_model_errors
from ops.train.vocabulary import FILE, check_same_size, read_vocabulary


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A piece of the text of one row; the last one of a row says why it ended."""

    row: int
    text: str
    finished: str | None = None


@dataclass(frozen=True, kw_only=True)
class TextGenerator:
    """A network and the tokenizer that it was trained with."""

    model: HybridLM
    tokenizer: Tokenizer

    @classmethod
    def open(
        cls,
        checkpoint: Path,
        *,
        tokenizer: Path | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> "TextGenerator":
        """Read a checkpoint directory, or an artefact's; `tokenizer` is the directory of one that lies elsewhere.

        Raises:
            InputError: where there is no checkpoint or no tokenizer, one cannot be read, or they do not fit.
        """
        folder = _checkpoint_folder(checkpoint)
        tokenizer = folder if tokenizer is None else tokenizer
        if not (tokenizer / FILE).is_file():
            raise InputError(f"{tokenizer}: holds no {FILE}; name a tokenizer's directory")
        vocabulary = read_vocabulary(tokenizer)
        with clear_model_errors():
            model = load_checkpoint(folder, device=device, dtype=dtype).eval()
        check_same_size(model=model.config.vocab_size, tokenizer=vocabulary.size)
        return cls(model=model, tokenizer=Tokenizer.from_file(str(tokenizer / FILE)))

    def stream(
        self,
        prompts: Sequence[str],
        *,
        max_new_tokens: int,
        sampling: Sampling = GREEDY,
        stops: Sequence[str] = (),
    ) -> Iterator[Piece]:
        """Continue prompts of any lengths in one batch, up to the end of a document, a stop string or `max_new_tokens`.

        Pieces come as they are certain, the rows' mixed. Neither the end nor a stop string is part of the text. Row i
        draws from stream i. An empty prompt becomes the token that ends documents, behind which a new one begins.

        Raises:
            InputError: for an empty stop string.
            ValueError: for a setting out of range.
        """
        config = self.model.config
        rows = [self._encode(prompt) for prompt in prompts]
        streams = [TextStream(self.tokenizer, stops=stops, eos_token_id=config.eos_token_id) for _ in rows]
        length, device = max(map(len, rows)), self.model.lm_head.weight.device
        filler = config.pad_token_id or 0
        prompt_BL = torch.tensor([[filler] * (length - len(row)) + row for row in rows], device=device)
        mask_BL = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows], device=device)
        state = prefill(self.model, prompt_BL, attention_mask_BL=mask_BL, room=max_new_tokens)
        for token_B in decode(self.model, state, max_new_tokens=max_new_tokens, sampling=sampling):
            for row, (stream, token) in enumerate(zip(streams, token_B.tolist(), strict=True)):
                if stream.finished is None:
                    text = stream.feed(token)
                    if text or stream.finished is not None:
                        yield Piece(row=row, text=text, finished=stream.finished)
            if all(stream.finished is not None for stream in streams):
                return
        for row, stream in enumerate(streams):
            if stream.finished is None:
                yield Piece(row=row, text=stream.close(), finished=stream.finished)

    def _encode(self, prompt: str) -> list[int]:
        config = self.model.config
        ids = self.tokenizer.encode(prompt, add_special_tokens=False).ids
        if ids:
            return ids
        start = config.eos_token_id if config.eos_token_id is not None else config.bos_token_id
        if start is None:
            raise InputError("the prompt is empty, and the checkpoint names no token that ends a document")
        return [start]


def _checkpoint_folder(path: Path) -> Path:
    """Where the files of a checkpoint lie: in the directory, or below it where the store's record says."""
    if not path.is_dir():
        raise InputError(f"{path}: no such directory")
    if (path / "config.json").is_file():
        return path
    if (path / RECORD_NAME).is_file():
        folder = path / read_json(path / RECORD_NAME)["files_at"]
        if (folder / "config.json").is_file():
            return folder
    raise InputError(f"{path}: holds no config.json, so it is not a checkpoint directory")
