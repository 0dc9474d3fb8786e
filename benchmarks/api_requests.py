"""Requests made up from the API's own schema, good and bad ones, by schemathesis; what counts is an answer of 5xx.

planted: a route that fails on one kind of number must be found.
"""

import tempfile
from typing import Any

import hypothesis
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck
from schemathesis import GenerationMode

from annotate import auth, guard
from annotate.app import create_app
from annotate.ledger import Ledger

WITHOUT = ("/api/logout", "/api/login", "/api/password")
"""Asked without signing in or with a token of its own: they would throttle or end what the others need."""


def request_drill(least: int, *, seed: int = 0) -> dict[str, Any]:
    """At least so many requests over all operations; counts by status, and each 5xx in words."""
    with tempfile.TemporaryDirectory() as folder:
        with Ledger.open(f"sqlite:///{folder}/labels.db", durable=False) as ledger:
            found = _ask(create_app(ledger), ledger, least, seed)
        with Ledger.open(f"sqlite:///{folder}/planted.db", durable=False) as ledger:
            app = create_app(ledger)

            def planted(number: int) -> int:
                return 1 // (number % 3)

            app.router.add_api_route("/api/planted", planted, methods=["GET"])
            app.router.routes.insert(0, app.router.routes.pop())
            rule = guard.Rule("GET", "/api/planted", "annotator")
            guard._COMPILED.append((rule, guard.compile_path(rule.path)[0]))
            try:
                caught = bool(_ask(app, ledger, 30, seed, only="/api/planted")["failed"])
            finally:
                guard._COMPILED.pop()
    return {**found, "caught": caught, "seed": seed}


def _ask(app: FastAPI, ledger: Ledger, least: int, seed: int, only: str = "") -> dict[str, Any]:
    token = auth.new_token(ledger, "ada", "admin")
    headers = {"authorization": f"Bearer {token}"}
    schema = schemathesis.openapi.from_asgi("/api/openapi.json", app, headers=headers)
    operations = [result.ok() for result in schema.get_all_operations()]
    operations = [each for each in operations if (each.path == only if only else each.path not in WITHOUT)]
    statuses: dict[int, int] = {}
    failed: list[str] = []
    each = max(1, least // (2 * len(operations)) + 1)
    while sum(statuses.values()) < least:  # an operation that takes nothing is asked less often than wanted
        for operation in operations:
            for mode in GenerationMode.POSITIVE, GenerationMode.NEGATIVE:
                _run(operation, mode, headers, each, seed, statuses, failed)
        seed += 1
    return {
        "requests": sum(statuses.values()),
        "operations": len(operations),
        "statuses": dict(sorted(statuses.items())),
        "failed": failed,
    }


def _run(
    operation: Any,
    mode: GenerationMode,
    headers: dict[str, str],
    count: int,
    seed: int,
    statuses: dict[int, int],
    failed: list[str],
) -> None:
    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count, database=None, deadline=None, derandomize=False, suppress_health_check=list(HealthCheck)
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        try:
            status = case.call(headers=headers).status_code
        except Exception as error:  # in one process with the application, what it fails with comes through
            status, said = 500, type(error).__name__
        else:
            said = str(status)
        statuses[status] = statuses.get(status, 0) + 1
        if status >= 500 and len(failed) < 20:
            failed.append(f"{operation.method.upper()} {operation.path}: {said}")

    try:
        ask()
    except hypothesis.errors.Unsatisfiable:
        return  # nothing of this kind can be made: an operation without parameters has no bad ones
