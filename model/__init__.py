"""The network: hybrid Mamba-2, attention and feed-forward layers named by a pattern string."""
