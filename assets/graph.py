"""The graph: which artefacts exist, which stage makes each, what feeds it. Dagster's assets are a view of it."""

from assets.data_nodes import corpus_export_node, corpus_nodes, crawl_nodes, token_nodes
from assets.evidence_nodes import evidence_nodes
from assets.model_nodes import checkpoints, compress_nodes, evaluate_nodes, export_nodes, pretrain_nodes
from assets.node import Node
from assets.recipes.recipe import Recipe
from ops.execute import Stage
from ops.report.config import ReportConfig


def build_graph(recipe: Recipe) -> dict[str, Node]:
    """All nodes of a recipe by asset name, parents before children."""
    nodes = [
        *crawl_nodes(recipe),
        *corpus_nodes(recipe),
        *token_nodes(recipe),
        *pretrain_nodes(recipe),
        *compress_nodes(recipe),
    ]
    nodes += evaluate_nodes(recipe)
    nodes.append(_report(nodes, recipe))
    nodes += [corpus_export_node(recipe), *export_nodes(recipe)]
    nodes += evidence_nodes(recipe)
    graph = {node.asset: node for node in nodes}
    if len(graph) != len(nodes):
        raise ValueError("two nodes have the same asset name")
    return graph


def _report(nodes: list[Node], recipe: Recipe) -> Node:
    deps = {node.asset: (node.asset,) for node in nodes}
    return Node(
        asset="family_report",
        group="evaluate",
        stage=Stage(package="ops.report", version="4"),
        config=ReportConfig(recipe=recipe.name, checkpoints=tuple(checkpoints(recipe))),
        deps=deps,
        checks=("lineage_complete", "nothing_vanishes"),
        description="The family on one page: quality against size and speed, lineage, drops and costs.",
        kinds=("html",),
    )
