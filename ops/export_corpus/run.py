"""The corpus for others, as a stage."""

import shutil
from pathlib import Path

import pyarrow.parquet as pq

from ops.atomic import write_bytes
from ops.export_corpus import INPUTS
from ops.export_corpus.card import configurations, dataset_card
from ops.export_corpus.config import ExportCorpusConfig
from ops.export_corpus.shards import write_shards
from ops.parts import part_paths
from ops.schema import CORPUS
from ops.stage import Check, Execution, Inputs, StageResult, many, reconcile
from ops.store.record import RECORD_NAME, Record

CARD, DATA = "README.md", "data"


def run(config: ExportCorpusConfig, inputs: Inputs, out: Path, execution: Execution) -> StageResult:
    """Write the rows of `corpus` (any number of partitions) and the card.

    The other inputs are the stages before it, of whose directories only the records are read: they say what was
    dropped. They may be absent, and a corpus that comes from no store has no lineage in its card.

    Raises:
        InputError: when a corpus part cannot be read.
    """
    corpora = many(inputs, "corpus")
    shutil.rmtree(out / DATA, ignore_errors=True)  # of a killed attempt
    content = write_shards(corpora, out / DATA, config.file_bytes)
    records = {name: _records(inputs.get(name, ())) for name in (*INPUTS[1:], INPUTS[0])}
    card = dataset_card(config, content, records)
    write_bytes(out / CARD, card.encode())
    taken = sum(pq.read_metadata(part).num_rows for corpus in corpora for part in part_paths(corpus))
    counts = {
        "in": taken,
        "out": sum(content.documents.values()),
        "characters": sum(content.characters.values()),
        "formulas": sum(content.formulas.values()),
        "files": sum(map(len, content.files.values())),
    }
    for name, (_, scores) in configurations(config, content).items():
        counts[f"documents_{name}"] = sum(content.documents[score] for score in scores)
    files = [path for paths in content.files.values() for path in paths]
    wrong = [path.name for path in files if not pq.read_schema(path).equals(CORPUS)]
    return StageResult(
        counts=counts,
        checks=[
            reconcile(counts, {}),
            Check(
                name="files_hold_every_row",
                passed=not wrong and sum(pq.read_metadata(path).num_rows for path in files) == counts["out"],
                description="the files have the columns of the corpus, and as many rows as were written",
                metadata={"files": len(files), "other_columns": wrong},
            ),
        ],
        summary={"card": card},
    )


def _records(folders: object) -> list[Record]:
    assert isinstance(folders, (list, tuple))
    paths = [Path(folder) / RECORD_NAME for folder in folders]
    return [Record.from_json(path.read_bytes(), str(path)) for path in paths if path.is_file()]
