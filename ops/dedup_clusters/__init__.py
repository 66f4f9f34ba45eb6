"""Find which documents of all crawls repeat each other, and which one of each cluster stays.

Input `minhash` (any number of buckets), output `clusters.parquet` (CLUSTERS, one row a document, sorted by crawl and
doc_id) and `clusters.json` (sums). The result does not depend on the order of buckets, parts or rows.

1. Documents with equal digests are exact duplicates of the best-ranked of them.
2. The others that share a band key are candidates; the exact Jaccard similarity of their shingle sets decides.
3. Verified pairs are joined to components by union-find. Inside a component the best-ranked document survives and
   takes with it those at least `threshold` similar *to itself*; the best-ranked of the rest survives next, and so on.
   So no document is dropped for a chain of resemblances, and no two survivors of a component are duplicates.

Rank: higher score, then longer text, then earlier crawl, then smaller doc_id.

Memory: about 350 bytes a document at the peak (measured on 800,000; 33 GiB for 100 million): ids, ranks, one band's
keys at a time. Texts are not read, shingles stay on disk and are mapped.
"""
