"""Partitions: a crawl, or a crawl and one of its buckets. Buckets keep a crawl below Dagster's limits."""

import dagster as dg

from assets.node import Node
from assets.recipes.recipe import Recipe
from assets.resolve import BUCKET_DIGITS

CRAWL, BUCKET = "crawl", "crawl_bucket"
"""Names of the dimensions; Dagster joins the keys in the order of these names."""


def crawl_partitions(recipe: Recipe) -> dg.StaticPartitionsDefinition:
    return dg.StaticPartitionsDefinition(list(recipe.crawls))


def bucket_partitions(recipe: Recipe) -> dg.MultiPartitionsDefinition:
    buckets = [f"{bucket:0{BUCKET_DIGITS}d}" for bucket in range(recipe.num_buckets)]
    return dg.MultiPartitionsDefinition(
        {CRAWL: crawl_partitions(recipe), BUCKET: dg.StaticPartitionsDefinition(buckets)}
    )


def partitions_of(node: Node, recipe: Recipe) -> dg.PartitionsDefinition | None:
    """The partitions of a node."""
    if node.scope == "whole":
        return None
    return crawl_partitions(recipe) if node.scope == "crawl" else bucket_partitions(recipe)


def mapping(child: Node, parent: Node) -> dg.PartitionMapping | None:
    """How partitions of a child depend on those of its parent (None: Dagster's default is right)."""
    if {child.scope, parent.scope} == {"bucket", "crawl"}:
        return dg.MultiToSingleDimensionPartitionMapping(CRAWL)
    return None
