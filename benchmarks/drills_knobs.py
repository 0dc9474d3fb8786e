"""Dead knobs: every field of a recipe, given another valid value, must change what its stage makes.

A stage runs alone on inputs from one finished micro round, with the same seed before and after, and what is compared
is what comes out of it for those who read it (answers, weights, scores, verdicts), never an echo of the field itself.
"""

import json
import shutil
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import create_model

from align import stages
from align.job import Job
from align.promote import decide
from align.recipe import Recipe
from align.rounds import STAGES, Loop
from annotate import queue
from annotate.campaign import set_campaign
from annotate.errors import BadInput, Waiting
from annotate.gold import add_gold
from annotate.ledger import Ledger
from annotate.messages import as_messages, digest
from annotate.pairs import CandidatePair
from annotate.preference import read_preferences, write_preferences
from annotate.progress import silent
from annotate.prompts import import_prompts
from annotate.rules import asked_of
from annotate.tables import Prompt, Response
from benchmarks.knobs import EVALUATED, KNOBS, Knob
from benchmarks.micro import make_workspace, micro_recipe, run_round

PLANTED = "generate.unread"
"""A field that no stage reads: the drill must call it dead."""


@dataclass
class KnobReport:
    """tried: fields changed. dead: those that changed nothing. planted: whether the planted one was among them."""

    fields: int
    tried: list[str] = field(default_factory=list)
    dead: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    caught: bool = False
    seconds: float = 0.0


def knob_drill(knobs: Sequence[Knob] = KNOBS) -> KnobReport:
    """Change each field and compare; a field whose stage fails is listed as failed, with what it said."""
    started = time.monotonic()
    report = KnobReport(len(KNOBS))
    with tempfile.TemporaryDirectory() as folder, _Bench(Path(folder)) as bench:
        for knob in knobs:
            try:
                alive = bench.is_alive(knob)
            except Exception as error:
                report.failed.append(f"{knob.path}: {type(error).__name__}: {error}")
                continue
            report.tried.append(knob.path)
            if not alive:
                report.dead.append(knob.path)
        report.caught = not bench.planted_is_alive()
    report.seconds = time.monotonic() - started
    return report


