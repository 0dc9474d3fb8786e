"""The HTTP contract: what each route answers, and whom it refuses."""

import json
import uuid as uuids
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from serving import numbered, put_into_queue

from annotate import auth, guard
from annotate.app import create_app
from annotate.ledger import Ledger

OWN = {"origin": "http://testserver"}


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A fresh ledger, for tests that count what is in it."""
    with Ledger.open(f"sqlite:///{tmp_path / 'labels.db'}", durable=False) as ledger:
        yield ledger


@pytest.fixture
def client(ledger: Ledger) -> TestClient:
    return browser(create_app(ledger))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    """One ledger for all tests that only ask who may do what."""
    with Ledger.open(f"sqlite:///{tmp_path_factory.mktemp('api') / 'labels.db'}", durable=False) as ledger:
        yield ledger


@pytest.fixture(scope="module")
def app(shared: Ledger) -> Any:
    return create_app(shared)


@pytest.fixture
def visitor(app: Any) -> TestClient:
    """Someone without cookies at the shared application."""
    return browser(app)


def browser(app: Any) -> TestClient:
    return TestClient(app, raise_server_exceptions=False, follow_redirects=False)


def as_(ledger: Ledger, name: str, role: auth.Role = "annotator") -> dict[str, str]:
    """Headers that sign `name` in."""
    return {"authorization": f"Bearer {auth.new_token(ledger, name, role)}"}


def judgment(task: dict[str, Any], **more: Any) -> dict[str, Any]:
    ranking = [[response["id"]] for response in task["responses"]]
    return {"uuid": str(uuids.uuid4()), "slot": task["slot"], "ranking": ranking, **more}


def first_task(client: TestClient, who: dict[str, str]) -> dict[str, Any]:
    return client.get("/api/tasks?n=1", headers=who).json()["tasks"][0]


# --- who gets in -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", ["Bearer nonsense", "Bearer", "Basic YTpi", "bearer  "])
def test_a_bad_token_signs_nobody_in(visitor: TestClient, header: str) -> None:
    assert visitor.get("/api/tasks", headers={"authorization": header}).status_code == 401


def test_a_revoked_token_is_out_with_the_next_request(visitor: TestClient, shared: Ledger) -> None:
    token = auth.new_token(shared, "ann")
    who = {"authorization": f"Bearer {token}"}
    assert visitor.get("/api/me", headers=who).status_code == 200
    auth.logout(shared, token)
    assert visitor.get("/api/me", headers=who).status_code == 401


def test_signing_in_sets_a_cookie_that_scripts_and_other_sites_cannot_use(visitor: TestClient, shared: Ledger) -> None:
    auth.new_token(shared, "ann")
    auth.set_password(shared, "ann", "correct horse")
    answer = visitor.post("/api/login", json={"name": "ann", "password": "correct horse"}, headers=OWN)
    assert answer.status_code == 200 and answer.json() == {"name": "ann", "role": "annotator"}
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=lax" in cookie and "path=/" in cookie
    assert visitor.get("/api/me").json()["name"] == "ann"
    assert visitor.post("/api/logout", headers=OWN).status_code == 200
    assert visitor.get("/api/me").status_code == 401


def test_the_cookie_is_secure_behind_tls(app: Any, shared: Ledger) -> None:
    token = auth.new_token(shared, "ann")
    answer = TestClient(app, base_url="https://testserver").post("/api/login", json={"token": token})
    assert "secure" in answer.headers["set-cookie"].lower()


def test_a_one_time_link_signs_in_once(client: TestClient, ledger: Ledger) -> None:
    _, secret = auth.sign_in_link(ledger)
    assert client.post("/api/login", json={"token": secret}).json()["role"] == "admin"
    assert client.get("/api/me").json()["role"] == "admin"
    again = client.post("/api/login", json={"token": secret})
    assert again.status_code == 401 and "set-cookie" not in again.headers


def test_signing_in_again_ends_the_session_before(client: TestClient, ledger: Ledger) -> None:
    token = auth.new_token(ledger, "ann")
    client.post("/api/login", json={"token": token})
    before = client.cookies[guard.COOKIE]
    client.post("/api/login", json={"token": token})
    assert client.cookies[guard.COOKIE] != before
    client.cookies.clear()
    assert client.get("/api/me", headers={"cookie": f"{guard.COOKIE}={before}"}).status_code == 401


def test_wrong_passwords_are_slowed_down(client: TestClient, ledger: Ledger) -> None:
    auth.new_token(ledger, "ann")
    auth.set_password(ledger, "ann", "correct horse")
    wrong = {"name": "ann", "password": "wrong horse"}
    assert [client.post("/api/login", json=wrong).status_code for _ in range(6)] == [401] * 5 + [429]
    answer = client.post("/api/login", json={"name": "ann", "password": "correct horse"})
    assert answer.status_code == 429 and 0 < int(answer.headers["retry-after"]) <= 300


# --- other sites -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),
        (OWN, True),
        ({"origin": "https://testserver"}, True),
        ({"origin": "http://testserver:81"}, False),
        ({"origin": "http://evil.example"}, False),
        ({"origin": "http://testserver.evil.example"}, False),
        ({"origin": "null"}, False),
        ({"sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "same-site"}, False),
    ],
)
def test_a_write_from_another_site_is_refused(
    visitor: TestClient, shared: Ledger, headers: dict[str, str], allowed: bool
) -> None:
    visitor.cookies.set(guard.COOKIE, auth.login_by_token(shared, auth.new_token(shared, "ann")))
    assert (visitor.post("/api/logout", headers=headers).status_code == 200) == allowed


def test_no_other_origin_may_read_an_answer(visitor: TestClient, shared: Ledger) -> None:
    visitor.cookies.set(guard.COOKIE, auth.login_by_token(shared, auth.new_token(shared, "ann")))
    foreign = {"origin": "http://evil.example", "access-control-request-method": "POST"}
    for answer in (
        visitor.get("/api/me", headers=foreign),
        visitor.get("/", headers=foreign),
        visitor.options("/api/labels", headers=foreign),
    ):
        assert "access-control-allow-origin" not in answer.headers


def test_every_answer_carries_the_security_headers(visitor: TestClient, shared: Ledger) -> None:
    who = as_(shared, "ann")
    for path in ("/login", "/", "/page/label.js", "/api/me", "/api/nothing", "/api/docs"):
        answer = visitor.get(path, headers=who)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert "unsafe-eval" not in answer.headers["content-security-policy"]
    assert visitor.get("/api/me", headers=who).headers["cache-control"] == "no-store"


# --- labelling -------------------------------------------------------------------------------------------------------


def test_a_pair_is_claimed_judged_and_counted(client: TestClient, ledger: Ledger) -> None:
    put_into_queue(ledger, numbered(3))
    who = as_(ledger, "ann")
    tasks = client.get("/api/tasks?n=2", headers=who).json()["tasks"]
    assert len(tasks) == 2
    assert {"slot", "pair", "prompt", "responses", "criteria", "lease_until"} <= tasks[0].keys()
    assert [set(response) for response in tasks[0]["responses"]] == [{"id", "text"}] * 2
    assert set(tasks[0]["prompt"][0]) == {"role", "content"}
    again = client.get("/api/tasks?n=2", headers=who).json()["tasks"]
    for task in (*tasks, *again):
        assert task.pop("lease_until") > 0
    assert again == tasks, "a reload gives the same pairs"
    sent = judgment(tasks[0], active_ms=1200, flags=["odd"], rationale="because")
    stored = client.post("/api/labels", json=sent, headers=who)
    assert stored.status_code == 200 and stored.json()["uuid"] == sent["uuid"] and stored.json()["stored"] is True
    assert stored.json()["undo_until"] > 0
    progress = client.get("/api/progress", headers=who).json()
    assert (progress["mine"]["labels"], progress["round"]["have"], progress["round"]["need"]) == (1, 1, 3)


def test_the_same_uuid_again_returns_the_stored_result_and_other_content_conflicts(
    client: TestClient, ledger: Ledger
) -> None:
    put_into_queue(ledger, numbered(1))
    who = as_(ledger, "ann")
    sent = judgment(first_task(client, who))
    first, again = (client.post("/api/labels", json=sent, headers=who) for _ in range(2))
    assert first.json() == again.json() and again.status_code == 200
    other = client.post("/api/labels", json={**sent, "ranking": sent["ranking"][::-1]}, headers=who)
    assert other.status_code == 409 and set(other.json()) == {"error", "where", "next"}


def test_nobody_judges_undoes_or_skips_for_someone_else(client: TestClient, ledger: Ledger) -> None:
    put_into_queue(ledger, numbered(2))
    ann, bob = as_(ledger, "ann"), as_(ledger, "bob")
    task = first_task(client, ann)
    sent = judgment(task)
    assert client.post("/api/labels", json=sent, headers=bob).status_code in (403, 409)
    skip = {"uuid": str(uuids.uuid4()), "reason": "other"}
    assert client.post(f"/api/slots/{task['slot']}/skip", json=skip, headers=bob).status_code in (403, 409)
    assert client.post("/api/slots/renew", json={"slots": [task["slot"]]}, headers=bob).status_code in (200, 403, 409)
    assert client.post("/api/labels", json=sent, headers=ann).status_code == 200
    assert client.delete(f"/api/labels/{sent['uuid']}", headers=bob).status_code in (403, 404)
    assert client.get("/api/progress", headers=ann).json()["round"]["have"] == 1


def test_an_undone_label_brings_its_pair_back(client: TestClient, ledger: Ledger) -> None:
    put_into_queue(ledger, numbered(1))
    who = as_(ledger, "ann")
    task = first_task(client, who)
    sent = judgment(task)
    client.post("/api/labels", json=sent, headers=who)
    assert client.get("/api/tasks", headers=who).json()["tasks"] == []
    assert client.delete(f"/api/labels/{sent['uuid']}", headers=who).status_code == 200
    assert first_task(client, who)["slot"] == task["slot"]
    assert client.get("/api/progress", headers=who).json()["round"]["have"] == 0
    assert client.delete(f"/api/labels/{uuids.uuid4()}", headers=who).status_code == 404


def test_a_revision_supersedes_and_is_counted_once(client: TestClient, ledger: Ledger) -> None:
    put_into_queue(ledger, numbered(1))
    who = as_(ledger, "ann")
    sent = judgment(first_task(client, who))
    client.post("/api/labels", json=sent, headers=who)
    revised = {**sent, "uuid": str(uuids.uuid4()), "ranking": sent["ranking"][::-1], "supersedes": sent["uuid"]}
    assert client.post("/api/labels", json=revised, headers=who).status_code == 200
    assert client.get("/api/progress", headers=who).json()["round"]["have"] == 1


def test_a_skipped_pair_goes_to_someone_else(client: TestClient, ledger: Ledger) -> None:
    put_into_queue(ledger, numbered(1))
    ann, bob = as_(ledger, "ann"), as_(ledger, "bob")
    task = first_task(client, ann)
    sent = {"uuid": str(uuids.uuid4()), "reason": "expertise"}
    for _ in range(2):
        assert client.post(f"/api/slots/{task['slot']}/skip", json=sent, headers=ann).status_code == 200
    assert client.get("/api/tasks", headers=ann).json()["tasks"] == []
    assert first_task(client, bob)["pair"] == task["pair"]


def test_a_lease_is_renewed(client: TestClient, ledger: Ledger) -> None:
    put_into_queue(ledger, numbered(1))
    who = as_(ledger, "ann")
    task = first_task(client, who)
    answer = client.post("/api/slots/renew", json={"slots": [task["slot"]]}, headers=who)
    assert answer.status_code == 200 and answer.json()["lease_until"] >= task["lease_until"]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"uuid": "short"}, 422),
        ({"slot": 0}, 422),
        ({"slot": 2**63}, 422),
        ({"slot": 10**6}, 404),
        ({"ranking": []}, 422),
        ({"ranking": [["nothing"]]}, 422),
        ({"ranking": [[]]}, 422),
        ({"strength": 4}, 422),
        ({"active_ms": -1}, 422),
        ({"nobody_knows": 1}, 422),
        ({"rationale": "x" * 20_001}, 422),
        ({"supersedes": str(uuids.UUID(int=7))}, 404),
        ({"criteria": {"tone": [1]}}, 422),
    ],
    ids=str,
)
def test_a_judgment_that_cannot_be_stored_is_refused_in_words(
    client: TestClient, ledger: Ledger, change: dict[str, Any], status: int
) -> None:
    put_into_queue(ledger, numbered(1))
    who = as_(ledger, "ann")
    answer = client.post("/api/labels", json={**judgment(first_task(client, who)), **change}, headers=who)
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error", "where", "next"} and answer.json()["error"]
    assert client.get("/api/progress", headers=who).json()["round"]["have"] == 0


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/api/labels", b"{", 400),
        ("POST", "/api/labels", b"", 422),
        ("POST", "/api/labels", b'{"uuid": NaN}', 422),
        ("POST", "/api/labels", b'{"uuid": "\\ud800"}', 422),
        ("POST", "/api/labels", b"[" * 100_000, 400),
        ("POST", "/api/labels", b"x" * (guard.MAX_BODY_BYTES + 1), 413),
        ("GET", "/api/tasks?n=0", b"", 422),
        ("GET", "/api/tasks?n=51", b"", 422),
        ("GET", "/api/nothing", b"", 404),
        ("PUT", "/api/labels", b"", 405),
        ("DELETE", "/api/labels/1", b"", 422),
        ("GET", "/page/../api.py", b"", 404),
        ("GET", "/page/%2e%2e/api.py", b"", 404),
        ("GET", "/gradio_api/file=/etc/passwd", b"", 404),
    ],
)
def test_a_bad_request_gets_its_status_and_a_reason(
    visitor: TestClient, shared: Ledger, method: str, path: str, body: bytes, status: int
) -> None:
    headers = {**as_(shared, "ann"), "content-type": "application/json"}
    answer = visitor.request(method, path, content=body, headers=headers)
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error", "where", "next"}


def test_an_export_streams_json_lines_to_reviewers(client: TestClient, ledger: Ledger) -> None:
    put_into_queue(ledger, numbered(3))
    ann, rev = as_(ledger, "ann"), as_(ledger, "rev", "reviewer")
    sent = [judgment(task) for task in client.get("/api/tasks?n=3", headers=ann).json()["tasks"]]
    for each in sent:
        assert client.post("/api/labels", json=each, headers=ann).status_code == 200
    answer = client.get("/api/export?what=labels", headers=rev)
    rows = [json.loads(line) for line in answer.text.splitlines()]
    assert {row["uuid"] for row in rows} == {each["uuid"] for each in sent}
    assert {"slot", "pair", "annotator", "ranking", "strength", "order_shown", "guideline", "created_at"} <= rows[
        0
    ].keys()
    assert "ann" not in {row["annotator"] for row in rows}, "labels carry the pseudonym"
    assert len(client.get("/api/export?what=prompts", headers=rev).text.splitlines()) == 3
    assert client.get("/api/export?what=secrets", headers=rev).status_code == 422
    assert client.get("/api/export?what=labels&format=xls", headers=rev).status_code == 422


def test_an_export_comes_as_csv_or_parquet_too(client: TestClient, ledger: Ledger) -> None:
    put_into_queue(ledger, numbered(1))
    rev = as_(ledger, "rev", "reviewer")
    answer = client.get("/api/export?what=prompts&format=csv", headers=rev)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="prompts.csv"'
    assert len(answer.text.splitlines()) == 2
    answer = client.get("/api/export?what=votes&format=parquet", headers=rev)
    assert answer.content.startswith(b"PAR1") and answer.content.endswith(b"PAR1")


def test_health_needs_no_sign_in(visitor: TestClient) -> None:
    assert visitor.get("/api/health").json()["status"] == "ok"


def test_the_docs_name_every_route_and_nothing_outside(visitor: TestClient, shared: Ledger) -> None:
    who = as_(shared, "ann")
    schema = visitor.get("/api/openapi.json", headers=who).json()
    page = visitor.get("/api/docs", headers=who).text
    hidden = {"/api/openapi.json", "/api/docs"}
    for rule in guard.ROUTES:
        if rule.path.startswith("/api/") and rule.path not in hidden:
            operation = schema["paths"][rule.path][rule.method.lower()]
            assert operation["description"], rule
            assert f"{rule.method} {rule.path}" in page
    assert "http://" not in page and "https://" not in page
