"""The Python client against a real server: it labels, is refused in words, and survives a lost answer."""

import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import Server, numbered, put_into_queue

from annotate import auth
from annotate.campaign import CampaignSection, set_campaign
from annotate.client import Client, Refused
from annotate.ledger import Ledger


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Ledger.open(f"sqlite:///{tmp_path / 'labels.db'}", durable=False) as ledger:
        put_into_queue(ledger, numbered(5))
        server = Server(ledger)
        server.start()
        yield server
        server.stop()


@pytest.fixture
def client(server: Server) -> Client:
    return Client(server.url, auth.new_token(server.ledger, "ann"), pause=0.01)


def test_a_script_labels_until_there_is_nothing_left(server: Server, client: Client) -> None:
    first, *_ = client.tasks(2)
    passed_on = client.skip(first, "not for a script")
    assert client.undo(passed_on["uuid"]).slot == first.slot
    for task in client.work(2):
        ids = [identity for identity, _ in task.responses]
        stored = client.label(task, [[ids[1]], [ids[0]]], strength=1, rationale="Longer.")
        assert stored["stored"]
    assert client.progress()["mine"]["labels"] == 5
    assert client.tasks() == [] and client.reason == "none-open"
    assert [label["rationale"] for label in client.history(3)] == ["Longer."] * 3
    assert len(client.history(before=client.history(2)[-1]["uuid"])) == 3


def test_the_example_of_the_docs_labels_everything(server: Server, client: Client) -> None:
    text = (Path(__file__).parent.parent / "docs" / "http.md").read_text(encoding="utf-8")
    [example] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(example.replace("http://127.0.0.1:7860", server.url).replace("TOKEN", client.token), {})
    assert client.progress()["mine"]["labels"] == 5


def test_a_refusal_says_its_status_field_and_what_to_do(server: Server, client: Client) -> None:
    server.ledger.write(lambda session: set_campaign(session, CampaignSection(preset="helpsteer3"), "lead"))
    assert client.campaign()["rationale"] == "demanded"
    [task] = client.tasks(1)
    with pytest.raises(Refused, match="reason in words") as refused:
        client.label(task, [[identity] for identity, _ in task.responses])
    assert (refused.value.status, refused.value.where) == (422, "rationale")
    with pytest.raises(Refused, match="not signed in") as refused:
        Client(server.url, "nobody").tasks()
    assert refused.value.status == 401
    with pytest.raises(Refused, match="begins with http"):
        Client("file:///etc/passwd", "x")


def test_a_judgment_whose_answer_was_lost_is_sent_again_and_stored_once(server: Server, client: Client) -> None:
    """A go-between hands the first request on and drops its answer; the second one goes through."""
    [task] = client.tasks(1)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_lose_the_first_answer, args=(listener, server.port))
        thread.start()
        lossy = Client(f"http://127.0.0.1:{listener.getsockname()[1]}", client.token, pause=0.01)
        assert lossy.label(task, [[identity] for identity, _ in task.responses])["stored"]
        thread.join()
    assert client.progress()["mine"]["labels"] == 1


def test_a_server_that_is_gone_is_told_after_a_few_attempts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(Refused, match="cannot be reached"):
        Client(f"http://127.0.0.1:{port}", "x", pause=0.001).tasks()


def _lose_the_first_answer(listener: socket.socket, port: int) -> None:
    for lose in (True, False):
        incoming, _ = listener.accept()
        with incoming, socket.create_connection(("127.0.0.1", port)) as onward:
            incoming.settimeout(20)
            asked = b""
            while b"}" not in asked.partition(b"\r\n\r\n")[2]:
                asked += incoming.recv(65536)
            onward.sendall(asked)
            answer = b""
            while b"undo_until" not in answer:
                answer += onward.recv(65536)
            if not lose:
                incoming.sendall(answer)
