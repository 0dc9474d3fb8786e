"""Samples responses from an OpenAI-compatible server by URL, with retries; standard library alone.

The key, where the server wants one, comes from the environment and is never written anywhere.
"""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qs, urlsplit, urlunsplit

from align.generate import Completion
from annotate.errors import BadInput
from annotate.messages import Messages, to_dicts
from annotate.progress import Progress, silent

KEY = "TRUELOOP_ENDPOINT_KEY"
"""Environment variable that holds the server's key."""
RETRIES = 4
TIMEOUT = 300.0
_AT_ONCE = 8
_TRANSIENT = (408, 409, 425, 429, 500, 502, 503, 504)


def complete(
    url: str,
    prompts: Sequence[Messages],
    *,
    n: int,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
    seed: int = 0,
    pause: float = 1.0,
    progress: Progress = silent,
) -> list[list[Completion]]:
    """n responses to each prompt from the server's chat completions, in the order of the prompts.

    url: the server's base, as in http://host:8000/v1?model=NAME; without a model, the first that it lists is taken.
    A response's log-probability is summed where the server tells it, None elsewhere. pause: seconds before the first
    retry, doubled at each. Raises BadInput when the server refuses or stays unreachable.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise BadInput("a server is reached by http or https", where=url, next=_NEXT)
    base = urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", ""))
    named = parse_qs(parts.query).get("model")
    model = named[0] if named else _first_model(base, pause)

    def answer(index: int) -> list[Completion]:
        asked: dict[str, Any] = {
            "model": model,
            "messages": to_dicts(prompts[index]),
            "n": n,
            "max_tokens": max_new_tokens,
            "temperature": temperature,
            "top_p": top_p,
            "seed": (seed + index) % 2**31,
            "logprobs": True,
        }
        found: list[Completion] = []
        # A server may give fewer than asked for; some know only n = 1.
        while len(found) < n:
            choices = _request(f"{base}/chat/completions", {**asked, "n": n - len(found)}, pause).get("choices")
            if not choices:
                raise BadInput("the server answered without choices", where=base, next=_NEXT)
            found += [_completion(choice, base) for choice in choices]
            asked["seed"] = (asked["seed"] + len(prompts)) % 2**31
        return found[:n]

    answers: list[list[Completion]] = []
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for row in pool.map(answer, range(len(prompts))):
            answers.append(row)
            progress("sampling", len(answers), len(prompts))
    return answers


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """The server that the recipe names is asked, and no other to which it points: the key and the prompts are its."""

    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirects)
_NEXT = "Check generate.endpoint in the recipe and that the server runs"


def _completion(choice: dict[str, Any], base: str) -> Completion:
    text = (choice.get("message") or {}).get("content")
    if not isinstance(text, str):
        raise BadInput("the server answered with a choice that has no text", where=base, next=_NEXT)
    tokens = (choice.get("logprobs") or {}).get("content") or []
    logprobs = [token.get("logprob") for token in tokens]
    known = bool(logprobs) and all(isinstance(value, int | float) for value in logprobs)
    return Completion(text, [], float(sum(logprobs)) if known else None, choice.get("finish_reason") == "stop")


def _first_model(base: str, pause: float) -> str:
    rows = _request(f"{base}/models", None, pause).get("data") or []
    if not rows or not isinstance(rows[0], dict) or "id" not in rows[0]:
        raise BadInput("the server lists no model", where=base, next="Add ?model=NAME to generate.endpoint")
    return str(rows[0]["id"])


def _request(url: str, body: dict[str, Any] | None, pause: float) -> dict[str, Any]:
    headers = {"Content-Type": "application/json"}
    if os.environ.get(KEY):
        headers["Authorization"] = f"Bearer {os.environ[KEY]}"
    data = None if body is None else json.dumps(body).encode()
    why = ""
    for attempt in range(RETRIES + 1):
        if attempt:
            time.sleep(pause * 2 ** (attempt - 1))
        try:
            request = urllib.request.Request(url, data=data, headers=headers)
            with _OPENER.open(request, timeout=TIMEOUT) as reply:
                found = json.loads(reply.read())
            if isinstance(found, dict):
                return found
            why = "its answer is no JSON object"
        except urllib.error.HTTPError as error:
            with error:
                why = f"HTTP {error.code}: {error.read(300).decode('utf-8', 'replace')}"
            if error.code not in _TRANSIENT:
                break
        except (OSError, ValueError) as error:  # unreachable, timed out, or cut off in the middle of its JSON
            why = str(error) or type(error).__name__
    raise BadInput(f"the server gave no answer: {why}", where=url, next=_NEXT)
