"""Where the loop stands: rounds with their stages, labels and verdicts; and the lineage of anything. Reads only."""

from typing import Any

from sqlmodel import col, select

from align.rounds import STAGES
from annotate.errors import NotFound
from annotate.ledger import Ledger
from annotate.queue import count_labels
from annotate.tables import Artifact, Promotion, Prompt
from annotate.workspace import Workspace


def describe(workspace: Workspace, ledger: Ledger) -> dict[str, Any]:
    """Every round's stages, labels and verdict, the champion, and the command to run next."""
    from align.recipe import load_recipe

    recipe = load_recipe(workspace.recipe_path)
    order = [stage.name for stage in STAGES]
    with ledger.read() as session:
        made = list(session.exec(select(Artifact).order_by(col(Artifact.created_at))))
        promotions = list(session.exec(select(Promotion).order_by(col(Promotion.id))))
        imported, _ = count_labels(session, 0)
        given, asked = count_labels(session, 1)
        prompts = session.exec(select(Prompt.id).limit(1)).first() is not None
        rounds = []
        for number in sorted({one.round for one in made if one.round > 0}):
            mine = {one.stage: one for one in made if one.round == number}  # the latest of each stage
            have, slots = count_labels(session, number)
            verdicts = [row for row in promotions if row.round == number and row.artifact_id]
            metrics = mine["evaluation"].metrics if "evaluation" in mine else {}
            rounds.append(
                {
                    "round": number,
                    "stages": [name for name in order if name in mine],
                    "labels": {"have": have, "need": min(recipe.labels.per_round, slots)},
                    "verdict": verdicts[-1].verdict if verdicts else None,
                    "win_rate": metrics.get("win_rate"),
                    "win_rate_ci": metrics.get("win_rate_ci"),
                    "artifacts": {name: one.id for name, one in mine.items()},
                }
            )
    return {
        "workspace": str(workspace.path),
        "champion": ledger.champion() or next((one.id for one in made if one.stage == "sft"), None),
        "rounds": rounds,
        "imported": {"labels": imported, "waiting": asked - given},
        "next": _next(rounds) if rounds else _first(imported, asked - given, bool(made), prompts or bool(recipe.world)),
    }


def _first(imported: int, waiting: int, begun: bool, prompts: bool) -> str:
    """What to do in a workspace that has no round yet, but perhaps data that people brought along."""
    if waiting:
        return f"trueloop annotate ({waiting} imported pairs wait for a label)"
    if imported:
        return "trueloop reward" if begun else "trueloop snapshot"
    return "trueloop advance" if prompts else "trueloop prompts FILE, then trueloop advance"


def _next(rounds: list[dict[str, Any]]) -> str:
    last = rounds[-1]
    have, need = last["labels"]["have"], last["labels"]["need"]
    if "pairs" in last["stages"] and "snapshot" not in last["stages"] and have < need:
        return f"trueloop annotate ({need - have} labels are missing in round {last['round']})"
    return "trueloop advance"


def lineage_of(ledger: Ledger, identity: str) -> dict[str, Any]:
    """All ancestors and descendants of an artifact, or of a label, and how many labels stand behind it.

    identity: an artifact's id or its first letters, or a label's uuid. Raises NotFound when it is neither.
    """
    made = ledger.find_prefix(identity)
    if made is not None:
        return {
            "id": made.id,
            "stage": made.stage,
            "round": made.round,
            "ancestors": [_brief(one) for one in ledger.ancestors(made.id)],
            "descendants": [_brief(one) for one in ledger.descendants(made.id)],
            "labels": ledger.count_labels_behind(made.id),
        }
    found = ledger.lineage_of_label(identity)
    if found is None:
        raise NotFound(f"'{identity}' is neither an artifact nor a label", next="Run: trueloop status")
    return {
        "id": identity,
        "stage": "label",
        "round": found.round,
        "ancestors": [_brief(one) for one in found.ancestors],
        "descendants": [_brief(one) for one in found.descendants],
        "labels": 1,
    }


def _brief(made: Artifact) -> dict[str, Any]:
    return {"id": made.id, "stage": made.stage, "round": made.round}
