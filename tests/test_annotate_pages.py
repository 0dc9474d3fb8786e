"""The lead pages over HTTP: who may run which handler, and that text stays text."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from serving import numbered, put_into_queue
from starlette.routing import Mount

from annotate import auth
from annotate.app import create_app
from annotate.ledger import Ledger
from annotate.pages.frame import HANDLERS, PAGES
from annotate.pages.markup import Markup, el, join, table

RUN = "/lead/gradio_api/run/predict"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    with Ledger.open(f"sqlite:///{tmp_path_factory.mktemp('pages') / 'labels.db'}", durable=False) as ledger:
        put_into_queue(ledger, numbered(2))
        yield ledger


@pytest.fixture(scope="module")
def client(shared: Ledger) -> TestClient:
    return TestClient(create_app(shared), raise_server_exceptions=False, follow_redirects=False)


def blocks(client: TestClient) -> Any:
    mounts = [route for route in client.app.routes if isinstance(route, Mount)]  # type: ignore[attr-defined]
    return next(mount.app.get_blocks() for mount in mounts if mount.path == "/lead")  # type: ignore[attr-defined]


def as_(ledger: Ledger, role: auth.Role) -> dict[str, str]:
    return {"authorization": f"Bearer {auth.new_token(ledger, role, role)}"}


def run(client: TestClient, who: dict[str, str], index: int) -> Any:
    """Run a handler with empty values, as its page would."""
    fn = blocks(client).fns[index]
    body = {"fn_index": index, "data": [None] * len(fn.inputs), "session_hash": "test", "event_data": {}}
    return client.post(RUN, json=body, headers=who)


def test_every_handler_stands_in_the_inventory_and_none_goes_through_gradios_queue(client: TestClient) -> None:
    fns = blocks(client).fns.values()
    assert {fn.fn.handler for fn in fns if fn.fn is not None} == set(HANDLERS)
    assert all(fn.queue is False and fn.api_visibility == "private" for fn in fns)


@pytest.mark.parametrize("role", auth.ROLES)
def test_every_handler_asks_for_its_role_again(client: TestClient, shared: Ledger, role: auth.Role) -> None:
    who = as_(shared, role)
    for index, fn in blocks(client).fns.items():
        answer = run(client, who, index)
        if role == "annotator":
            assert answer.status_code == 403
            continue
        needed = HANDLERS[fn.fn.handler]
        allowed = auth.ROLES.index(role) >= auth.ROLES.index(needed)
        assert (f"needs the role {needed}" in answer.text) != allowed, (fn.fn.handler, answer.text)


def test_nobody_runs_a_handler_without_signing_in_or_from_another_site(client: TestClient, shared: Ledger) -> None:
    assert run(client, {}, 0).status_code == 401
    assert run(client, {**as_(shared, "admin"), "origin": "https://evil.example"}, 0).status_code == 403


@pytest.mark.parametrize("path", [path for path, _, _ in PAGES])
def test_every_page_opens_for_its_role_and_for_none_below(client: TestClient, shared: Ledger, path: str) -> None:
    needed = next(role for one, _, role in PAGES if one == path)
    assert client.get(f"/lead/{path}").status_code == 303
    for role in auth.ROLES:
        allowed = auth.ROLES.index(role) >= auth.ROLES.index(needed)
        assert client.get(f"/lead/{path}", headers=as_(shared, role)).status_code == (200 if allowed else 403)


def test_the_address_without_its_slash_leads_on(client: TestClient, shared: Ledger) -> None:
    answer = client.get("/lead", headers=as_(shared, "lead"))
    assert (answer.status_code, answer.headers["location"]) == (308, "/lead/")


def test_text_never_becomes_an_element() -> None:
    nasty = "<script>alert(1)</script>\"'&${x}{{y}}`"
    safe = "&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#x27;&amp;${x}{{y}}`"
    assert join(nasty) == safe
    assert el("p", nasty, title=nasty) == f'<p title="{safe}">{safe}</p>'
    assert safe in table(nasty, [nasty], [(nasty,)], empty="")


def test_what_was_made_here_is_not_escaped_twice() -> None:
    assert el("p", el("b", "a<b"), [" and ", Markup("<br>")], None) == "<p><b>a&lt;b</b> and <br></p>"
    assert el("input", value=3, checked=True, disabled=False, aria_label=None) == '<input value="3" checked>'


def test_an_empty_table_says_so() -> None:
    assert table("People", ["Name"], [], empty="Nobody") == '<p class="ld-empty">Nobody</p>'
