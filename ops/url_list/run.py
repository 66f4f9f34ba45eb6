"""Copy the list and check that it is the one that was meant."""

import shutil
from pathlib import Path

from ops.atomic import atomic_path
from ops.errors import InputError
from ops.stage import Check, Execution, Inputs, StageResult
from ops.store.files import sha256_of
from ops.url_list.config import UrlListConfig


def run(config: UrlListConfig, inputs: Inputs, out: Path, execution: Execution) -> StageResult:
    """Write `urls.txt`, the file at `execution.source`.

    Raises:
        InputError: when there is no such file or it is not the one that the config names.
    """
    if execution.source is None or not Path(execution.source).is_file():
        raise InputError(f"source: {execution.source}: no file with addresses")
    with atomic_path(out / "urls.txt") as temporary:
        shutil.copyfile(execution.source, temporary)
        if (found := sha256_of(temporary)) != config.sha256:
            raise InputError(f"source: {execution.source} has SHA-256 {found}, the recipe names {config.sha256}")
    with (out / "urls.txt").open("rb") as stream:
        count = sum(1 for line in stream if line.strip())
    check = Check(name="not_empty", passed=count > 0, description="the list has at least one address")
    return StageResult(counts={"urls": count}, checks=[check])
