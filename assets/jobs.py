"""Jobs: the layers of the graph that run as one, because their assets have the same partitions."""

from collections.abc import Mapping
from dataclasses import dataclass

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from assets.evidence_nodes import GROUP as EVIDENCE
from assets.node import Node, Scope

INGEST = "ingest"
EXPERIMENTS = "experiments"
SCOPES: tuple[Scope, ...] = ("bucket", "crawl", "whole")


@dataclass(frozen=True, kw_only=True)
class Layer:
    """Assets of one scope that run together once the layers before have run."""

    index: int
    scope: Scope
    assets: tuple[str, ...]
    job_name: str


def make_layers(graph: Mapping[str, Node]) -> list[Layer]:
    """The graph as few runs that follow each other; the experiments are a run of their own."""
    graph = {name: node for name, node in graph.items() if node.group != EVIDENCE}
    parents = {name: {p for ps in node.deps.values() for p in ps} for name, node in graph.items()}
    done: set[str] = set()
    layers: list[Layer] = []
    while len(done) < len(graph):
        for scope in SCOPES:
            ready: list[str] = []
            for name, node in graph.items():
                if name not in done and node.scope == scope and parents[name] <= done | set(ready):
                    ready.append(name)
            if ready:
                break
        else:
            raise ValueError(f"the graph has a cycle among {sorted(set(graph) - done)}")
        index, first, last = len(layers) + 1, ready[0], ready[-1]
        name = f"step_{index}_{first}" + (f"_to_{last}" if first != last else "")
        layers.append(Layer(index=index, scope=scope, assets=tuple(ready), job_name=name))
        done |= set(ready)
    return layers


def make_jobs(graph: Mapping[str, Node]) -> list[UnresolvedAssetJobDefinition]:
    """One job a layer, in order; `experiments`; and `ingest`, all assets with buckets, for a schedule to take parts
    of."""
    jobs = [
        dg.define_asset_job(layer.job_name, selection=list(layer.assets), description=", ".join(layer.assets))
        for layer in make_layers(graph)
    ]
    bucketed = [name for name, node in graph.items() if node.scope == "bucket"]
    ingest = dg.define_asset_job(
        INGEST, selection=bucketed, description="Everything that is kept by crawl and bucket; a schedule takes layers."
    )
    experiments = [name for name, node in graph.items() if node.group == EVIDENCE]
    if experiments:
        described = "The claims behind the compression, tried, and their table."
        jobs.append(dg.define_asset_job(EXPERIMENTS, selection=experiments, description=described))
    return [*jobs, ingest]
