"""Live conversations: fresh responses of two blinded models become a task, and go on from the preferred one."""

import shutil
import time
import uuid as uuids
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlmodel import Session, select

from align.recipe import GenerateSection
from align.respond import responder
from annotate import auth
from annotate.app import create_app
from annotate.campaign import CampaignSection, set_campaign
from annotate.ledger import Ledger
from annotate.tables import Artifact, Pair, Prompt, Response
from annotate.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.init(tmp_path / "loop", "name: chat\n")


@pytest.fixture
def ledger(workspace: Workspace) -> Iterator[Ledger]:
    with Ledger(workspace, durable=False) as ledger:
        yield ledger


@pytest.fixture
def ann(workspace: Workspace, ledger: Ledger) -> TestClient:
    answering = responder(workspace, ledger, GenerateSection(max_new_tokens=8, temperature=2.0))
    app = create_app(ledger, responder=answering)
    headers = {"authorization": f"Bearer {auth.new_token(ledger, 'ann')}"}
    return TestClient(app, raise_server_exceptions=False, headers=headers)


def add_model(workspace: Workspace, ledger: Ledger, stage: str, model: Path) -> None:
    shutil.copytree(model, workspace.artifacts / stage)

    def write(session: Session) -> None:
        row = Artifact(
            id=stage, stage=stage, round=0, config={}, metrics={}, content_hash="", path=f"artifacts/{stage}"
        )
        row.created_at = time.time()
        session.add(row)

    ledger.write(write)


def say(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


def judge(client: TestClient, task: dict[str, Any], **more: Any) -> None:
    ranking = [[response["id"]] for response in task["responses"]]
    sent = {"uuid": str(uuids.uuid4()), "slot": task["slot"], "ranking": ranking, **more}
    assert client.post("/api/labels", json=sent).status_code == 200


def test_without_a_model_the_next_command_is_named(ann: TestClient, ledger: Ledger) -> None:
    answer = ann.post("/api/chat", json=say("How much salt?"))
    assert (answer.status_code, answer.json()["next"]) == (409, "Run: trueloop advance")
    bare = TestClient(create_app(ledger), headers=ann.headers)
    assert bare.post("/api/chat", json=say("How much salt?")).status_code == 409
    with ledger.read() as session:
        assert session.exec(select(Prompt)).all() == []


def test_champion_and_candidate_answer_blinded_and_the_ledger_knows_who_was_who(
    ann: TestClient, workspace: Workspace, ledger: Ledger, tiny_model: Path
) -> None:
    add_model(workspace, ledger, "sft", tiny_model)
    one = ann.post("/api/chat", json=say("How much salt?")).json()["task"]
    assert len(one["responses"]) == 2, "two of the only model"
    add_model(workspace, ledger, "policy", tiny_model)
    task = ann.post("/api/chat", json=say("How much water?")).json()["task"]
    assert [set(response) for response in task["responses"]] == [{"id", "text"}] * 2
    assert not {"model", "sft", "policy"} & set(map(str, task.values()))
    assert [held["slot"] for held in ann.get("/api/tasks").json()["tasks"]] == [one["slot"], task["slot"]]
    with ledger.read() as session:
        found = {response["id"]: session.get(Response, response["id"]) for response in task["responses"]}
        assert {row.model for row in found.values() if row} == {"sft", "policy"}
        assert all(row.logprob is not None and row.sampling["seed"] >= 0 for row in found.values() if row)
        pair = session.get(Pair, task["pair"])
        assert pair is not None and (pair.strategy, pair.objective) == ("chat", "helpful")


def test_a_conversation_goes_on_from_the_preferred_response_as_it_was_edited(
    ann: TestClient, workspace: Workspace, ledger: Ledger, tiny_model: Path
) -> None:
    add_model(workspace, ledger, "sft", tiny_model)
    task = ann.post("/api/chat", json=say("How much salt?")).json()["task"]
    assert ann.post("/api/chat", json={"parent": task["slot"], "text": "And water?"}).status_code == 404
    best = task["responses"][0]["id"]
    judge(ann, task, edited={best: "A pinch."})
    later = ann.post("/api/chat", json={"parent": task["slot"], "text": "And water?"}).json()["task"]
    assert later["prompt"] == [
        {"role": "user", "content": "How much salt?"},
        {"role": "assistant", "content": "A pinch."},
        {"role": "user", "content": "And water?"},
    ]
    with ledger.read() as session:
        assert len({row.group for row in session.exec(select(Prompt))}) == 1, "one conversation, one split"
    bob = {"authorization": f"Bearer {auth.new_token(ledger, 'bob')}"}
    answer = ann.post("/api/chat", json={"parent": task["slot"], "text": "And?"}, headers=bob)
    assert answer.status_code == 403


def test_a_limit_holds_for_conversations_too(
    ann: TestClient, workspace: Workspace, ledger: Ledger, tiny_model: Path
) -> None:
    add_model(workspace, ledger, "sft", tiny_model)
    ledger.write(lambda session: set_campaign(session, CampaignSection(most_per_day=1), "lead"))
    assert ann.post("/api/chat", json=say("How much salt?")).status_code == 200
    answer = ann.post("/api/chat", json=say("How much water?"))
    assert answer.status_code == 409 and "most-per-day" in answer.json()["error"]


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"messages": []},
        {"text": "Hello"},
        {"parent": 1},
        {"parent": 1, "text": " "},
        {**say("x"), "parent": 1, "text": "y"},
        say(" "),
        say("x" * 20_001),
        {"messages": [{"role": "assistant", "content": "Hello"}]},
        {"messages": [{"role": "user", "content": "nul \0"}]},
    ],
)
def test_what_is_no_conversation_is_refused(ann: TestClient, sent: dict[str, Any]) -> None:
    assert ann.post("/api/chat", json=sent).status_code == 422
