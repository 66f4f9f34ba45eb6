"""Resources: the store, and the launcher of heavy stages."""

from collections.abc import Mapping

import dagster as dg
from dagster import PipesSubprocessClient
from dagster._core.errors import DagsterPipesExecutionError

from assets.settings import LaunchMode
from ops.execute import Launch, run_in_process
from ops.launch import ROOT, ChildProcess
from ops.settings import open_store
from ops.store import Store


class StoreResource(dg.ConfigurableResource):
    """The store over fsspec."""

    url: str = ""
    """Empty: STILLHOUSE_STORE, else `store` in the repository."""

    def open(self) -> Store:
        return open_store(self.url or None)


class LauncherResource(dg.ConfigurableResource):
    """Where heavy stages run: this process, a child over Dagster Pipes, or several under torchrun."""

    mode: str = "subprocess"
    nproc: int = 1

    def launch(self, context: dg.AssetExecutionContext) -> Launch:
        """A launcher that reports to this step."""
        mode: LaunchMode = self.mode  # type: ignore[assignment]
        if mode == "inprocess":
            return run_in_process

        def start(command: list[str], env: Mapping[str, str]) -> int:
            try:
                PipesSubprocessClient(cwd=str(ROOT), env=dict(env)).run(command=command, context=context)
            except DagsterPipesExecutionError as error:
                context.log.warning(str(error))
                return 1
            return 0

        return ChildProcess(num_processes=self.nproc if mode == "torchrun" else 1, worker="assets.worker", start=start)