class _Bench:
    """A finished micro round, and single stages run on its artifacts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.baselines: dict[str, str] = {}

    def __enter__(self) -> "_Bench":
        # Two labels for most pairs: what the number of votes decides needs pairs with one and with two.
        self.recipe = micro_recipe(["pairs.overlap=2", "labels.per_round=70"])
        self.workspace = run_round(self.folder / "round", self.recipe)
        self.ledger = Ledger(self.workspace)
        loop = Loop(self.workspace, self.ledger, self.recipe)
        self.parents = {stage.name: loop.inputs(stage, 1) for stage in STAGES}
        self.recipe = micro_recipe()
        self._prepare()
        return self

    def __exit__(self, *_: Any) -> None:
        self.ledger.close()

    def is_alive(self, knob: Knob) -> bool:
        """Whether the other value changes what is seen."""
        before = self.recipe_with(knob.under)
        path = knob.field.split(".")
        assert _get(before, path) != knob.to, f"{knob.path} has this value already"
        value = self._real(knob)
        change = _nested(path, value)
        # of a section of one kind nothing stays in one of another
        other_kind = path[-1] == "kind" and "kind" in knob.under.get(path[0], {})
        after = self.recipe_with({**knob.under, **change} if other_kind else _merged(knob.under, change))
        key = digest([knob.stage, knob.seen, {name: _plain(part) for name, part in knob.under.items()}])
        if key not in self.baselines:
            self.baselines[key] = self.seen(knob, before)
        return self.baselines[key] != self.seen(knob, after)

    def planted_is_alive(self) -> bool:
        """Whether a field that nobody reads is called alive."""
        kind = type(self.recipe.generate)
        wider: Any = create_model("Wider", __base__=kind, unread=(int, 0))
        recipes = [
            self.recipe.model_copy(update={"generate": wider(**self.recipe.generate.model_dump(), unread=value)})
            for value in (0, 1)
        ]
        knob = Knob(PLANTED, 1)
        return self.seen(knob, recipes[0]) != self.seen(knob, recipes[1])

    def recipe_with(self, sections: Mapping[str, Any]) -> Recipe:
        """The micro recipe with some fields changed; a section of another kind replaces the micro one's."""
        fields = self.recipe.model_dump(mode="json")
        for name, value in sections.items():
            if isinstance(value, Mapping):
                same = value.get("kind", fields[name].get("kind")) == fields[name].get("kind")
                # of the micro section nothing stays that the other kind does not know
                fields[name] = _merged(fields[name] if same else {}, value)
            else:
                fields[name] = value
        if isinstance(fields["sft"], dict) and fields["sft"]["model"] == "sft":
            fields["sft"]["model"] = str(self.workspace.artifacts / self.parents["reward"]["sft"])
        return Recipe.model_validate(fields)

    def seen(self, knob: Knob, recipe: Recipe) -> str:
        """A digest of what a reader sees of the stage under a recipe."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if knob.seen:
                return digest(_WAYS[knob.seen](self, knob.stage, recipe))
            with self.made(knob.stage, recipe) as (job, _):
                return digest(_VIEWS[knob.stage](job))

    @contextmanager
    def made(self, stage: str, recipe: Recipe, progress: Any = silent) -> Iterator[tuple[Job, Any]]:
        """The stage's directory and metrics under a recipe; gone afterwards. Same id, so the same seed."""
        workspace, ledger = self.workspace, self.ledger
        if stage == "prompts":  # it writes into the database, so it gets a fresh one
            workspace = make_workspace(Path(tempfile.mkdtemp(dir=self.folder)) / "prompts")
            ledger = Ledger(workspace)
        parents = dict(self.parents[stage])
        if "snapshot" in parents:
            parents["snapshot"] = "strong"
        if stage == "promotion":
            parents["evaluation"] = "evaluated"
        job = Job(workspace, ledger, recipe, "probe", 1, parents, progress)
        job.out.mkdir(parents=True)
        try:
            metrics = next(one for one in STAGES if one.name == stage).run(job)
            yield job, metrics
        finally:
            shutil.rmtree(job.out)
            if ledger is not self.ledger:
                ledger.close()

    def _prepare(self) -> None:
        """Inputs in which every field can show: preferences with a strength, a verdict that hangs on every bound."""
        source = self.workspace.artifacts / self.parents["reward"]["snapshot"]
        strong = self.workspace.artifacts / "strong"
        shutil.copytree(source, strong)
        rows = [one.model_copy(update={"strength": 2}) for one in read_preferences(source / "preferences.jsonl")]
        write_preferences(strong / "preferences.jsonl", rows)
        evaluated = self.workspace.artifacts / "evaluated"
        evaluated.mkdir()
        (evaluated / "artifact.json").write_text(json.dumps({"metrics": EVALUATED}), encoding="utf-8")
        demonstrations = [{"prompt": "Name fig and lime.", "response": "fig lime"}] * 50
        (self.folder / "demonstrations.jsonl").write_text(
            "".join(json.dumps(row) + "\n" for row in demonstrations), encoding="utf-8"
        )

    def _real(self, knob: Knob) -> Any:
        """The knob's other value, with its path or address where the table only names it."""
        if knob.path == "demonstrations.path":
            return str(self.folder / "demonstrations.jsonl")
        if knob.path == "generate.endpoint":
            return _endpoint()
        return knob.to


# ------------------------------------------------------------------------------- what a reader sees of each stage


def _rows(name: str, *keys: str) -> Callable[[Job], Any]:
    return lambda job: [
        {key: row[key] for key in keys} if keys else row for row in stages.read_rows_of(job.out / f"{name}.jsonl")
    ]


def _queued(job: Job) -> Any:
    """The slots that the pairs open."""
    rows = stages.read_rows_of(job.out / "pairs.jsonl")
    return [
        (row["prompt_id"], row["responses"], row["objective"], replica)
        for row in rows
        for replica in range(row["overlap"])
    ]


