"""Read this first: the loop. A round is the stages below in order; each runs when its artifact is absent.

There is no state column. An artifact's id is the fingerprint of all that goes into it: stage, version, its sections of
the recipe, the ids of its parents, the round. Labelling is simply a stage that raises Waiting. What each stage does
stands in align/stages.py; how rows are kept, in annotate/ledger.py.
"""

import errno
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from align import stages
from align.job import Job, Metrics, config_of, git_sha, is_needed
from align.recipe import Recipe
from annotate.campaign import set_by_recipe
from annotate.errors import NotFound, TrueloopError, Waiting
from annotate.ledger import Ledger
from annotate.messages import digest
from annotate.progress import Progress, silent
from annotate.queue import current_labels
from annotate.tables import Artifact
from annotate.workspace import Workspace


@dataclass(frozen=True)
class Stage:
    """One step of the loop.

    run: writes the artifact into a fresh directory and returns its metrics; labelling returns None and makes none.
    sections: fields of the recipe that go into the fingerprint. parents: stages whose artifacts are its inputs;
    "champion" is the policy promoted before this round. once: made once for all rounds.
    upstream: comes before the labels; a round that has its labels keeps what they were given for.
    record: rows the artifact brings into the database, in the transaction that records it.
    """

    name: str
    run: Callable[[Job], Metrics | None]
    sections: tuple[str, ...] = ()
    parents: tuple[str, ...] = ()
    once: bool = False
    upstream: bool = False
    record: Callable[[Any, Job], None] | None = None
    version: int = 1


STAGES = (
    # Prompts come first: what they say about splits decides which demonstrations may be learnt from.
    Stage("prompts", stages.prompts, ("world", "prompts"), upstream=True),
    Stage(
        "demonstrations",
        stages.demonstrations,
        ("world", "demonstrations", "prompts.split", "prompts.near"),
        once=True,
        version=2,
    ),
    Stage("sft", stages.sft, ("sft",), ("demonstrations",), once=True),
    Stage(
        "responses",
        stages.responses,
        ("generate",),
        ("prompts", "champion"),
        upstream=True,
        record=stages.add_responses,
    ),
    # How people are asked changes no artifact, but what "better" means belongs to a pair.
    Stage(
        "pairs",
        stages.pairs,
        ("pairs", "campaign.objective"),
        ("responses",),
        upstream=True,
        record=stages.add_pairs,
    ),
    Stage("labels", stages.labels, ("labels",), ("pairs",)),
    Stage("snapshot", stages.snapshot, ("snapshot",), ("pairs",), record=stages.add_snapshot_labels),
    Stage("reward", stages.reward, ("reward",), ("snapshot", "sft")),
    Stage("referee", stages.referee, ("referee",), ("snapshot", "sft")),
    Stage("policy", stages.policy, ("policy",), ("sft", "snapshot", "reward", "prompts")),
    Stage(
        "evaluation",
        stages.evaluation,
        ("world", "evaluate"),
        ("policy", "sft", "champion", "reward", "referee", "prompts"),
    ),
    Stage("promotion", stages.promotion, ("gate",), ("evaluation", "policy", "champion"), record=stages.add_promotion),
)


@dataclass
class Advanced:
    """What one `advance` did: the round it stopped in, the stages it ran, and what it waits for."""

    round: int
    done: list[str] = field(default_factory=list)
    waiting: Waiting | None = None
    champion: str | None = None

    def as_json(self) -> dict[str, Any]:
        waiting = None if self.waiting is None else {"have": self.waiting.have, "need": self.waiting.need}
        return {"round": self.round, "done": self.done, "waiting": waiting, "champion": self.champion}


