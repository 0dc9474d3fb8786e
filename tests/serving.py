"""For the tests of the page: a ledger with pairs to label, and a real server on it. Holds no tests itself."""

import socket
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import httpx
import uvicorn
from sqlmodel import Session

from annotate import queue
from annotate.app import create_app
from annotate.ledger import Ledger
from annotate.messages import as_messages, digest, flat_text, prompt_id, to_dicts
from annotate.pairs import CandidatePair
from annotate.tables import Prompt, Response


@dataclass(frozen=True)
class Example:
    """One pair to put into the queue: a prompt (text or messages) and its responses, perhaps on a topic."""

    prompt: object
    responses: Sequence[str]
    topic: str = ""


def numbered(count: int) -> list[Example]:
    """Pairs that can be told apart by their texts."""
    return [Example(f"Question {n}?", (f"Answer {n} short.", f"Answer {n}, at more length.")) for n in range(count)]


def put_into_queue(ledger: Ledger, examples: Sequence[Example], *, round: int = 1, overlap: int = 1) -> None:
    """Store the examples' prompts and responses, and open their slots."""

    def write(session: Session) -> None:
        candidates = []
        for example in examples:
            messages = as_messages(example.prompt)
            prompt = prompt_id(messages)
            stored = Prompt(
                id=prompt, messages=to_dicts(messages), text=flat_text(messages), group=prompt, split="train"
            )
            stored.family, stored.created_at = example.topic, time.time()
            session.add(stored)
            ids = [digest([prompt, text]) for text in example.responses]
            for identity, text in zip(ids, example.responses, strict=True):
                session.add(Response(id=identity, prompt_id=prompt, text=text, sampling={}, created_at=time.time()))
            candidates.append(CandidatePair(prompt, tuple(ids), round=round, overlap=overlap))
        session.flush()
        queue.add_pairs(session, candidates)

    ledger.write(write)


class Server:
    """The application on a free port, in a thread; it can be stopped and started again on the same port."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start it, unless it runs."""
        if self._thread is not None:
            return
        app = create_app(self.ledger)
        self._run(uvicorn.Config(app, port=self.port, log_level="warning", access_log=False, proxy_headers=False))

    def _run(self, config: uvicorn.Config) -> None:
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive(), "the server did not start"
            time.sleep(0.01)

    def stop(self) -> None:
        """Stop it, unless it does not run."""
        if self._thread is None:
            return
        self._server.should_exit = True
        self._thread.join(timeout=20)
        assert not self._thread.is_alive(), "the server did not stop"
        self._thread = None

    def text(self, response_id: str) -> str:
        """The text of a response."""
        with self.ledger.read() as session:
            response = session.get(Response, response_id)
            assert response is not None
            return response.text

    def judge_by_api(self, token: str, slot: int) -> None:
        """Judge a slot over HTTP as another client of the same person would."""
        with httpx.Client(base_url=self.url, headers={"authorization": f"Bearer {token}"}) as client:
            tasks = client.get("/api/tasks?n=50").json()["tasks"]
            task = next(task for task in tasks if task["slot"] == slot)
            ranking = [[response["id"] for response in task["responses"]]]
            sent = {"uuid": str(uuid.uuid4()), "slot": slot, "ranking": ranking}
            client.post("/api/labels", json=sent).raise_for_status()
