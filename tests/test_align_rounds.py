"""Rounds on the micro world: what runs again and what does not, waiting, rollback, lineage, locks and a full disk."""

import errno
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from safetensors import SafetensorError
from sqlmodel import select

from align.job import Job
from align.promotions import promote_by_hand, roll_back
from align.recipe import load_recipe, write_recipe
from align.rounds import STAGES, Loop, content_hash
from align.status import describe, lineage_of
from annotate.campaign import in_force
from annotate.errors import BadInput, Locked, NotFound, TrueloopError
from annotate.ledger import Ledger
from annotate.messages import as_messages
from annotate.prompts import splits_of
from annotate.simulate import run as simulate
from annotate.tables import Pair
from annotate.workspace import Workspace
from annotate.worlds import load_world
from benchmarks.micro import WORLD, make_workspace, micro_recipe, run_round

LABELS = 36
RECIPE = micro_recipe([f"labels.per_round={LABELS}"])
"""Fewer labels than pairs, so that some can come late."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A micro workspace whose first round has its verdict; copy it before changing it."""
    return run_round(tmp_path_factory.mktemp("finished") / "loop", RECIPE).path


@pytest.fixture
def workspace(finished: Path, tmp_path: Path) -> Workspace:
    return Workspace.open(shutil.copytree(finished, tmp_path / "loop"))


@pytest.fixture
def ledger(workspace: Workspace) -> Iterator[Ledger]:
    with Ledger(workspace) as opened:
        yield opened


def loop_of(workspace: Workspace, ledger: Ledger, *overrides: str) -> Loop:
    return Loop(workspace, ledger, load_recipe(workspace.recipe_path, list(overrides)))


def test_a_round_makes_every_stage_once(workspace: Workspace, ledger: Ledger) -> None:
    made = [artifact.stage for artifact in ledger.artifacts()]
    assert sorted(made) == sorted(stage.name for stage in STAGES if stage.name != "labels")


def test_no_demonstration_answers_a_prompt_of_the_test_split(workspace: Workspace, ledger: Ledger) -> None:
    """Every prompt that the first policy learns from, and every near-duplicate of one, stays out of the evaluation."""
    folder = workspace.path / ledger.artifacts("demonstrations")[0].path
    rows = [json.loads(line) for line in (folder / "demonstrations.jsonl").read_text().splitlines()]
    metrics = ledger.artifacts("demonstrations")[0].metrics
    assert metrics["demonstrations"] == len(rows) and metrics["left_out_test"] > 0
    with ledger.read() as session:
        splits = splits_of(session, [as_messages(row["prompt"]) for row in rows], RECIPE.prompts)
    assert set(splits) <= {"train", "validation"}


def test_demonstrations_of_test_prompts_alone_are_refused(tmp_path: Path) -> None:
    recipe = micro_recipe(["prompts.split=[0, 0, 1]"])
    made = make_workspace(tmp_path / "loop", recipe)
    with Ledger(made) as ledger, pytest.raises(BadInput, match="answer prompts of the test split"):
        Loop(made, ledger, recipe).advance("sft")


def test_advancing_twice_does_nothing(workspace: Workspace, ledger: Ledger) -> None:
    before = [artifact.id for artifact in ledger.artifacts()]
    assert loop_of(workspace, ledger).advance("promotion").done == []
    assert [artifact.id for artifact in ledger.artifacts()] == before


@pytest.mark.parametrize(
    ("override", "rerun"),
    [
        ("policy.beta=0.2", ["policy", "evaluation", "promotion"]),
        ("referee.side_spread=0.2", ["referee", "evaluation", "promotion"]),
        ("gate.win_rate=0.9", ["promotion"]),
        ("name=other", []),
        ("generate.temperature=0.7", []),
        ("campaign.preset=safety", []),
    ],
)
def test_changing_a_section_reruns_only_what_depends_on_it(
    workspace: Workspace, ledger: Ledger, override: str, rerun: list[str]
) -> None:
    assert loop_of(workspace, ledger, override).advance("promotion").done == rerun


def test_how_people_are_asked_changes_no_fingerprint_but_the_objective_is_the_pairs_own(
    workspace: Workspace, ledger: Ledger
) -> None:
    def pairs(*overrides: str) -> str | None:
        return loop_of(workspace, ledger, *overrides).standing("pairs", 2)

    assert pairs() == pairs("campaign.preset=helpsteer3") == pairs("campaign.grades=0", "campaign.guideline=Kind")
    assert pairs("campaign.objective=safe") == pairs("campaign.preset=safety") != pairs()