class Loop:
    """The rounds of one workspace, advanced by one recipe. Take `workspace.lock()` around what writes."""

    def __init__(self, workspace: Workspace, ledger: Ledger, recipe: Recipe, progress: Progress = silent) -> None:
        self.workspace, self.ledger, self.recipe, self.progress = workspace, ledger, recipe, progress
        if recipe.sft.model == "tiny":
            # More threads only wait for each other on so small a model, and would make results depend on the machine.
            os.environ.setdefault("OMP_NUM_THREADS", "1")

    def advance(self, until: str | None = None, *, on_stage: Callable[[int, str], None] | None = None) -> Advanced:
        """Run what is missing, round after round, until labels are missing or stage `until` stands.

        The last round that has its labels is live: a changed section reruns what depends on it there. Rounds before
        it are history and keep the recipe they ran with.
        """
        if until is not None and until not in {stage.name for stage in STAGES}:
            raise NotFound(f"there is no stage '{until}'", next=f"Stages: {', '.join(stage.name for stage in STAGES)}")
        self.ledger.write(lambda session: set_by_recipe(session, self.recipe.campaign))
        result = Advanced(round=self.live_round())
        last = self._round_of(until)
        try:
            while True:
                for stage in STAGES:
                    if self._stand(stage, result.round, on_stage):
                        result.done.append(stage.name)
                    if stage.name == until and result.round >= last:
                        result.champion = self.champion()
                        return result
                result.round += 1
        except Waiting as waiting:
            result.waiting = waiting
        result.champion = self.champion()
        return result

    def live_round(self) -> int:
        """The last round with all its labels, or 1."""
        return max((made.round for made in self.ledger.artifacts("snapshot")), default=0) or 1

    def _round_of(self, until: str | None) -> int:
        """The round that `until` means: the last one begun, or the next one for what comes before its labels."""
        begun = max((made.round for made in self.ledger.artifacts("prompts")), default=1)
        settled = until is not None and _stage(until).upstream and self.ledger.latest("promotion", begun) is not None
        return begun + 1 if settled else begun

    def champion(self, before: int | None = None) -> str | None:
        """Id of the policy in force, or of the one in force when round `before` began; the SFT model at first."""
        return self.ledger.champion(before) or self._id_of(_stage("sft"), 0)

    def inputs(self, stage: Stage, round: int) -> dict[str, str]:
        """Ids of the artifacts that a stage takes in a round, by the names of the stages that made them."""
        found = {}
        for name in stage.parents:
            if name == "champion":
                identity = self.champion(before=round)
            elif is_needed(name, self.recipe):
                identity = self.standing(name, round)
            else:
                continue
            if identity is None:
                raise NotFound(f"round {round} has no {name} yet", next="Run: trueloop advance")
            found[name] = identity
        return found

    def standing(self, name: str, round: int) -> str | None:
        """Id of the artifact that stands for a stage in a round under this recipe, whether made yet or not."""
        stage = _stage(name)
        if stage.upstream and round <= max((made.round for made in self.ledger.artifacts("snapshot")), default=0):
            made = self.ledger.latest(name, round)
            if made is not None:
                return made.id
        return self._id_of(stage, round)

    def _id_of(self, stage: Stage, round: int) -> str | None:
        try:
            parents = self.inputs(stage, round)
        except NotFound:
            return None
        return self._fingerprint(stage, round, parents)

    def _fingerprint(self, stage: Stage, round: int, parents: Mapping[str, str]) -> str:
        config = config_of(self.recipe, stage.sections)
        at = 0 if stage.once else round
        return digest([stage.name, stage.version, config, sorted(parents.items()), at, self.recipe.seed], 20)

    def _stand(self, stage: Stage, round: int, on_stage: Callable[[int, str], None] | None) -> bool:
        """Make the stage's artifact unless it stands already; returns whether anything was made."""
        if not is_needed(stage.name, self.recipe):
            return False
        parents = self.inputs(stage, round)
        identity = self.standing(stage.name, round)
        assert identity is not None, f"{stage.name} has all its parents, so it has a fingerprint"
        if self.ledger.find(identity) is not None:
            return False
        at = 0 if stage.once else round
        job = Job(self.workspace, self.ledger, self.recipe, identity, at, parents, self.progress)
        if stage.name == "labels":
            if self.ledger.latest("snapshot", round) is None:
                stage.run(job)
            return False
        if on_stage:
            on_stage(round, stage.name)
        self.make(stage, job)
        return True

    def freeze_now(self) -> Artifact:
        """Freeze all labels as they stand now, outside any round; without a new label it is the same snapshot."""
        stage = _stage("snapshot")
        with self.ledger.read() as session:
            uuids = sorted(label.uuid for label in current_labels(session))
        if not uuids:
            raise NotFound(
                "there are no labels to freeze", next="Run: trueloop annotate, or trueloop import FILE --as votes"
            )
        config = config_of(self.recipe, stage.sections)
        return self._make_once(stage, digest([stage.name, stage.version, config, uuids], 20), {})

    def reward_now(self) -> Artifact:
        """Train a reward model on the latest snapshot, on features of the SFT model where there is one."""
        stage = _stage("reward")
        snapshot = self.ledger.latest("snapshot")
        if snapshot is None:
            raise NotFound("there is no snapshot to train on", next="Run: trueloop snapshot")
        parents = {"snapshot": snapshot.id}
        sft = self._id_of(_stage("sft"), 0)
        if sft is not None and self.ledger.find(sft) is not None:
            parents["sft"] = sft
        return self._make_once(stage, self._fingerprint(stage, 0, parents), parents)

    def _make_once(self, stage: Stage, identity: str, parents: dict[str, str]) -> Artifact:
        made = self.ledger.find(identity)
        if made is not None:
            return made
        return self.make(stage, Job(self.workspace, self.ledger, self.recipe, identity, 0, parents, self.progress))

    def make(self, stage: Stage, job: Job) -> Artifact:
        """Run one stage into `<id>.tmp`, rename it, then insert its row and all rows it brings in one transaction."""
        final = self.workspace.artifacts / job.id
        started = time.monotonic()
        if not (final / "artifact.json").is_file():
            shutil.rmtree(final, ignore_errors=True)
            job.out.mkdir(parents=True, exist_ok=True)
            try:
                metrics = stage.run(job)
                assert metrics is not None, f"stage {stage.name} returned no metrics"
                card = {
                    "id": job.id,
                    "stage": stage.name,
                    "round": job.round,
                    "config": config_of(job.recipe, stage.sections),
                    "recipe": job.recipe.model_dump(mode="json"),
                    "parents": dict(sorted(job.parents.items())),
                    "metrics": metrics,
                    "content_hash": content_hash(job.out),
                }
                (job.out / "artifact.json").write_text(json.dumps(card, indent=1, sort_keys=True), encoding="utf-8")
                _flush_to_disk(job.out)
                job.out.rename(final)
            except Exception as error:
                if not _is_full(error, self.workspace.artifacts):
                    raise
                raise TrueloopError(
                    f"the disk is full; nothing of stage {stage.name} was recorded and all labels are safe",
                    where=str(self.workspace.artifacts),
                    next="Free some space, then run: trueloop advance",
                ) from error
        card = json.loads((final / "artifact.json").read_text(encoding="utf-8"))
        row = Artifact(
            id=job.id,
            stage=stage.name,
            round=job.round,
            config=card["config"],
            metrics=card["metrics"],
            content_hash=card["content_hash"],
            path=str(final.relative_to(self.workspace.path)),
            git_sha=git_sha(),
            seconds=round(time.monotonic() - started, 3),
            created_at=time.time(),
        )

        def insert(session: Any) -> None:
            self.ledger.record(session, row, sorted(set(job.parents.values())))
            if stage.record:
                stage.record(session, job)

        self.ledger.write(insert)
        return row


def content_hash(folder: Path) -> str:
    """SHA-256 over names and bytes of all files below a folder, artifact.json aside: equal runs, equal hash."""
    import hashlib

    whole = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if name == "artifact.json":
            continue
        with path.open("rb") as file:
            whole.update(f"{name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return whole.hexdigest()


def _stage(name: str) -> Stage:
    return next(stage for stage in STAGES if stage.name == name)


def _is_full(error: BaseException | None, folder: Path) -> bool:
    """Whether a full disk is behind an error: the writers of weights and checkpoints say it in words of their own."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if "No space left on device" in str(error):
            return True
        if isinstance(error, RuntimeError) and shutil.disk_usage(folder).free < 2**20:
            return True  # torch.save says no more than "unexpected pos"
        error = error.__cause__ or error.__context__
    return False


def _flush_to_disk(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