def _weights(job: Job) -> Any:
    """The model and its tokenizer, byte for byte."""
    import hashlib

    names = sorted([*job.out.glob("*.safetensors"), *job.out.glob("tokenizer*.json")])
    return [(path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in names]


def _training(job: Job) -> Any:
    """The model, and the curves of its training: the guard may well keep the SFT model's weights."""
    curves = [
        {name: value for name, value in row.items() if name != "learning_rate"}
        for row in stages.read_rows_of(job.out / "metrics.jsonl")
    ]
    return _weights(job), curves


def _scores(job: Job) -> Any:
    """The reward of some answers."""
    from reward.score import load_scorer

    answers = ["fig plum", "lime", "fig fig fig", "kiwi mango plum olive", "none"]
    prompts = [as_messages(text) for text in ("Name fig and plum.", "Name kiwi and lime.") for _ in answers]
    mean, std = load_scorer(job.out).score(prompts, answers * 2)
    return np.concatenate([mean, std]).tolist()


_VIEWS: dict[str, Callable[[Job], Any]] = {
    "prompts": _rows("prompts"),
    "demonstrations": _rows("demonstrations"),
    "sft": _weights,
    "responses": _rows("responses", "prompt_id", "text", "logprob"),
    "pairs": _queued,
    "snapshot": _rows("preferences"),
    "reward": _scores,
    "referee": _scores,
    "policy": _training,
    "evaluation": _rows("samples"),
    "promotion": lambda job: json.loads((job.out / "verdict.json").read_text(encoding="utf-8"))["reasons"],
}


# ------------------------------------------------------------------------------------- other ways to see a change


def _checkpoints(bench: _Bench, stage: str, recipe: Recipe) -> Any:
    """Which checkpoints were written on the way."""
    found: set[str] = set()

    def look(*_: Any) -> None:
        found.update(path.name for path in (bench.workspace.artifacts / "probe.tmp" / "checkpoints").glob("*"))

    with bench.made(stage, recipe, look):
        return sorted(found)


def _forwards(bench: _Bench, stage: str, recipe: Recipe) -> Any:
    """How often a language model was called."""
    from torch.nn.modules.module import register_module_forward_pre_hook

    calls = [0]

    def count(module: Any, _: Any) -> None:
        calls[0] += type(module).__name__.endswith("ForCausalLM")

    hook = register_module_forward_pre_hook(count)
    try:
        with bench.made(stage, recipe):
            return calls[0]
    finally:
        hook.remove()


def _metrics(bench: _Bench, stage: str, recipe: Recipe) -> Any:
    with bench.made(stage, recipe) as (_, metrics):
        return metrics


def _waiting(bench: _Bench, _: str, recipe: Recipe) -> Any:
    """How many labels the finished round would still wait for."""
    made = bench.ledger.latest("pairs", 1)
    assert made is not None, "the micro round has its pairs"
    try:
        stages.labels(Job(bench.workspace, bench.ledger, recipe, "probe", 1, {"pairs": made.id}, silent))
    except Waiting as waiting:
        return waiting.need
    return 0


def _brief(bench: _Bench, _: str, recipe: Recipe) -> Any:
    """The verdict on a candidate whose answers are a little shorter."""
    return decide(EVALUATED | {"length": 9.5}, recipe.gate).reasons


def _import(bench: _Bench, _: str, recipe: Recipe) -> Any:
    """What an import of prompts takes and leaves out."""
    workspace = make_workspace(Path(tempfile.mkdtemp(dir=bench.folder)) / "import")
    file = workspace.path / "prompts.jsonl"
    texts = ["Name a fruit.", "Name fig and lime, at some length.", "<p>Name a &quot;fruit&quot;.</p>"]
    file.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts), encoding="utf-8")
    with Ledger(workspace) as ledger:
        return import_prompts(ledger, file, recipe.prompts).as_dict()


def _report(bench: _Bench, _: str, recipe: Recipe) -> Any:
    """The workspace's report, written under a recipe."""
    from align.recipe import write_recipe
    from align.report import write_report

    kept = bench.workspace.recipe_path.read_text(encoding="utf-8")
    try:
        bench.workspace.recipe_path.write_text(write_recipe(recipe), encoding="utf-8")
        return write_report(bench.workspace, bench.ledger).read_text(encoding="utf-8")
    finally:
        bench.workspace.recipe_path.write_text(kept, encoding="utf-8")


