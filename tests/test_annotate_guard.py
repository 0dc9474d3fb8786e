"""Who may call what: every route with every role and every method; what nobody listed is shut."""

import re
import uuid as uuids
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from starlette.routing import Mount

from annotate import auth, guard, policy
from annotate.app import create_app
from annotate.ledger import Ledger

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
OUT = ("none", "revoked", "expired", "deactivated")
"""Kinds of callers that nobody knows, or not any more."""


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    with Ledger.open(f"sqlite:///{tmp_path_factory.mktemp('guard') / 'labels.db'}", durable=False) as ledger:
        yield ledger


@pytest.fixture(scope="module")
def app(ledger: Ledger) -> Any:
    return create_app(ledger)


@pytest.fixture(scope="module")
def client(app: Any) -> TestClient:
    return TestClient(app, raise_server_exceptions=False, follow_redirects=False)


@pytest.fixture(scope="module")
def callers(ledger: Ledger) -> dict[str, dict[str, str]]:
    """Headers of one caller of each kind."""
    secrets = {name: auth.new_token(ledger, name, name) for name in auth.ROLES}
    secrets |= {name: auth.new_token(ledger, name, "admin") for name in OUT[1:]}
    auth.logout(ledger, secrets["revoked"])
    auth.deactivate(ledger, "deactivated")
    expire(ledger, secrets["expired"])
    return {"none": {}} | {name: {"authorization": f"Bearer {secret}"} for name, secret in secrets.items()}


def expire(ledger: Ledger, secret: str) -> None:
    from sqlmodel import col, update

    from annotate.tables import Token

    one = col(Token.hash) == auth._digest(secret)
    ledger.write(lambda session: session.exec(update(Token).where(one).values(expires_at=1.0)))


def every_route(routes: Any, under: str = "") -> Iterator[tuple[str, str]]:
    """Method and path of everything that is mounted anywhere, Gradio's own routes included."""
    for route in routes:
        if hasattr(route, "effective_candidates"):
            yield from every_route(route.effective_candidates(), under)
        elif isinstance(route, Mount):
            inner = getattr(route.app, "routes", None)
            if inner is None:  # a folder of files
                yield "GET", f"{under}{route.path}/{{path:path}}"
            else:
                yield from every_route(inner, under + route.path)
        else:
            yield from ((method, under + route.path) for method in getattr(route, "methods", None) or ("GET",))


def own_routes(app: Any) -> set[tuple[str, str]]:
    """The application's routes without those of mounted applications: each of them is meant to be called."""
    routes = [route for route in app.routes if not hasattr(getattr(route, "app", None), "routes")]
    return {(method, path) for method, path in every_route(routes) if method != "HEAD"}


def without_a_rule(app: Any) -> set[tuple[str, str]]:
    return own_routes(app) - {(rule.method, rule.path) for rule in guard.ROUTES}


def example(path: str) -> str:
    """A path that the pattern matches."""
    filled = path.replace("{uuid}", str(uuids.uuid4())).replace("{slot}", "1")
    return re.sub(r"\{[^}]*\}", "x", filled)


# --- the inventory ---------------------------------------------------------------------------------------------------


def test_every_route_has_a_rule_and_every_rule_a_route(app: Any) -> None:
    assert not without_a_rule(app), "these routes need a rule in annotate/guard.py"
    listed = {(rule.method, rule.path) for rule in guard.ROUTES}
    assert not listed - set(every_route(app.routes)), "these rules are for routes that do not exist"


def test_a_route_without_a_rule_is_noticed_and_shut(ledger: Ledger, callers: dict[str, dict[str, str]]) -> None:
    app = create_app(ledger)

    def planted() -> str:
        return "secret"

    app.router.add_api_route("/api/planted", planted, methods=["GET"])
    app.router.routes.insert(0, app.router.routes.pop())  # before Gradio, which takes every path
    assert without_a_rule(app) == {("GET", "/api/planted")}
    answer = TestClient(app).get("/api/planted", headers=callers["admin"])
    assert answer.status_code == 404 and "secret" not in answer.text


def test_a_mount_without_a_rule_is_noticed(ledger: Ledger, tmp_path: Path) -> None:
    from starlette.staticfiles import StaticFiles

    app = create_app(ledger)
    app.mount("/planted", StaticFiles(directory=tmp_path))
    assert without_a_rule(app) == {("GET", "/planted/{path:path}")}


