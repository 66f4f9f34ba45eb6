"""Keep one document of each cluster of duplicates.

Inputs `scored` (SCORED parts of a bucket) and `dedup_clusters`, output DEDUPLICATED parts. Drops `exact_duplicate` and
`near_duplicate` name the survivor and the similarity to it.
"""
