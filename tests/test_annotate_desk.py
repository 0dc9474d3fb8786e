"""The routes around a person's work: the campaign, the history, the profile."""

import uuid as uuids
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from serving import numbered, put_into_queue

from annotate import auth
from annotate.app import create_app
from annotate.campaign import CampaignSection, guideline_id, set_campaign
from annotate.gold import copy_as_gold
from annotate.ledger import Ledger


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(f"sqlite:///{tmp_path / 'labels.db'}", durable=False) as ledger:
        yield ledger


@pytest.fixture
def ann(ledger: Ledger) -> TestClient:
    """Ann at the application, signed in by token."""
    return person(ledger, "ann")


def person(ledger: Ledger, name: str) -> TestClient:
    headers = {"authorization": f"Bearer {auth.new_token(ledger, name)}"}
    return TestClient(create_app(ledger), raise_server_exceptions=False, headers=headers)


def set_(ledger: Ledger, **fields: Any) -> None:
    ledger.write(lambda session: set_campaign(session, CampaignSection(**fields), "lead"))


def tasks(client: TestClient, n: int = 6) -> list[dict[str, Any]]:
    return client.get(f"/api/tasks?n={n}").json()["tasks"]


def judge(client: TestClient, task: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Send the judgment that ranks a task's responses as shown; returns what was sent."""
    ranking = [[response["id"]] for response in task["responses"]]
    sent = {"uuid": str(uuids.uuid4()), "slot": task["slot"], "ranking": ranking, **more}
    answer = client.post("/api/labels", json=sent)
    assert answer.status_code == 200, answer.text
    return sent


def test_the_campaign_says_what_is_asked_and_how_far_i_am(ledger: Ledger, ann: TestClient) -> None:
    found = ann.get("/api/campaign").json()
    assert (found["preset"], found["grades"], found["guideline"], found["criteria"]) == ("none", 0, None, [])
    assert found["qualification"] == {"needed": 0, "done": 0, "right": 0, "passed": True}
    set_(ledger, preset="helpsteer3", guideline="# Be kind", most_per_day=9)
    put_into_queue(ledger, numbered(1))
    judge(ann, tasks(ann)[0], rationale="So.")
    found = ann.get("/api/campaign").json()
    assert set(found) == {
        "preset",
        "objective",
        "grades",
        "ties",
        "both_bad",
        "criteria",
        "acceptable",
        "safety_bins",
        "edit",
        "rationale",
        "break_after_minutes",
        "guideline",
        "qualification",
        "today",
    }
    assert found["guideline"] == {"id": guideline_id("# Be kind"), "version": 1, "text": "# Be kind"}
    assert found["criteria"][0]["name"] == "helpful" and found["today"] == {"labels": 1, "most": 9}


def test_a_task_says_its_topic_objective_and_guideline(ledger: Ledger, ann: TestClient) -> None:
    set_(ledger, guideline="Be kind.")
    put_into_queue(ledger, numbered(1))
    [task] = tasks(ann)
    assert (task["practice"], task["objective"], task["topic"]) == (False, "helpful", "")
    assert task["guideline"] == guideline_id("Be kind.")


def test_a_judgment_that_says_what_is_not_asked_names_the_field(ledger: Ledger, ann: TestClient) -> None:
    set_(ledger, preset="helpsteer3", grades=2)
    put_into_queue(ledger, numbered(1))
    [task] = tasks(ann)
    ranking = [[response["id"]] for response in task["responses"]]
    sent = {"uuid": str(uuids.uuid4()), "slot": task["slot"], "ranking": ranking}
    for more, where in (
        ({}, "rationale"),
        ({"rationale": "So.", "strength": 3}, "strength"),
        ({"rationale": "So.", "criteria": {"helpful": 6}}, "criteria.helpful"),
        ({"rationale": "So.", "criteria": {"tone": 1}}, "criteria.tone"),
    ):
        answer = ann.post("/api/labels", json={**sent, **more})
        assert (answer.status_code, answer.json()["where"]) == (422, where)
    judge(ann, task, rationale="So.", strength=-2, criteria={"helpful": {one: 4 for [one] in ranking}})


def test_an_empty_answer_says_why(ledger: Ledger, ann: TestClient) -> None:
    assert ann.get("/api/tasks").json() == {"tasks": [], "reason": "none-open"}
    put_into_queue(ledger, numbered(2))
    set_(ledger, most_per_day=1)
    judge(ann, tasks(ann)[0])
    assert ann.get("/api/tasks").json() == {"tasks": [], "reason": "most-per-day"}
    assert person(ledger, "bob").get("/api/tasks").json()["reason"] is None


def test_practice_is_answered_with_feedback_and_real_work_is_not(ledger: Ledger, ann: TestClient) -> None:
    put_into_queue(ledger, numbered(1))
    [task] = tasks(person(ledger, "lead"))
    ranking = [[response["id"]] for response in task["responses"]]
    ledger.write(lambda session: copy_as_gold(session, task["pair"], ranking, "The first one answers.", "practice"))
    set_(ledger, qualification=1)
    [practice] = tasks(ann)
    assert practice["practice"] is True
    sent = {"uuid": str(uuids.uuid4()), "slot": practice["slot"], "ranking": ranking[::-1]}
    answer = ann.post("/api/labels", json=sent).json()
    assert answer["feedback"] == {"right": False, "ranking": ranking, "explanation": "The first one answers."}
    assert ann.delete(f"/api/labels/{sent['uuid']}").status_code == 409
    put_into_queue(ledger, numbered(2)[1:])
    bob = person(ledger, "bob")
    set_(ledger, qualification=0)
    [real] = tasks(bob)
    shown = [[response["id"]] for response in real["responses"]]
    stored = bob.post("/api/labels", json={"uuid": str(uuids.uuid4()), "slot": real["slot"], "ranking": shown}).json()
    assert set(stored) == {"uuid", "stored", "undo_until"}


def test_my_history_is_mine_newest_first_a_page_at_a_time_and_can_be_revised(ledger: Ledger, ann: TestClient) -> None:
    put_into_queue(ledger, numbered(5), overlap=2)
    sent = [judge(ann, task, rationale=f"Reason {task['slot']}") for task in tasks(ann)]
    judge(person(ledger, "bob"), tasks(person(ledger, "bob"))[0])
    skipped = tasks(person(ledger, "bob"))[0]["slot"]
    person(ledger, "bob").post(f"/api/slots/{skipped}/skip", json={"uuid": str(uuids.uuid4()), "reason": "other"})
    first = ann.get("/api/history?n=3").json()["labels"]
    assert [one["uuid"] for one in first] == [one["uuid"] for one in sent[:1:-1]]
    assert set(first[0]) == {
        "uuid",
        "created_at",
        "task",
        "ranking",
        "strength",
        "both_bad",
        "criteria",
        "rationale",
        "edited",
        "flags",
    }
    assert [[one["id"]] for one in first[0]["task"]["responses"]] == sent[-1]["ranking"] == first[0]["ranking"]
    assert first[0]["task"]["lease_until"] is None
    rest = ann.get(f"/api/history?n=3&before={first[-1]['uuid']}").json()["labels"]
    assert [one["uuid"] for one in rest] == [one["uuid"] for one in sent[1::-1]]
    again = {**sent[0], "uuid": str(uuids.uuid4()), "ranking": sent[0]["ranking"][::-1], "supersedes": sent[0]["uuid"]}
    assert ann.post("/api/labels", json=again).status_code == 200
    assert ann.delete(f"/api/labels/{sent[1]['uuid']}").status_code == 200
    now = [one["uuid"] for one in ann.get("/api/history").json()["labels"]]
    assert now == [again["uuid"], *(one["uuid"] for one in sent[:1:-1])]
    assert person(ledger, "bob").get(f"/api/history?before={now[0]}").status_code == 404
    assert len(person(ledger, "bob").get("/api/history").json()["labels"]) == 1


def test_my_profile_is_kept_and_parts_that_are_not_sent_stay(ledger: Ledger, ann: TestClient) -> None:
    assert ann.get("/api/profile").json() == {
        "languages": [],
        "expertise": [],
        "opted_out": [],
        "settings": {},
        "topics": [],
    }
    kept = ann.put("/api/profile", json={"languages": ["de"], "settings": {"theme": "dark"}})
    assert kept.status_code == 200
    assert ann.put("/api/profile", json={"opted_out": ["violence"]}).json()["languages"] == ["de"]
    assert ann.get("/api/profile").json()["settings"] == {"theme": "dark"}
    assert person(ledger, "bob").get("/api/profile").json()["languages"] == []


@pytest.mark.parametrize(
    "sent",
    [
        {"languages": "de"},
        {"languages": [""]},
        {"languages": ["x" * 201]},
        {"opted_out": ["x"] * 101},
        {"settings": {"blob": "x" * 70_000}},
        {"settings": {"nul": "\0"}},
        {"settings": []},
        {"role": "admin"},
    ],
)
def test_a_profile_that_does_not_fit_is_refused(ann: TestClient, sent: dict[str, Any]) -> None:
    answer = ann.put("/api/profile", json=sent)
    assert answer.status_code == 422 and set(answer.json()) == {"error", "where", "next"}
