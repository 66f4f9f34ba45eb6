"""The claims that compression rests on, as assets: teachers, one asset a claim, one table."""

from assets.node import Node
from assets.recipes.recipe import Recipe
from ops.evidence.config import CLAIMS, ClaimConfig, TableConfig
from ops.execute import Stage

GROUP = "evidence"
DATA = {"training_set": ("training_set",), "tokens": ("tokens",)}


def evidence_nodes(recipe: Recipe) -> list[Node]:
    """None where the recipe has no experiments."""
    if recipe.evidence is None:
        return []
    teachers = Node(
        asset="evidence_teachers",
        group=GROUP,
        stage=Stage(package="ops.evidence.teachers", version="1"),
        config=recipe.evidence.teachers,
        deps={**DATA, "tokenizer": ("tokenizer",)},
        checks=("learned",),
        description="Small teachers from several seeds, and their importance scores: what every claim is tried on.",
        kinds=("pytorch",),
        heavy=True,
        pool="gpu",
    )
    claims = [
        Node(
            asset=f"evidence_{claim}",
            group=GROUP,
            stage=Stage(package="ops.evidence.claim", version="2"),
            config=ClaimConfig(evidence=recipe.evidence, claim=claim),
            deps={**DATA, "teachers": (teachers.asset,)},
            checks=("not_contradicted",),
            description=f"The claim `{claim}` tried: paired seeds, null distributions, intervals.",
            kinds=("pytorch",),
            heavy=True,
            pool="gpu",
        )
        for claim in CLAIMS
    ]
    table = Node(
        asset=GROUP,
        group=GROUP,
        stage=Stage(package="ops.evidence.table", version="1"),
        config=TableConfig(confidence=recipe.evidence.confidence),
        deps={"claims": tuple(claim.asset for claim in claims)},
        checks=("not_contradicted",),
        description="Every comparison in one table: supported, contradicted or unresolved.",
        kinds=("html",),
    )
    return [teachers, *claims, table]