def test_an_objective_goes_into_new_pairs_and_the_campaign_into_the_ledger(
    workspace: Workspace, ledger: Ledger
) -> None:
    result = loop_of(workspace, ledger, "campaign.preset=safety").advance("pairs")
    assert result.round == 2
    with ledger.read() as session:
        objectives = set(session.exec(select(Pair.round, Pair.objective)).all())
        assert in_force(session).settings.preset == "safety"
    assert objectives == {(1, "helpful"), (2, "safe")}
    simulate(ledger, load_world(str(WORLD)), seed=0, limit=3)


def test_the_next_round_starts_from_the_verdict_and_waits_for_its_labels(workspace: Workspace, ledger: Ledger) -> None:
    loop = loop_of(workspace, ledger)
    result = loop.advance()
    assert (result.round, result.done) == (2, ["prompts", "responses", "pairs"])
    assert result.waiting is not None and (result.waiting.have, result.waiting.need) == (0, LABELS)
    responses = ledger.latest("responses", 2)
    assert responses is not None
    assert loop.champion() in loop.inputs(STAGES[3], 2).values()
    assert describe(workspace, ledger)["next"].startswith("trueloop annotate")


@pytest.mark.parametrize("temperature", [0.01, 3.0])
def test_more_prompts_are_asked_where_the_champion_has_only_one_answer_to_each(
    workspace: Workspace, ledger: Ledger, temperature: float
) -> None:
    """A champion left no chance does not differ from itself: all prompts but the test prompts are asked, each once."""
    loop = loop_of(workspace, ledger, f"generate.temperature={temperature}")
    loop.advance("responses")
    prompts, responses = ledger.latest("prompts", 2), ledger.latest("responses", 2)
    assert prompts is not None and responses is not None
    section, counts = loop.recipe.generate, prompts.metrics
    validation = round(section.prompts * section.validation_share)
    once = min(validation, counts["validation"]) + min(section.prompts - validation, counts["train"])
    assert once < counts["train"] + counts["validation"]
    assert responses.metrics["prompts"] == (once if temperature > 1 else counts["train"] + counts["validation"])
    made = workspace.artifacts / responses.id / "responses.jsonl"
    rows = [json.loads(line) for line in made.read_text(encoding="utf-8").splitlines()]
    assert {row["split"] for row in rows} == {"train", "validation"}
    assert len({row["prompt_id"] for row in rows}) == responses.metrics["prompts"]


def test_labels_of_a_second_round_join_those_of_the_first(workspace: Workspace, ledger: Ledger) -> None:
    loop = loop_of(workspace, ledger)
    loop.advance()
    simulate(ledger, load_world(str(loop.recipe.world)), seed=1, limit=LABELS)
    assert loop.advance("snapshot").done == ["snapshot"]
    first, second = ledger.latest("snapshot", 1), ledger.latest("snapshot", 2)
    assert first is not None and second is not None
    assert (first.metrics["votes"], second.metrics["votes"]) == (LABELS, 2 * LABELS)


def test_a_late_label_goes_to_the_next_snapshot(workspace: Workspace, ledger: Ledger) -> None:
    loop = loop_of(workspace, ledger)
    before = ledger.latest("snapshot", 1)
    assert simulate(ledger, load_world(str(loop.recipe.world)), seed=0, limit=2) == 2
    assert loop.advance("promotion").done == []
    assert ledger.latest("snapshot", 1) == before
    now = loop.freeze_now()
    assert now.metrics["votes"] == LABELS + 2
    assert loop.freeze_now().id == now.id, "without a new label it is the same snapshot"


def test_a_reward_model_is_trained_outside_a_round_on_the_latest_snapshot(workspace: Workspace, ledger: Ledger) -> None:
    loop = loop_of(workspace, ledger)
    snapshot = loop.freeze_now()
    made = loop.reward_now()
    assert made.round == 0 and [one.id for one in ledger.ancestors(made.id) if one.stage == "snapshot"] == [snapshot.id]
    assert {"accuracy", "accuracy_ci", "length_only", "ceiling", "ece"} <= made.metrics.keys()


def test_without_labels_there_is_nothing_to_freeze_or_train_on(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "new")
    with Ledger(workspace) as ledger:
        loop = loop_of(workspace, ledger)
        with pytest.raises(NotFound, match="trueloop annotate"):
            loop.freeze_now()
        with pytest.raises(NotFound, match="trueloop snapshot"):
            loop.reward_now()


