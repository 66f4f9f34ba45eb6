"""Write the report of a family."""

from pathlib import Path

from ops.atomic import write_bytes, write_json
from ops.report import collect, render
from ops.report.config import ReportConfig
from ops.stage import Check, Execution, Inputs, StageResult

HTML, MARKDOWN, FAMILY = "report.html", "report.md", "family.json"


def run(config: ReportConfig, inputs: Inputs, out: Path, execution: Execution) -> StageResult:
    """Write `report.html` and `report.md` (volatile: they show measured times) and `family.json`.

    Inputs: every artefact of the family by asset name, with its record, and `evaluation_<checkpoint>` for each model.

    Raises:
        InputError: when an evaluation or a record is missing.
    """
    records = collect.records_of(inputs)
    flow = collect.flow(records)
    missing = collect.missing_parents(records)
    report = {
        "recipe": config.recipe,
        "family": collect.family(config, inputs, records),
        "searches": collect.searches(inputs),
        "flow": flow,
        "cleaning": collect.cleaning(records),
        "formulas": collect.formulas(records),
        "caught": collect.caught(inputs, records),
        "lineage": collect.lineage(records),
    }
    speeds = collect.speeds(config, inputs)
    tables = render.sections(report, speeds, collect.costs(records), collect.cleaning_speeds(inputs, records))
    title = f"Stillhouse: the {config.recipe} family"
    charts = render.charts(report["family"], speeds)
    write_json(out / FAMILY, report)
    write_bytes(out / MARKDOWN, render.markdown(title, tables).encode())
    write_bytes(out / HTML, render.html(title, tables, charts).encode())
    lost = {row["stage"]: row["unaccounted"] for row in flow if row["unaccounted"]}
    return StageResult(
        counts={"models": len(config.checkpoints), "artefacts": len(report["lineage"])},
        checks=[
            Check(
                name="lineage_complete",
                passed=not missing,
                description="every parent that a record names is part of the report",
                metadata={"missing": missing},
            ),
            Check(
                name="nothing_vanishes",
                passed=not lost,
                description="documents in = documents out + documents dropped for a reason, in every stage",
                metadata={"unaccounted": lost},
            ),
        ],
        volatile=(HTML, MARKDOWN),
        summary={"report": render.markdown(title, tables[:2])},
    )