def _asked(bench: _Bench, _: str, recipe: Recipe) -> Any:
    """What an annotator is told and given under a recipe, and which of several judgments are taken."""
    database = Path(tempfile.mkdtemp(dir=bench.folder)) / "labels.db"
    with Ledger.open(f"sqlite:///{database}") as ledger:
        ledger.write(lambda session: _fill_queue(session, recipe))
        seen: list[Any] = []
        for number, says in enumerate(_SAYINGS):
            with ledger.read() as session:
                seen.append(asked_of(session, "ann", now=0.0))
            offer = queue.offer(ledger, "ann", now=0.0)
            seen.append((offer.reason, [(task.pair, task.practice) for task in offer.tasks]))
            for task in offer.tasks:
                ids = sorted((response.id for response in task.responses), reverse=True)
                ranking = [ids] if says.get("tie") else [[one] for one in ids]
                fields = {name: value for name, value in says.items() if name != "tie"}
                sent = {"uuid": f"judgment-{number}", "slot": task.slot, "ranking": ranking, **fields}
                try:
                    seen.append(queue.submit(ledger, "ann", queue.Judgment.model_validate(sent), now=0.0).model_dump())
                except BadInput as refused:
                    seen.append(refused.where)
    return seen


_SAYINGS: tuple[dict[str, Any], ...] = (
    {},
    {"strength": 3},
    {"tie": True},
    {"rationale": "So."},
    {"both_bad": True},
    {"criteria": {"helpful": "very"}},
)


def _fill_queue(session: Any, recipe: Recipe) -> None:
    """A queue of twelve pairs, two practice and two control items, under the recipe's campaign."""
    queue.register(session, "ann")
    for number in range(16):
        prompt, ids = f"prompt-{number:02d}", [f"response-{number:02d}-{place}" for place in "ab"]
        session.add(Prompt(id=prompt, messages=[], text="", group=prompt, split="train", created_at=0))
        session.flush()
        session.add_all(Response(id=one, prompt_id=prompt, text=one, sampling={}, created_at=0) for one in ids)
        session.flush()
        if number < 12:
            queue.add_pairs(session, [CandidatePair(prompt, tuple(ids), round=1)])
        else:
            add_gold(session, prompt, [[one] for one in ids], "So.", "practice" if number < 14 else "control", now=0.0)
    set_campaign(session, recipe.campaign, "lead", now=-1.0)


def _taken(bench: _Bench, stage: str, recipe: Recipe) -> Any:
    """What the stage makes, or why it makes nothing."""
    try:
        with bench.made(stage, recipe) as (job, _):
            return _VIEWS[stage](job)
    except BadInput as refused:
        return refused.what


_WAYS: dict[str, Callable[[_Bench, str, Recipe], Any]] = {
    "checkpoints": _checkpoints,
    "forwards": _forwards,
    "metrics": _metrics,
    "waiting": _waiting,
    "brief": _brief,
    "import": _import,
    "report": _report,
    "asked": _asked,
    "taken": _taken,
}


class _Answering(BaseHTTPRequestHandler):
    """A server that answers every question with the same words."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        words = ("fig lime", "plum", "kiwi and olive", "none")
        choices = [
            {"index": at, "message": {"role": "assistant", "content": words[at % 4]}, "finish_reason": "stop"}
            for at in range(int(asked.get("n") or 1))
        ]
        body = json.dumps({"object": "chat.completion", "choices": choices, "usage": {"completion_tokens": 2}}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


def _endpoint() -> str:
    """The URL of a running server; it ends with this process."""
    server = HTTPServer(("127.0.0.1", 0), _Answering)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/v1?model=micro"


# ------------------------------------------------------------------------------------------------- nested fields


def _nested(path: Sequence[str], value: Any) -> dict[str, Any]:
    return {path[0]: value if len(path) == 1 else _nested(path[1:], value)}


def _merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    whole = dict(first)
    for name, value in second.items():
        both = isinstance(value, Mapping) and isinstance(whole.get(name), Mapping)
        whole[name] = _merged(whole[name], value) if both else value
    return whole


def _get(recipe: Recipe, path: Sequence[str]) -> Any:
    value: Any = recipe
    for name in path:
        value = getattr(value, name)
    return value


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value
