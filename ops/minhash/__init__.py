"""Signatures for deduplication: exact digest, shingles and MinHash band keys of every document.

Input `scored` (SCORED parts). Output: SIGNATURES parts (`ops.minhash.signatures`) and `shingles/part-XXXXX.bin`, the
sorted distinct 32-bit shingle hashes of the part's documents one behind the other, for exact verification. Signatures
of a bucket never change: a new crawl adds its own and `ops.dedup_clusters` compares them with those already there.
"""
