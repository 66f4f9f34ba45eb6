"""Labels of mathematical quality by a language model: an annotation pass over a sample of cleaned documents.

Input `cleaned` (CLEANED parts, several); output `labels.jsonl`, a line for each document that got a score from 0 to 5,
and `unlabelled.jsonl`, a line with the reason for each that was asked about in vain. Where the model lies is
`execution.source`. `ops.quality` takes the output as its input `labels` and trains a classifier on it.
"""

from ops.annotate.config import AnnotateConfig

INPUTS = ("cleaned",)

__all__ = ["INPUTS", "AnnotateConfig"]