def test_without_prompts_the_next_command_is_named(tmp_path: Path, tiny_model: Path) -> None:
    recipe = micro_recipe(["world=null", "sft.kind=none", f"sft.model={tiny_model}"])
    workspace = make_workspace(tmp_path / "new", recipe)
    with Ledger(workspace) as ledger, pytest.raises(NotFound, match="trueloop prompts FILE"):
        Loop(workspace, ledger, recipe).advance("prompts")


def test_every_artifact_keeps_its_recipe_and_its_bytes(workspace: Workspace, ledger: Ledger) -> None:
    for made in ledger.artifacts():
        folder = workspace.path / made.path
        card = json.loads((folder / "artifact.json").read_text(encoding="utf-8"))
        assert (card["id"], card["stage"], card["content_hash"]) == (made.id, made.stage, content_hash(folder))
        assert card["recipe"]["seed"] == 0
        assert str(workspace.path.parent) not in (folder / "artifact.json").read_text(encoding="utf-8")


def test_an_artifact_that_was_written_but_not_recorded_is_adopted(workspace: Workspace, ledger: Ledger) -> None:
    loop = loop_of(workspace, ledger, "gate.win_rate=0.9")
    stage = STAGES[-1]

    def fail(session: object, job: Job) -> None:
        raise RuntimeError("killed between the rename and the row")

    job = Job(
        workspace, ledger, loop.recipe, str(loop.standing("promotion", 1)), 1, loop.inputs(stage, 1), loop.progress
    )
    with pytest.raises(RuntimeError):
        loop.make(type(stage)(stage.name, stage.run, stage.sections, stage.parents, record=fail), job)
    assert ledger.find(job.id) is None and (workspace.artifacts / job.id).is_dir()
    assert loop.advance("promotion").done == ["promotion"]
    assert ledger.find(job.id) is not None


def test_a_second_advance_is_told_who_holds_the_lock(workspace: Workspace) -> None:
    with workspace.lock(), pytest.raises(Locked, match="advancing this workspace"), workspace.lock():
        pass


FULL = {
    "python": lambda: OSError(errno.ENOSPC, "No space left on device"),
    "safetensors": lambda: SafetensorError("I/O error: No space left on device (os error 28)"),
    "torch": lambda: RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598"),
}
"""What the writers of a stage's files raise when the disk is full; the last only tells by the space that is left."""


@pytest.mark.parametrize("writer", FULL)
def test_a_full_disk_in_a_stage_records_nothing_and_says_so(
    workspace: Workspace, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, writer: str
) -> None:
    loop = loop_of(workspace, ledger, "gate.win_rate=0.9")

    def full(path: Path, *_: object, **__: object) -> int:
        raise FULL[writer]()

    monkeypatch.setattr(Path, "write_text", full)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.raises(TrueloopError, match=r"disk is full.*all labels are safe.*trueloop advance"):
        loop.advance("promotion")
    monkeypatch.undo()
    assert ledger.find(str(loop.standing("promotion", 1))) is None
    assert loop.advance("promotion").done == ["promotion"]


