"""A small client of the HTTP contract, for scripts and other front ends: claim tasks, judge them, look back.

Only the standard library. A request that the network lost is sent again under the same uuid, so nothing is lost or
doubled; what the server refuses is raised as Refused.
"""

import json
import time
import uuid as uuids
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib import error, parse, request

from annotate.errors import TrueloopError

ATTEMPTS = 5
RETRIED = (502, 503, 504)


class Refused(TrueloopError):
    """The server's refusal: its status, what is wrong, where, and what to do."""

    def __init__(self, status: int, what: str, *, where: str = "", next: str = "") -> None:
        self.status = status
        super().__init__(what, where=where, next=next)


@dataclass(frozen=True)
class Task:
    """One pair to judge; responses: (id, text) in the order to be shown. raw: the whole answer of the server."""

    slot: int
    pair: str
    prompt: list[dict[str, Any]]
    responses: list[tuple[str, str]]
    practice: bool
    raw: Mapping[str, Any] = field(repr=False, compare=False)


class Client:
    """One person at one server, signed in by a bearer token."""

    def __init__(self, url: str, token: str, *, timeout: float = 30, pause: float = 0.5) -> None:
        """timeout: seconds a request may take; pause: seconds before the first new attempt, doubled with each."""
        if parse.urlsplit(url).scheme not in ("http", "https"):
            raise Refused(0, "a server's address begins with http:// or https://", where=url)
        self.url, self.token, self.timeout, self.pause = url.rstrip("/"), token, timeout, pause

    def campaign(self) -> dict[str, Any]:
        """What is asked, the guideline, and how far one's qualification and day are."""
        return self._call("GET", "/api/campaign")

    def tasks(self, n: int = 6) -> list[Task]:
        """Up to n tasks, those already held first; empty when there is nothing to do (see `reason`)."""
        answer = self._call("GET", f"/api/tasks?n={n}")
        self.reason: str | None = answer.get("reason")
        return [_task(one) for one in answer["tasks"]]

    def work(self, n: int = 6) -> Iterator[Task]:
        """Tasks one after the other until there are none; each is to be judged or skipped before the next."""
        seen: set[int] = set()
        while fresh := [task for task in self.tasks(n) if task.slot not in seen]:
            for task in fresh:
                seen.add(task.slot)
                yield task

    def label(self, task: Task, ranking: Sequence[Sequence[str]], **said: Any) -> dict[str, Any]:
        """Store a judgment: response ids, best first, ties sharing a list; `said` as the contract names it.

        Returns {uuid, stored, undo_until}, on a practice item with feedback.
        """
        sent = {"uuid": str(uuids.uuid4()), "slot": task.slot, "ranking": [list(tied) for tied in ranking], **said}
        return self._call("POST", "/api/labels", sent)

    def skip(self, task: Task, reason: str) -> dict[str, Any]:
        """Pass a task on to someone else."""
        return self._call("POST", f"/api/slots/{task.slot}/skip", {"uuid": str(uuids.uuid4()), "reason": reason})

    def undo(self, uuid: str) -> Task:
        """Take one's label or skip back inside the window; returns its task, held again."""
        return _task(self._call("DELETE", f"/api/labels/{parse.quote(uuid, safe='')}")["task"])

    def history(self, n: int = 20, before: str | None = None) -> list[dict[str, Any]]:
        """One's own labels, newest first."""
        query = parse.urlencode({"n": n} | ({"before": before} if before else {}))
        labels: list[dict[str, Any]] = self._call("GET", f"/api/history?{query}")["labels"]
        return labels

    def progress(self) -> dict[str, Any]:
        """Counts for oneself and for the round."""
        return self._call("GET", "/api/progress")

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        headers = {"authorization": f"Bearer {self.token}", "content-type": "application/json"}
        for attempt in range(ATTEMPTS):
            asked = request.Request(self.url + path, data, headers, method=method)
            try:
                with request.urlopen(asked, timeout=self.timeout) as answer:
                    found: dict[str, Any] = json.load(answer)
                    return found
            except error.HTTPError as refused:
                with refused:
                    if refused.code not in RETRIED or attempt == ATTEMPTS - 1:
                        raise _refused(refused) from None
            except (error.URLError, OSError) as lost:
                if attempt == ATTEMPTS - 1:
                    raise Refused(0, f"the server cannot be reached ({lost})", where=self.url) from lost
            time.sleep(self.pause * 2**attempt)
        raise AssertionError("the last attempt returns or raises")


def _task(answer: Mapping[str, Any]) -> Task:
    responses = [(one["id"], one["text"]) for one in answer["responses"]]
    return Task(answer["slot"], answer["pair"], answer["prompt"], responses, answer["practice"], answer)


def _refused(answer: error.HTTPError) -> Refused:
    try:
        said = json.load(answer)
        return Refused(answer.code, said["error"], where=said.get("where", ""), next=said.get("next", ""))
    except (ValueError, KeyError, TypeError):
        return Refused(answer.code, f"the server answered {answer.code} {answer.reason}")
