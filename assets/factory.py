"""From a node of the graph to a Dagster asset."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from assets.metadata import combined, metadata_of
from assets.node import Node
from assets.partitions import mapping, partitions_of
from assets.resolve import Resolver
from assets.resources import LauncherResource, StoreResource
from assets.settings import Settings
from ops.errors import StillhouseError
from ops.execute import Outcome, execute, execute_many, run_in_process
from ops.launch import ROOT
from ops.store import Record

OWNER = "team:stillhouse"


def make_asset(node: Node, graph: Mapping[str, Node], settings: Settings) -> dg.AssetsDefinition:
    """The Dagster asset of a node: it declares, calls the stage through the store, and reports."""
    recipe = settings.recipe
    pinned = settings.pins.get(node.asset)
    checks = () if pinned else node.checks  # what was made elsewhere has none of ours
    parents = dict.fromkeys(parent for names in node.deps.values() for parent in names)

    @dg.asset(
        name=node.asset,
        group_name=node.group,
        description=node.description,
        code_version=f"pinned+{pinned}" if pinned else node.code_version,
        partitions_def=partitions_of(node, recipe),
        backfill_policy=None if node.scope == "whole" else dg.BackfillPolicy.single_run(),
        deps=[dg.AssetDep(parent, partition_mapping=mapping(node, graph[parent])) for parent in parents],
        check_specs=[dg.AssetCheckSpec(name, asset=node.asset, blocking=True) for name in checks],
        kinds=set(node.kinds),
        owners=[OWNER],
        tags={"stage": node.stage.name},
        pool=node.pool,
        metadata={
            "recipe": recipe.name,
            "command": f"python -m {node.stage.package} --help",
            "dagster/code_references": _code(node),
        },
    )
    def materialize(
        context: dg.AssetExecutionContext, store: StoreResource, launcher: LauncherResource
    ) -> dg.MaterializeResult:
        keys: Sequence[str | None] = (
            [str(key) for key in context.partition_keys]
            if context.has_partition_key_range or context.has_partition_key
            else [None]
        )
        try:
            outcomes = _materialize(node, keys, graph, settings, context, store, launcher)
        except StillhouseError as error:
            raise dg.Failure(description=str(error), allow_retries=False) from error
        return _report(node, keys, outcomes, checks, context, store)

    return materialize


def _code(node: Node) -> dg.CodeReferencesMetadataValue:
    path = ROOT.joinpath(*node.stage.package.split("."), "run.py")
    return dg.CodeReferencesMetadataValue(
        code_references=[dg.LocalFileCodeReference(file_path=str(path), line_number=1, label=node.stage.package)]
    )


def make_resolver(graph: Mapping[str, Node], settings: Settings, store: StoreResource) -> Resolver:
    """A resolver for the recipe of these settings."""
    return Resolver(
        graph,
        store.open(),
        crawls=settings.recipe.crawls,
        num_buckets=settings.recipe.num_buckets,
        execution_of=lambda node: settings.execution(node.source),
        pins=settings.pins,
    )


def _materialize(
    node: Node,
    keys: Sequence[str | None],
    graph: Mapping[str, Node],
    settings: Settings,
    context: dg.AssetExecutionContext,
    store: StoreResource,
    launcher: LauncherResource,
) -> list[Outcome]:
    resolver = make_resolver(graph, settings, store)
    if node.asset in settings.pins:
        return [Outcome(record=resolver.record(node.asset, key), reused=True) for key in keys]
    requests = [resolver.request(node.asset, key) for key in keys]
    execution = settings.execution(node.source)
    if len(requests) > 1 and not node.heavy:
        outcomes = []
        for outcome in execute_many(resolver.store, requests, execution, num_processes=settings.num_processes):
            outcomes.append(outcome)
            context.log.info(
                f"{outcome.record.id}: {'reused' if outcome.reused else 'made'} ({len(outcomes)}/{len(keys)})"
            )
        return outcomes
    launch = launcher.launch(context) if node.heavy else run_in_process
    return [execute(resolver.store, request, execution, launch) for request in requests]


def _report(
    node: Node,
    keys: Sequence[str | None],
    outcomes: Sequence[Outcome],
    checks: Sequence[str],
    context: dg.AssetExecutionContext,
    store: StoreResource,
) -> dg.MaterializeResult:
    opened = store.open()
    records = [outcome.record for outcome in outcomes]
    reused = sum(outcome.reused for outcome in outcomes)
    for outcome in outcomes:
        context.log.info(f"{outcome.record.id}: {'found finished in the store' if outcome.reused else 'made'}")
    if len(keys) == 1:
        shown = metadata_of(records[0], opened, reused=outcomes[0].reused)
    else:
        shown = combined(records, opened, reused=reused)
        for key, outcome in zip(keys, outcomes, strict=True):
            per_partition = metadata_of(outcome.record, opened, reused=outcome.reused)
            context.add_asset_metadata(per_partition, asset_key=node.asset, partition_key=key)
    return dg.MaterializeResult(
        metadata=shown,
        data_version=dg.DataVersion(_data_version(records)),
        check_results=[_check(name, records) for name in checks],
    )


def _data_version(records: Sequence[Record]) -> str:
    """The content digest; for a range, which Dagster gives one version, a digest of all of them."""
    if len(records) == 1:
        return records[0].digest
    return hashlib.sha256("\n".join(f"{r.partition} {r.digest}" for r in records).encode()).hexdigest()


def _check(name: str, records: Sequence[Record]) -> dg.AssetCheckResult:
    """One check over all partitions of a run: it passed if it passed in each."""
    found = [(record, check) for record in records for check in record.checks if check.name == name]
    failed = [(record, check) for record, check in found if not check.passed]
    if len(found) != len(records):
        raise dg.Failure(f"check {name!r} was reported for {len(found)} of {len(records)} partitions")
    _, shown = failed[0] if failed else found[0]
    blocking = any(check.blocking for _, check in failed)
    return dg.AssetCheckResult(
        check_name=name,
        passed=not failed,
        severity=dg.AssetCheckSeverity.ERROR if blocking else dg.AssetCheckSeverity.WARN,
        description=shown.description,
        metadata={
            "failed_partitions": [str(record.partition) for record, _ in failed],
            **{key: _plain(value) for key, value in shown.metadata.items()},
        },
    )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
