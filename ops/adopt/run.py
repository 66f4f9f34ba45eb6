"""Adopting a checkpoint as a stage."""

import json
from pathlib import Path
from typing import Any

import torch

from model.checkpoint import load_checkpoint, save_checkpoint
from ops.adopt.config import AdoptConfig
from ops.atomic import read_json, sweep
from ops.errors import InputError
from ops.stage import Execution, Inputs, StageResult, one
from ops.train.result import clear_model_errors, finite_weights, parameter_count
from ops.train.vocabulary import FILE, check_same_size, read_vocabulary, tokenizer_files

READ = ("config.json", "*.safetensors", "model.safetensors.index.json", "tokenizer*.json", "special_tokens_map.json")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def observe(config: AdoptConfig, execution: Execution) -> Any:
    """Name, size and time of modification (ns) of every file that is read.

    Raises:
        InputError: when `execution.source` is no checkpoint directory.
    """
    source = _source(execution)
    files = sorted({path for pattern in READ for path in source.glob(pattern)})
    return [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files]


def run(config: AdoptConfig, inputs: Inputs, out: Path, execution: Execution) -> StageResult:
    """Verify the checkpoint in `execution.source` and write it to `out` in this project's form, weights unchanged.

    Input `tokenizer` may be absent, then the source must bring its own. When both are there, they must be the same.

    Raises:
        InputError: when the source is not a complete checkpoint of a supported network, names the file and tensor;
            when there is no tokenizer, or one that does not fit.
    """
    source = _source(execution)
    tokenizer = _tokenizer(source, inputs)
    with clear_model_errors():
        model = load_checkpoint(source, dtype=_dtype(source))
    check_same_size(model=model.config.vocab_size, tokenizer=read_vocabulary(tokenizer).size)
    sweep(out)
    save_checkpoint(model, out, tokenizer_files=tokenizer_files(tokenizer))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return StageResult(
        counts={"parameters": parameters},
        checks=(finite_weights(model), parameter_count(model, parameters)),
        summary={"pattern": model.config.pattern, "d_model": model.config.d_model, "parameters": parameters},
    )


def _source(execution: Execution) -> Path:
    if execution.source is None:
        raise InputError("adopt needs a source: the directory of a nemotron_h checkpoint")
    source = Path(execution.source)
    if not (source / "config.json").is_file():
        raise InputError(f"{source}: holds no config.json, so it is not a checkpoint directory")
    return source


def _dtype(source: Path) -> torch.dtype:
    """The type of the weights, kept as it is (A_log, D and dt_bias become float32)."""
    path = source / "config.json"
    data = read_json(path)
    name = data.get("torch_dtype") or data.get("dtype") or "float32"
    if name not in DTYPES:
        raise InputError(f"{path}: torch_dtype {name!r} is none of {sorted(DTYPES)}")
    return DTYPES[name]


def _tokenizer(source: Path, inputs: Inputs) -> Path:
    own = (source / FILE).is_file()
    if not inputs.get("tokenizer"):
        if not own:
            raise InputError(f"{source}: holds no {FILE}; give one as input `tokenizer`")
        return source
    given = one(inputs, "tokenizer")
    if own and _essence(source) != _essence(given):
        raise InputError(
            f"{source / FILE}: is not the tokenizer {given / FILE}; the checkpoint speaks another language"
        )
    return given


def _essence(directory: Path) -> str:
    """What decides the token ids: the model, its added tokens, and what is done to text before."""
    data = read_json(directory / FILE)
    parts = ("model", "added_tokens", "normalizer", "pre_tokenizer")
    return json.dumps({part: data.get(part) for part in parts}, sort_keys=True)
