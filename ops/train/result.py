"""The end of a run: the checkpoint, the curve, samples for people, checks, and what the stage reports.

`result.json` is written when all else is there; a run that finds it is finished.
"""

import hashlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from model.checkpoint import load_checkpoint, save_checkpoint
from model.generate import generate
from model.hybrid import HybridLM
from ops.atomic import read_json, sweep, write_json
from ops.errors import InputError
from ops.identity import decode, encode
from ops.stage import Check, StageResult
from ops.train.config import RunConfig
from ops.train.loop import Run
from ops.train.metrics import CURVE, METRICS, SPEED, SPIKES, curve, read_metrics
from ops.train.sharding import gathered
from ops.train.state import remove_states
from ops.train.vocabulary import FILE, tokenizer_files

RESULT = "result.json"
MAX_SHOWN = 20


def finished(out: Path, *, identity: str, writes: bool = True) -> StageResult | None:
    """The result of a run that had finished in `out`. With `writes`, states go that a kill behind the result left.

    Raises:
        InputError: when it is the result of another run.
    """
    path = out / RESULT
    if not path.exists():
        return None
    data = read_json(path)
    if data["identity"] != identity:
        raise InputError(f"{path}: is the result of a run with another configuration; use another output directory")
    if writes:
        remove_states(out)
    return decode(StageResult, data["result"], str(path))


def finish(
    run: Run,
    *,
    tokenizer: Path,
    checks: Callable[[dict[str, Any], dict[str, Any]], Sequence[Check]],
    summary: Mapping[str, Any] | None = None,
) -> StageResult:
    """Write the finished model of `run` as a checkpoint with everything beside it, and remove the states.

    `checks` is given the first and the last validation of the run, `summary` is added to that of the result.
    """
    out, config = run.out, run.config
    model = gathered(run.objective.model, run.world)
    if run.world.writes and model is not None:
        sweep(out)
        save_checkpoint(model, out, tokenizer_files=tokenizer_files(tokenizer))
        rows = list(read_metrics(out / METRICS))
        points = curve(rows)
        write_json(out / CURVE, points)
        spikes = [{"step": row["step"], **row["spike"]} for row in rows if "spike" in row]
        write_json(out / SPIKES, spikes)
        shown = [{**spike, "documents": len(spike["documents"])} for spike in spikes[:MAX_SHOWN]]
        tokens = config.num_steps * config.tokens_per_step
        before, after = points["validation"][0], points["validation"][-1]
        parameters = sum(parameter.numel() for parameter in model.parameters())
        result = StageResult(
            counts={"steps": config.num_steps, "tokens": tokens, "parameters": parameters},
            checks=(*checks(before, after), finite_weights(model), parameter_count(model, parameters)),
            tokens=tokens,
            flops=float(tokens * run.flops_per_token),
            volatile=(SPEED,),
            summary={
                **(summary or {}),
                **({"loss_spikes": shown} if shown else {}),
                "validation_before": before,
                "validation_after": after,
                "curve": points["training"],
                "samples": samples(model, tokenizer, config.sample_prompts, config.sample_tokens),
            },
        )
        write_json(out / RESULT, {"identity": run.identity, "result": encode(result)})
    run.world.barrier()
    found = finished(out, identity=run.identity, writes=run.world.writes)
    assert found is not None
    return found


def improved(name: str, before: float, after: float, *, description: str, blocking: bool = True) -> Check:
    """The check that a loss went down."""
    return Check(
        name=name,
        passed=after < before,
        description=description,
        metadata={"before": before, "after": after},
        blocking=blocking,
    )


def finite_weights(model: HybridLM) -> Check:
    """The check that no weight is infinite or not a number."""
    tensors = (*model.named_parameters(), *model.named_buffers())
    bad = [name for name, tensor in tensors if not bool(tensor.isfinite().all())]
    return Check(
        name="finite_weights",
        passed=not bad,
        description="every weight of the finished model is a finite number",
        metadata={"not_finite": bad},
    )


def parameter_count(model: HybridLM, parameters: int) -> Check:
    """The check that `parameters` is the number that the configuration says."""
    return Check(
        name="parameter_count",
        passed=parameters == model.config.num_params(),
        description="the network has as many parameters as its configuration says",
        metadata={"parameters": parameters, "configured": model.config.num_params()},
    )


def check_can_sample(config: RunConfig) -> None:
    """Raise InputError at the beginning, not at the end, where prompts are to be continued without `tokenizers`."""
    if config.sample_prompts and importlib.util.find_spec("tokenizers") is None:
        raise InputError("sample_prompts: needs the package `tokenizers`; install it or give no prompts")


def samples(model: HybridLM, tokenizer: Path, prompts: Sequence[str], num_tokens: int) -> list[dict[str, str]]:
    """Greedy continuations of the prompts."""
    if not prompts:
        return []
    from tokenizers import Tokenizer

    encoder = Tokenizer.from_file(str(tokenizer / FILE))
    device = model.lm_head.weight.device
    found = []
    for prompt in prompts:
        ids = encoder.encode(prompt, add_special_tokens=False).ids
        tokens_BL = generate(
            model,
            torch.tensor([ids], device=device),
            max_new_tokens=num_tokens,
            eos_token_id=model.config.eos_token_id,
        )
        continuation = encoder.decode(tokens_BL[0, len(ids) :].tolist(), skip_special_tokens=True)
        found.append({"prompt": prompt, "continuation": continuation})
    return found


@contextmanager
def clear_model_errors() -> Iterator[None]:
    """Turn the errors of `model.checkpoint`, which name the file, into errors of a stage."""
    try:
        yield
    except (FileNotFoundError, ValueError) as error:
        raise InputError(str(error)) from error


def load_model(directory: Path, device: torch.device) -> HybridLM:
    """The network of a checkpoint directory, in float32.

    Raises:
        InputError: when it is not a complete checkpoint of a supported network.
    """
    with clear_model_errors():
        return load_checkpoint(directory, device=device)


def checkpoint_files(name: str, directory: Path) -> dict[str, Path]:
    """The files of a checkpoint that decide what it is."""
    return {f"{name}/{path.name}": path for path in (directory / "config.json", *directory.glob("*.safetensors"))}


def digests(paths: Mapping[str, Path]) -> dict[str, Any]:
    """SHA-256 of files by name: what a run by hand depends on beside its config.

    Raises:
        InputError: when a file is missing.
    """
    found = {}
    for name, path in sorted(paths.items()):
        try:
            with path.open("rb") as stream:
                found[name] = hashlib.file_digest(stream, "sha256").hexdigest()
        except FileNotFoundError:
            raise InputError(f"{path}: no such file") from None
    return found
