"""`config.json` of the `nemotron_h` format, to and from `HybridConfig`. Imports no torch.

Written is the subset of keys that transformers (>= 5.15), vLLM and older readers agree on. Layers are given by
`hybrid_override_pattern`: the list form was renamed between transformers versions and other readers lack it.
`time_step_min` is written as 0: transformers clamps dt there, whereas training, vLLM and this project do not.
For the same reason it is not read: published configurations hold the range of the initialisation in it.
"""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from model.config import HybridConfig

MODEL_TYPE = "nemotron_h"

# HybridConfig field -> key of config.json, where the names differ.
RENAMED = {"d_model": "hidden_size", "pattern": "hybrid_override_pattern"}

_SAME_NAME = (
    "vocab_size",
    "intermediate_size",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "mamba_num_heads",
    "mamba_head_dim",
    "ssm_state_size",
    "n_groups",
    "conv_kernel",
    "chunk_size",
    "layer_norm_epsilon",
    "initializer_range",
    "tie_word_embeddings",
    "max_position_embeddings",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
)

# Keys without which a network cannot be described; the others have a default in HybridConfig.
_REQUIRED = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "num_key_value_heads",
    "mamba_num_heads",
    "mamba_head_dim",
    "ssm_state_size",
    "n_groups",
)

_BLOCK_LETTERS = {
    "linear_attention": "M",
    "mamba": "M",
    "full_attention": "*",
    "attention": "*",
    "mlp": "-",
    "moe": "E",
}


def _falsy(value: Any) -> bool:
    return not value


def _number(value: Any) -> float:
    """A float from JSON; transformers writes infinity as {"__float__": "Infinity"}, NVIDIA as Infinity."""
    return float(value["__float__"] if isinstance(value, dict) else value)


# Features that the network lacks: key -> whether a value leaves the feature off.
_UNSUPPORTED: dict[str, Callable[[Any], bool]] = {
    "use_bias": _falsy,
    "mlp_bias": _falsy,
    "attention_bias": _falsy,
    "mamba_proj_bias": _falsy,
    "use_conv_bias": bool,
    "mamba_hidden_act": lambda value: value == "silu",
    "mlp_hidden_act": lambda value: value == "relu2",
    "attention_dropout": _falsy,
    "hidden_dropout": _falsy,
    "sliding_window": lambda value: value is None,
    "num_nextn_predict_layers": _falsy,
    "quantization_config": _falsy,
    "time_step_limit": lambda value: value is None or [_number(edge) for edge in value] == [0.0, math.inf],
}


def to_hf(config: HybridConfig, *, dtype: str = "float32") -> dict[str, Any]:
    """The contents of config.json; `dtype` is the name of the parameters' type."""
    out: dict[str, Any] = {
        "architectures": ["NemotronHForCausalLM"],
        "model_type": MODEL_TYPE,
        "hybrid_override_pattern": config.pattern,
        "num_hidden_layers": config.num_layers,
        "hidden_size": config.d_model,
    }
    out.update({name: getattr(config, name) for name in _SAME_NAME})
    out.update(
        expand=2,
        use_conv_bias=True,
        use_bias=False,
        mlp_bias=False,
        attention_bias=False,
        mamba_proj_bias=False,
        mamba_hidden_act="silu",
        mlp_hidden_act="relu2",
        residual_in_fp32=False,
        rescale_prenorm_residual=True,
        mamba_ssm_cache_dtype="float32",
        time_step_min=0.0,
        time_step_max=0.1,
        time_step_floor=1e-4,
        n_shared_experts=1,
        torch_dtype=dtype,
    )
    return out


def from_hf(values: dict[str, Any], *, source: str = "config.json") -> HybridConfig:
    """The network that a config.json describes; `source` names it in errors.

    Reads this project's form, NVIDIA's, and the one that transformers saves. Raises ValueError that names the
    source and the key for another model type, a feature that is not supported, or a missing or wrong value.
    """
    if values.get("model_type") != MODEL_TYPE:
        raise ValueError(f"{source}: model_type is {values.get('model_type')!r}, expected {MODEL_TYPE!r}")
    for key, off in _UNSUPPORTED.items():
        if key in values and not off(values[key]):
            raise ValueError(f"{source}: {key} = {values[key]!r} is not supported")
    for key in _REQUIRED:
        if key not in values:
            raise ValueError(f"{source}: {key} is missing")
    fields = {name: values[name] for name in _SAME_NAME if name in values}
    if "head_dim" not in fields and "attention_head_dim" in values:
        fields["head_dim"] = values["attention_head_dim"]
    if "head_dim" not in fields:
        raise ValueError(f"{source}: head_dim is missing")
    for name in ("layer_norm_epsilon", "initializer_range"):
        if name in fields and isinstance(fields[name], int):
            fields[name] = float(fields[name])
    try:
        config = HybridConfig(pattern=_pattern(values, source), d_model=values["hidden_size"], **fields)
    except ValueError as error:
        names = {f"{field} ": f"{key} " for field, key in RENAMED.items()}
        message = str(error)
        for field, key in names.items():
            message = message.replace(field, key)
        raise ValueError(f"{source}: {message}") from error
    layers = values.get("num_hidden_layers")
    if layers is not None and layers != config.num_layers:
        raise ValueError(f"{source}: num_hidden_layers is {layers}, the pattern has {config.num_layers} layers")
    return config


def _pattern(values: dict[str, Any], source: str) -> str:
    if "hybrid_override_pattern" in values:
        return values["hybrid_override_pattern"]
    kinds = values.get("layers_block_type", values.get("layer_types"))
    if kinds is None:
        raise ValueError(f"{source}: neither hybrid_override_pattern nor layers_block_type is present")
    unknown = sorted({str(kind) for kind in kinds} - set(_BLOCK_LETTERS))
    if unknown:
        raise ValueError(f"{source}: layers_block_type holds unknown kinds: {', '.join(unknown)}")
    return "".join(_BLOCK_LETTERS[kind] for kind in kinds)


def read_config(folder: Path | str) -> HybridConfig:
    """The network of a checkpoint folder, without its weights.

    Raises FileNotFoundError where there is no config.json and ValueError, naming the file, where it is not one
    of a supported network.
    """
    path = Path(folder) / "config.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not JSON: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path}: expected an object")
    return from_hf(values, source=str(path))
