"""A quality classifier of our own, trained on labels: a linear model over hashed words and LaTeX commands.

Labels are scores from 0 to 5, as FineMath's: from an annotation pass of a language model (input `labels`, see
`ops.annotate`), from a file, or by provenance (the score of a source for all its documents). Input `cleaned` (CLEANED
parts, several), output `weights.safetensors` and `quality.json` with what the model is worth on documents that it was
not trained on. `ops.score` takes it as the input `quality_model`.
"""

from ops.quality.config import AnnotatedLabels, FileLabels, ProvenanceLabels, QualityConfig, SourceScore

INPUTS = ("cleaned", "labels")

__all__ = ["INPUTS", "AnnotatedLabels", "FileLabels", "ProvenanceLabels", "QualityConfig", "SourceScore"]
