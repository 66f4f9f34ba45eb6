"""The model card: what is known of a checkpoint, and nothing that is not."""

from collections.abc import Mapping, Sequence
from typing import Any

from model.config import HybridConfig
from model.config_checks import LAYER_KINDS
from ops.export.config import ExportConfig
from ops.store.record import Parent, Record

MAX_PARTITIONS = 8

FRONT_MATTER = """\
---
library_name: transformers
pipeline_tag: text-generation
tags:
- nemotron_h
- mamba2
---
"""

TRAINING_STAGES = ("train", "merge", "prune", "distill")

USE = """\
With [transformers](https://github.com/huggingface/transformers) 5.15 or newer (earlier ones compute long sequences \
wrongly on a CPU):

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(path)
model = AutoModelForCausalLM.from_pretrained(path)
inputs = tokenizer("The derivative of", return_tensors="pt")
print(tokenizer.decode(model.generate(**inputs, max_new_tokens=64)[0]))
```

With Stillhouse: `python -m ops.generate PATH --prompt "The derivative of"`.
"""


def model_card(
    config: ExportConfig, model: HybridConfig, *, record: Record | None, scores: Mapping[str, Any] | None
) -> str:
    """Markdown. Depends on what the record says of content, not of time or place."""
    sections = [
        f"{FRONT_MATTER}\n# {config.name}\n",
        f"{_introduction(model, record)}\n",
        "## Network\n",
        _table(("", ""), _network(config, model)),
        "## Use\n",
        USE,
    ]
    if scores is not None:
        sections += ["## Scores\n", _table(("", ""), _validation(scores)), *_tasks(scores)]
    if record is not None:
        sections += ["## Origin\n", *_origin(record)]
        if record.checks:
            rows = [(check.name, "held" if check.passed else "failed", check.description) for check in record.checks]
            sections += ["## Checks\n", _table(("check", "result", "meaning"), rows)]
        sections += _samples(record)
    return "\n".join(sections)


def _introduction(model: HybridConfig, record: Record | None) -> str:
    present = [kind for letter, kind in LAYER_KINDS.items() if letter in model.pattern]
    network = (
        f"A language model of {len(model.pattern)} residual layers ({', '.join(present)}) in the `nemotron_h` form."
    )
    if record is None or record.stage not in TRAINING_STAGES:
        return network
    return (
        f"{network} It was made by Stillhouse from the mathematics of Common Crawl. It continues text; it was not "
        "trained to follow instructions, and what it says may be wrong."
    )


def _network(config: ExportConfig, model: HybridConfig) -> list[tuple[str, str]]:
    rows = [
        ("layers", f"`{model.pattern}` ({', '.join(f'`{letter}` {kind}' for letter, kind in LAYER_KINDS.items())})"),
        ("parameters", f"{model.num_params():,}"),
    ]
    if model.has_experts:
        rows.append(("parameters of one token", f"{model.num_active_params():,} (without the table of embeddings)"))
        rows.append(("experts", f"{model.n_routed_experts}, {model.num_experts_per_tok} chosen, and a shared one"))
    if model.num_nextn_predict_layers:
        rows.append(("multi-token prediction", f"`{model.mtp_hybrid_override_pattern}`, {model.mtp_params():,}"))
    return [
        *rows,
        ("width", f"{model.d_model:,}"),
        ("vocabulary", f"{model.vocab_size:,}"),
        ("weights", config.dtype),
    ]


def _validation(scores: Mapping[str, Any]) -> list[tuple[str, str]]:
    validation = scores["validation"]
    return [
        ("held-out tokens", f"{validation['tokens']:,}"),
        ("loss (nats a token)", _number(validation["loss"])),
        ("bits per byte", _number(validation["bits_per_byte"])),
    ]


def _tasks(scores: Mapping[str, Any]) -> list[str]:
    rows = []
    for name, task in sorted(scores["tasks"].items()):
        documents = f"{task['documents']:,}"
        for measure, value in task.items():
            if isinstance(value, float):
                interval = task.get(f"{measure}_interval")
                between = "" if interval is None else " to ".join(map(_number, interval))
                rows.append((name, measure, _number(value), between, documents))
    return [_table(("task", "measure", "value", "95 % interval", "documents"), rows)] if rows else []


def _origin(record: Record) -> list[str]:
    facts = [
        ("artefact", f"`{record.id}`"),
        ("content", f"`{record.digest}`"),
        ("stage", f"`{record.stage}` {record.code_version}"),
    ]
    facts += [(name.replace("_", " "), f"{value:,}") for name, value in sorted(record.counts.items())]
    if record.cost.flops:
        facts.append(("FLOPs", f"{record.cost.flops:.3g}"))
    return [
        _table(("", ""), facts),
        "Made from:\n",
        _table(("input", "artefact", "partition", "version", "content"), _parents(record)),
    ]


def _parents(record: Record) -> list[tuple[str, str, str, str, str]]:
    """A row for each parent; one for all partitions of an asset where they are many."""
    groups: dict[tuple[str, str], list[Parent]] = {}
    for parent in record.parents:
        groups.setdefault((parent.input, parent.asset), []).append(parent)
    rows = []
    for (name, asset), parents in groups.items():
        if len(parents) > MAX_PARTITIONS:
            rows.append((name, f"`{asset}`", f"{len(parents):,} partitions", "", ""))
            continue
        for parent in parents:
            rows.append((name, f"`{asset}`", parent.partition or "", f"`{parent.version}`", f"`{parent.digest[:12]}`"))
    return rows


def _samples(record: Record) -> list[str]:
    samples = record.summary.get("samples") or []
    if not samples:
        return []
    blocks = [f"> **{_quoted(sample['prompt'])}**{_quoted(sample['continuation'])}\n" for sample in samples]
    return ["## Samples\n", "Greedy continuations, as they came:\n", *blocks]


def _quoted(text: str) -> str:
    return text.replace("*", "\\*").replace("\n", "\n> ")


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4g}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"
