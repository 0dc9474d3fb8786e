"""The endpoint client against a real HTTP server on this machine."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from align.endpoint import KEY, complete
from align.generate import generate_from
from annotate.errors import BadInput
from annotate.messages import as_messages

PROMPTS = [as_messages("one"), as_messages("two")]


class Server(ThreadingHTTPServer):
    """Answers chat completions; `failures` are status codes for the next requests, `most` the choices it gives."""

    failures: list[int]
    most: int
    with_logprobs: bool
    seen: list[dict[str, Any]]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self._reply(200, {"data": [{"id": "tiny"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append({**body, "authorization": self.headers.get("Authorization")})
        if self.server.failures:
            self._reply(self.server.failures.pop(0), {"error": "busy"})
            return
        text = f"answer to {body['messages'][-1]['content']}"
        logprobs = {"content": [{"logprob": -0.5}, {"logprob": -1.25}]} if self.server.with_logprobs else None
        choice = {"message": {"content": text}, "finish_reason": "stop", "logprobs": logprobs}
        self._reply(200, {"choices": [choice] * min(body["n"], self.server.most)})

    def _reply(self, status: int, fields: dict[str, Any]) -> None:
        data = json.dumps(fields).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Handler)
    server.failures, server.most, server.with_logprobs, server.seen = [], 99, True, []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def url(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}/v1"


def ask(server: Server, n: int = 2) -> Any:
    return generate_from(url(server), PROMPTS, n=n, max_new_tokens=8, seed=5)


def test_each_prompt_gets_its_answers_in_order_with_summed_logprobs(server: Server) -> None:
    answers = ask(server)
    assert [[one.text for one in row] for row in answers] == [["answer to one"] * 2, ["answer to two"] * 2]
    assert all(one.logprob == -1.75 and one.finished for row in answers for one in row)
    assert {row["model"] for row in server.seen} == {"tiny"}
    assert sorted(row["seed"] for row in server.seen) == [5, 6]


def test_a_server_that_gives_one_choice_is_asked_again(server: Server) -> None:
    server.most = 1
    assert [len(row) for row in ask(server, n=3)] == [3, 3]


def test_logprobs_are_none_where_the_server_tells_none(server: Server) -> None:
    server.with_logprobs = False
    assert {one.logprob for row in ask(server) for one in row} == {None}


def test_a_busy_server_is_tried_again(server: Server) -> None:
    from align.endpoint import complete

    server.failures = [503, 429]
    answers = complete(url(server), PROMPTS[:1], n=1, max_new_tokens=8, pause=0.01)
    assert answers[0][0].text == "answer to one" and len(server.seen) == 3


def test_a_refusal_is_said_at_once_with_what_to_check(server: Server) -> None:
    server.failures = [401] * 9
    with pytest.raises(BadInput, match=r"HTTP 401.*generate\.endpoint"):
        ask(server)
    assert len(server.seen) <= 2


def test_the_key_travels_in_the_header(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUELOOP_ENDPOINT_KEY", "secret")
    ask(server)
    assert {row["authorization"] for row in server.seen} == {"Bearer secret"}


def test_an_unreachable_server_is_named() -> None:
    from align.endpoint import complete

    with pytest.raises(BadInput, match=r"127\.0\.0\.1:9"):
        complete("http://127.0.0.1:9/v1?model=x", PROMPTS, n=1, max_new_tokens=8, pause=0.0)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/v1", "/etc/passwd", "data:application/json,{}"])
def test_a_server_is_reached_by_http_alone(url: str) -> None:
    with pytest.raises(BadInput, match="http or https"):
        complete(url, PROMPTS, n=1, max_new_tokens=4)


def test_a_server_that_points_elsewhere_is_not_followed_and_the_key_stays(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY, "secret")

    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", f"http://127.0.0.1:{server.server_port}/v1/models")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    other = ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)
    thread = threading.Thread(target=other.serve_forever)
    thread.start()
    try:
        with pytest.raises(BadInput, match="HTTP 302"):
            complete(f"http://127.0.0.1:{other.server_port}/v1", PROMPTS, n=1, max_new_tokens=4, pause=0)
    finally:
        other.shutdown()
        thread.join()
        other.server_close()
