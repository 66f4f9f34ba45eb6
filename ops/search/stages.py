"""The stages of compression with the versions of their code: the same in the graph and inside a search."""

from ops.execute import Stage

PRUNE = Stage(package="ops.prune", version="2")
DISTILL = Stage(package="ops.distill", version="6", distributed=True)
CANDIDATE_LOSS = Stage(package="ops.search.loss", version="1")
LATENCY = Stage(package="ops.search.latency", version="1", observes=True)
SEARCH = Stage(
    package="ops.search",
    version=".".join(["2", *(stage.version for stage in (PRUNE, DISTILL, CANDIDATE_LOSS, LATENCY))]),
)
"""A search is another when one of its stages is."""