def test_another_error_of_a_stage_is_no_full_disk(
    workspace: Workspace, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> int:
        raise FULL["torch"]()

    monkeypatch.setattr(Path, "write_text", broken)
    with pytest.raises(RuntimeError, match="unexpected pos"):
        loop_of(workspace, ledger, "gate.win_rate=0.9").advance("promotion")


def test_rollback_goes_back_one_champion_and_keeps_history(workspace: Workspace, ledger: Ledger) -> None:
    sft, policy = ledger.latest("sft"), ledger.latest("policy")
    assert sft is not None and policy is not None
    if ledger.champion() != policy.id:
        promote_by_hand(ledger, policy.id[:8], "for the test")
    assert ledger.champion() == policy.id
    assert roll_back(ledger).champion_id == sft.id
    assert ledger.champion() == sft.id
    with pytest.raises(NotFound, match="no earlier champion"):
        roll_back(ledger)
    promote_by_hand(ledger, policy.id, "again")
    assert ledger.champion() == policy.id
    assert ledger.check() == []


def test_only_a_policy_can_be_promoted(workspace: Workspace, ledger: Ledger) -> None:
    snapshot = ledger.latest("snapshot")
    assert snapshot is not None
    with pytest.raises(NotFound, match="is no policy"):
        promote_by_hand(ledger, snapshot.id, "")


def test_lineage_walks_from_the_policy_to_its_labels_and_from_a_label_on(workspace: Workspace, ledger: Ledger) -> None:
    policy, snapshot = ledger.latest("policy"), ledger.latest("snapshot")
    assert policy is not None and snapshot is not None
    found = lineage_of(ledger, policy.id)
    assert {"sft", "demonstrations", "snapshot", "reward", "pairs", "responses", "prompts"} <= {
        one["stage"] for one in found["ancestors"]
    }
    assert [one["stage"] for one in found["descendants"]] == ["evaluation", "promotion"]
    assert found["labels"] == LABELS
    uuid = next(iter(ledger.labels_behind(policy.id)))
    walked = lineage_of(ledger, uuid)
    assert policy.id in {one["id"] for one in walked["descendants"]}
    assert "responses" in {one["stage"] for one in walked["ancestors"]}
    with pytest.raises(NotFound, match="neither an artifact nor a label"):
        lineage_of(ledger, "nothing")


def test_the_same_seed_gives_the_same_artifacts(finished: Path, tmp_path: Path) -> None:
    again = run_round(tmp_path / "again", RECIPE)
    with Ledger(Workspace.open(finished)) as first, Ledger(again) as second:
        hashes = [{one.id: one.content_hash for one in ledger.artifacts()} for ledger in (first, second)]
    assert hashes[0] == hashes[1]


def test_another_seed_gives_other_artifacts(finished: Path, tmp_path: Path) -> None:
    recipe = micro_recipe(["seed=1"])
    workspace = make_workspace(tmp_path / "other", recipe)
    with Ledger(workspace) as ledger, Ledger(Workspace.open(finished)) as first:
        Loop(workspace, ledger, recipe).advance("sft")
        other, same = ledger.latest("sft"), first.latest("sft")
        assert other is not None and same is not None and other.content_hash != same.content_hash


def test_a_report_shows_the_round_and_loads_nothing_from_outside(workspace: Workspace, ledger: Ledger) -> None:
    from align.report import write_report

    page = write_report(workspace, ledger).read_text(encoding="utf-8")
    for part in ("Win rates", "Reward models", "Curves", "Samples", "Lineage", "before", "after"):
        assert part in page
    assert f"After {LABELS} labels in 1 round the champion is " in page
    promoted = ledger.champion() == ledger.latest("policy").id  # type: ignore[union-attr]
    assert ("round 1's policy" in page, "still the SFT model" in page) == (promoted, not promoted)
    roll_back(ledger) if promoted else promote_by_hand(ledger, ledger.latest("policy").id, "")  # type: ignore[union-attr]
    again = write_report(workspace, ledger).read_text(encoding="utf-8")
    assert ("round 1's policy" in again, "still the SFT model" in again) == (not promoted, promoted)
    assert "http://" not in page and "https://" not in page and "<script" not in page


def test_the_recipe_in_the_workspace_reads_back(workspace: Workspace) -> None:
    assert write_recipe(load_recipe(workspace.recipe_path)) == workspace.recipe_path.read_text(encoding="utf-8")


def test_a_workspace_of_imported_data_is_told_what_to_do_with_it(tmp_path: Path) -> None:
    from annotate.imports import import_file

    workspace = make_workspace(tmp_path / "own", micro_recipe(["world=null", "sft.kind=none", "sft.model=tiny"]))
    with Ledger(workspace) as ledger:
        assert describe(workspace, ledger)["next"] == "trueloop prompts FILE, then trueloop advance"
        pairs = tmp_path / "pairs.jsonl"
        pairs.write_text('{"prompt": "p", "responses": ["a", "b"]}\n', encoding="utf-8")
        import_file(ledger, pairs, "pairs")
        assert describe(workspace, ledger)["next"] == "trueloop annotate (1 imported pairs wait for a label)"
    workspace = make_workspace(tmp_path / "votes", micro_recipe())
    with Ledger(workspace) as ledger:
        votes = tmp_path / "votes.jsonl"
        row = {"prompt": "p", "response_a": "a", "response_b": "b", "annotator": "x", "preference": "a"}
        votes.write_text(json.dumps(row) + "\n", encoding="utf-8")
        import_file(ledger, votes, "votes")
        assert describe(workspace, ledger)["next"] == "trueloop snapshot"
