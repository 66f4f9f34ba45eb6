"""What can be cut, and which axis each dimension of each parameter runs over.

Axes have the names of the configuration's fields, but for the two sides of the experts' latent space:

| axis                       | one order per | what goes with it                                                      |
|----------------------------|---------------|------------------------------------------------------------------------|
| `d_model`                  | network       | embeddings, norms, rows or columns of every projection, output         |
|                            |               | projection; multi-token prediction with its joint                      |
| `intermediate_size`        | `-` layer     | rows of up_proj, columns of down_proj                                  |
| `num_attention_heads`      | `*` layer     | rows of q_proj, columns of o_proj, inside the head's key-value group   |
| `mamba_num_heads`          | `M` layer     | rows z, x, dt of in_proj, convolution of x, A_log, D, dt_bias, gated   |
|                            |               | norm, columns of out_proj, inside the head's B/C group                 |
| `mamba_head_dim`           | `M` layer     | the same channels of every head: z, x, convolution, norm, out_proj     |
| `n_routed_experts`         | `E` layer     | rows and correction biases of the router, the experts, inside the      |
|                            |               | router's group                                                         |
| `moe_intermediate_size`    | expert        | rows of its up_proj, columns of its down_proj                          |
| `moe_shared_expert_inter-` | `E` layer     | rows of the shared expert's up_proj, columns of its down_proj          |
| `mediate_size`             |               |                                                                        |
| `moe_latent_input`         | `E` layer     | rows of fc1_latent_proj, columns of the experts' up_proj               |
| `moe_latent_output`        | `E` layer     | rows of the experts' down_proj, columns of fc2_latent_proj             |

Heads of a group share B and C (keys and values) and the statistics of the gated norm, so they may trade places with
each other only: every group keeps the same number of heads. Key-value heads, `head_dim`, `n_groups` and
`ssm_state_size` stay (Minitron-SSM, arXiv 2504.11409, section 2.2), and so does `num_experts_per_tok`.
"""

import re

from model.config import HybridConfig

LAYER_AXES: dict[str, tuple[str, ...]] = {
    "M": ("mamba_num_heads", "mamba_head_dim"),
    "-": ("intermediate_size",),
    "*": ("num_attention_heads",),
    "E": (
        "n_routed_experts",
        "moe_intermediate_size",
        "moe_shared_expert_intermediate_size",
        "moe_latent_input",
        "moe_latent_output",
    ),
}
FIELDS = {"moe_latent_input": "moe_latent_size", "moe_latent_output": "moe_latent_size"}
"""Axis -> field of the configuration that holds its size, where the names differ."""

WIDTH_AXES = ("d_model", "intermediate_size", "num_attention_heads", "mamba_num_heads", "mamba_head_dim")
"""Fields that can be cut in any network."""

EXPERT_AXES = (
    "n_routed_experts",
    "moe_intermediate_size",
    "moe_shared_expert_intermediate_size",
    "moe_latent_size",
)
"""Fields that can be cut in a network with experts."""

GROUPS = {
    "num_attention_heads": "num_key_value_heads",
    "mamba_num_heads": "n_groups",
    "n_routed_experts": "n_group",
}
"""Axis -> field that says into how many equal groups it divides; places are traded inside a group alone."""

Dims = tuple[str | None, ...]
"""What each dimension of a parameter runs over; None: nothing that is cut."""

