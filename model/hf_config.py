"""`config.json` of the `nemotron_h` format, to and from `HybridConfig`. Imports no torch.

Written is the subset of keys that transformers (>= 5.15), vLLM and older readers agree on. Layers are given by
`hybrid_override_pattern`: the list form was renamed between transformers versions and other readers lack it.
Keys of experts and of multi-token prediction are written and read where the network has them: transformers fills in
defaults of its own for those of a network without.
`time_step_min` is written as 0: transformers clamps dt there, whereas training, vLLM and this project do not.
For the same reason it is not read: published configurations hold the range of the initialisation in it.
"""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from model.config import OWN_OPTIONS, HybridConfig

MODEL_TYPE = "nemotron_h"
# Networks that `nemotron_h` cannot describe have a type of their own, so that no other program takes them for one.
OWN_TYPE = "stillhouse_hybrid"

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

_EXPERTS = (
    "n_routed_experts",
    "num_experts_per_tok",
    "moe_intermediate_size",
    "moe_shared_expert_intermediate_size",
    "moe_latent_size",
    "routed_scaling_factor",
    "norm_topk_prob",
    "n_group",
    "topk_group",
)
_MTP = ("num_nextn_predict_layers", "mtp_hybrid_override_pattern")

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
_REQUIRED_EXPERTS = (
    "n_routed_experts",
    "num_experts_per_tok",
    "moe_intermediate_size",
    "moe_shared_expert_intermediate_size",
)


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
    "quantization_config": _falsy,
    **{name: lambda value, off=off: value in (off, None) for name, off in OWN_OPTIONS.items()},
    "time_step_limit": lambda value: value is None or [_number(edge) for edge in value] == [0.0, math.inf],
}


def to_hf(config: HybridConfig, *, dtype: str = "float32") -> dict[str, Any]:
    """The contents of config.json; `dtype` is the name of the parameters' type. The model type is `nemotron_h`, or
    OWN_TYPE for a network that it cannot describe."""
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
    if config.own_options:
        out.update(architectures=["StillhouseHybridForCausalLM"], model_type=OWN_TYPE, **config.own_options)
    if config.has_experts:
        out.update({name: getattr(config, name) for name in _EXPERTS})
    if config.num_nextn_predict_layers:
        out.update({name: getattr(config, name) for name in _MTP})
    return out


def from_hf(values: dict[str, Any], *, source: str = "config.json") -> HybridConfig:
    """The network that a config.json describes; `source` names it in errors.

    Reads this project's form, NVIDIA's, and the one that transformers saves. Raises ValueError that names the
    source and the key for another model type, a feature that is not supported, or a missing or wrong value.
    """
    own = values.get("model_type") == OWN_TYPE
    if not own and values.get("model_type") != MODEL_TYPE:
        raise ValueError(f"{source}: model_type is {values.get('model_type')!r}, expected {MODEL_TYPE!r}")
    for key, off in _UNSUPPORTED.items():
        if key in values and not off(values[key]) and not (own and key in OWN_OPTIONS):
            raise ValueError(f"{source}: {key} = {values[key]!r} is not supported")
    for key in _REQUIRED:
        if key not in values:
            raise ValueError(f"{source}: {key} is missing")
    fields = {name: values[name] for name in (*_SAME_NAME, *(OWN_OPTIONS if own else ())) if name in values}
    if "head_dim" not in fields and "attention_head_dim" in values:
        fields["head_dim"] = values["attention_head_dim"]
    if "head_dim" not in fields:
        raise ValueError(f"{source}: head_dim is missing")
    pattern = _pattern(values, source, "hybrid_override_pattern", ("layers_block_type", "layer_types"))
    if values.get("num_nextn_predict_layers"):
        fields["num_nextn_predict_layers"] = values["num_nextn_predict_layers"]
        fields["mtp_hybrid_override_pattern"] = _pattern(
            values, source, "mtp_hybrid_override_pattern", ("mtp_layers_block_type",)
        )
    if "E" in f"{pattern}{fields.get('mtp_hybrid_override_pattern', '')}":
        for key in _REQUIRED_EXPERTS:
            if key not in values:
                raise ValueError(f"{source}: {key} is missing")
        if values.get("n_shared_experts", 1) != 1:
            raise ValueError(
                f"{source}: n_shared_experts = {values['n_shared_experts']!r} is not supported, only one is "
                "(of moe_shared_expert_intermediate_size)"
            )
        fields |= {name: values[name] for name in _EXPERTS if name in values}
    floats = "layer_norm_epsilon initializer_range routed_scaling_factor attn_logit_softcapping final_logit_softcapping"
    for name in floats.split():
        if type(fields.get(name)) is int:
            fields[name] = float(fields[name])
    try:
        config = HybridConfig(pattern=pattern, d_model=values["hidden_size"], **fields)
    except ValueError as error:
        field, rest = re.match(r"(\w*)(.*)", str(error), re.DOTALL).groups()  # type: ignore[union-attr]
        raise ValueError(f"{source}: {RENAMED.get(field, field)}{rest}") from error
    layers = values.get("num_hidden_layers")
    if layers is not None and layers != config.num_layers:
        raise ValueError(f"{source}: num_hidden_layers is {layers}, the pattern has {config.num_layers} layers")
    return config


def _pattern(values: dict[str, Any], source: str, key: str, list_keys: tuple[str, ...]) -> str:
    """The pattern under `key`, or that of the first of the list forms that is there."""
    if key in values:
        return values[key]
    found = [name for name in list_keys if name in values]
    if not found:
        raise ValueError(f"{source}: neither {key} nor {list_keys[0]} is present")
    kinds = values[found[0]]
    unknown = sorted({str(kind) for kind in kinds} - set(_BLOCK_LETTERS))
    if unknown:
        raise ValueError(f"{source}: {found[0]} holds unknown kinds: {', '.join(unknown)}")
    return "".join(_BLOCK_LETTERS[kind] for kind in kinds)


def read_config(folder: Path | str) -> HybridConfig:
    """The network of a checkpoint folder, without its weights.

    Raises FileNotFoundError where there is no config.json and ValueError, naming the file, where it is not one
    of a supported network.
    """
    path = Path(folder) / "config.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file; a checkpoint is a folder with config.json") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not JSON: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path}: expected an object")
    return from_hf(values, source=str(path))