def test_what_gradio_brings_along_is_shut_unless_listed(
    app: Any, client: TestClient, callers: dict[str, dict[str, str]]
) -> None:
    listed = {(rule.method, rule.path) for rule in guard.ROUTES}
    shut = {route for route in every_route(app.routes) if route not in listed and route[0] != "HEAD"}
    assert len(shut) > 20, "Gradio's routes were not found"
    assert {path for _, path in shut} >= {"/gradio_api/upload", "/gradio_api/queue/join", "/config"}
    for method, path in sorted(shut):
        if guard.find_rule(method, example(path))[0] is not None:
            continue  # one of ours answers at this path
        for who in ("none", "admin"):
            answer = client.request(method, example(path), headers=callers[who])
            assert answer.status_code in (404, 405), (method, path, who)


@pytest.mark.parametrize("rule", guard.ROUTES, ids=lambda rule: f"{rule.method} {rule.path}")
def test_every_route_answers_those_alone_whom_its_rule_names(
    rule: guard.Rule, client: TestClient, callers: dict[str, dict[str, str]]
) -> None:
    path = example(rule.path)
    taken = {each.method for each in guard.ROUTES if guard.find_rule(each.method, path)[0] is each}
    for method in METHODS:
        known = ("GET" if method == "HEAD" else method) in taken
        for who, headers in callers.items():
            client.cookies.clear()
            status = client.request(method, path, headers=headers).status_code
            said = (method, path, who, status)
            found = guard.find_rule(method, path)[0]
            if not known:
                assert status == 405, said
            elif found is None or found.role is None:
                assert status not in (403, 405) or (method, status) == ("HEAD", 405), said
            elif who in OUT:
                assert status == (303 if found.gradio or path == "/password" else 401), said
            elif auth.ROLES.index(who) < auth.ROLES.index(found.role):  # type: ignore[arg-type]
                assert status == 403, said
            else:
                assert status not in (401, 403, 405) or (method, status) == ("HEAD", 405), said
    if rule.path == "/api/logout":  # bearer tokens outlive it: the others are still needed
        assert client.get("/api/me", headers=callers["admin"]).status_code == 200


def test_only_signing_in_health_and_our_own_files_need_no_session() -> None:
    free = {rule.path for rule in guard.ROUTES if rule.role is None}
    assert free == {"/login", "/api/login", "/api/health", "/page/{path:path}", "/favicon.ico"}


def test_a_websocket_is_closed(client: TestClient, callers: dict[str, dict[str, str]]) -> None:
    from starlette.websockets import WebSocketDisconnect

    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/", headers=callers["admin"]):
        pass


# --- the policy ------------------------------------------------------------------------------------------------------


def test_the_labelling_page_runs_gradios_scripts_by_hash_and_no_code_from_text(
    client: TestClient, callers: dict[str, dict[str, str]]
) -> None:
    answer = client.get("/", headers=callers["annotator"])
    scripts = re.search(r"script-src ([^;]*)", answer.headers["content-security-policy"])
    assert scripts is not None
    inline = re.findall(r"<script(?: [a-z-]+)?>", answer.text)
    assert scripts[1].count("'sha256-") == len(inline) > 3
    assert "unsafe" not in scripts[1] and "http" not in scripts[1] and "*" not in scripts[1]


@pytest.mark.parametrize(
    "planted",
    [
        "alert(1)",
        "window.gradio_config = {};alert(1)",
        'window.gradio_config = "";alert(1);"";',
        "window.gradio_config = {}; ",
        "window.gradio_config = (alert(1));",
    ],
)
def test_a_script_that_was_put_into_the_page_gets_no_hash(planted: str) -> None:
    page = '<script>window.gradio_config = {"a": 1};</script>'
    assert policy.policy(page).count("sha256") == 1
    assert policy.policy(f"{page}<script>{planted}</script>").count("sha256") == 1


def test_pages_that_are_not_gradios_have_nothing_inline() -> None:
    for name in ("login.html", "password.html", "label.html"):
        text = (Path(guard.__file__).parent / "static" / name).read_text(encoding="utf-8")
        assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son[a-z]+=|javascript:", text), name
    assert "unsafe" not in policy.policy()
