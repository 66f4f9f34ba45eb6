"""One page about the family: quality against size and speed, lineage, what was dropped and why, costs."""