GLOBAL_PARAMETERS: dict[str, Dims] = {
    "backbone.embeddings.weight": (None, "d_model"),
    "backbone.norm_f.weight": ("d_model",),
    "lm_head.weight": (None, "d_model"),
}
LAYER_PARAMETERS: dict[str, dict[str, Dims]] = {
    "M": {
        "norm.weight": ("d_model",),
        "output_norm.weight": ("d_model",),
        "mixer.in_proj.weight": ("in_proj", "d_model"),
        "mixer.conv1d.weight": ("conv", None, None),
        "mixer.conv1d.bias": ("conv",),
        "mixer.A_log": ("mamba_num_heads",),
        "mixer.D": ("mamba_num_heads",),
        "mixer.dt_bias": ("mamba_num_heads",),
        "mixer.norm.weight": ("inner",),
        "mixer.out_proj.weight": ("d_model", "inner"),
    },
    "-": {
        "norm.weight": ("d_model",),
        "output_norm.weight": ("d_model",),
        "mixer.up_proj.weight": ("intermediate_size", "d_model"),
        "mixer.down_proj.weight": ("d_model", "intermediate_size"),
    },
    "*": {
        "norm.weight": ("d_model",),
        "output_norm.weight": ("d_model",),
        "mixer.q_proj.weight": ("query", "d_model"),
        "mixer.k_proj.weight": (None, "d_model"),
        "mixer.v_proj.weight": (None, "d_model"),
        "mixer.o_proj.weight": ("d_model", "query"),
        "mixer.q_norm.weight": (None,),
        "mixer.k_norm.weight": (None,),
        "mixer.v_norm.weight": (None,),
    },
    "E": {
        "norm.weight": ("d_model",),
        "output_norm.weight": ("d_model",),
        "mixer.gate.weight": ("n_routed_experts", "d_model"),
        "mixer.gate.e_score_correction_bias": ("n_routed_experts",),
        "mixer.experts.up_proj.weight": ("moe_intermediate_size", "expert_input"),
        "mixer.experts.down_proj.weight": ("expert_output", "moe_intermediate_size"),
        "mixer.shared_experts.up_proj.weight": ("moe_shared_expert_intermediate_size", "d_model"),
        "mixer.shared_experts.down_proj.weight": ("d_model", "moe_shared_expert_intermediate_size"),
        "mixer.fc1_latent_proj.weight": ("moe_latent_input", "d_model"),
        "mixer.fc2_latent_proj.weight": ("d_model", "moe_latent_output"),
    },
}
"""By the names on disk, but that those of a routed expert stand without its number."""

MTP_PARAMETERS: dict[str, Dims] = {
    "enorm.weight": ("d_model",),
    "hnorm.weight": ("d_model",),
    "eh_proj.weight": ("d_model", "joint"),
    "final_layernorm.weight": ("d_model",),
}
"""What the first and last layer of a block for multi-token prediction has beside its own parameters."""

LAYER_NAME = re.compile(r"(backbone|mtp)\.layers\.(\d+)\.(.+)")
EXPERT_NAME = re.compile(r"mixer\.experts\.(\d+)\.(up_proj|down_proj)\.weight")


def axis_size(config: HybridConfig, axis: str) -> int:
    """How many channels, heads or experts an axis has in a layer (of one expert)."""
    return getattr(config, FIELDS.get(axis, axis))


def num_groups(config: HybridConfig, axis: str) -> int:
    """Into how many groups an axis divides."""
    return getattr(config, GROUPS[axis]) if axis in GROUPS else 1


def layer_axes(config: HybridConfig, letter: str) -> tuple[str, ...]:
    """The axes of a layer of this network."""
    axes = LAYER_AXES[letter]
    return axes if config.moe_latent_size is not None else tuple(axis for axis in axes if axis not in FIELDS)


def width_axes(config: HybridConfig) -> tuple[str, ...]:
    """The fields of the configuration that can be cut in this network: those that some layer of it has."""
    letters = dict.fromkeys(config.pattern + config.mtp_pattern)
    present = {FIELDS.get(axis, axis) for letter in letters for axis in layer_axes(config, letter)}
    return tuple(axis for axis in (*WIDTH_AXES, *EXPERT_AXES) if axis == "d_model" or axis in present)


def score_shape(config: HybridConfig, axis: str) -> tuple[int, ...]:
    """Shape of the scores of an axis: one for each, or for each of every expert."""
    size = axis_size(config, axis)
    return (config.n_routed_experts, size) if axis == "moe_intermediate_size" else (size,)
