"""Export: the corpus as a directory that `datasets` loads, with a dataset card written from its records.

Parquet files by score (`data/score-4/part-00000.parquet`), so that `3plus` and `4plus` are configurations of the same
files: `load_dataset(path, "4plus")`. Rows are those of the corpus, in its order, with their provenance.
"""

from ops.export_corpus.config import ExportCorpusConfig

INPUTS = ("corpus", "pages", "documents", "cleaned", "scored", "deduplicated")

__all__ = ["INPUTS", "ExportCorpusConfig"]
