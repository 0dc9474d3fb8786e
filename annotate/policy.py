"""The headers that tell a browser what a page may do: scripts of our own files alone, nothing from anywhere else.

Gradio writes scripts into its pages. Those that stand in Gradio's own template are allowed by their hash, any other is
not. Code made from text at run time is allowed on pages whose rule in guard.py says so, never on the labelling page.
"""

import json
import re
from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib.resources import files

_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self'{scripts}",
        "style-src 'self'{styles}",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
"""Sent with every answer."""
STRICT_TRANSPORT = "max-age=31536000"
"""Sent over https: the browser comes back by https alone, for a year."""

_INLINE = re.compile(r"<script(?: [a-z-]+)?>(.*?)</script>", re.DOTALL)
_VALUE = re.compile(r"\{\{.*?\}\}", re.DOTALL)


def policy(page: str | None = None, *, evaluates: bool = False) -> str:
    """The content security policy of an answer; page: the HTML when it is a page that Gradio renders.

    Such a page may style its elements in place, which Gradio's components do all over. evaluates: it may make code
    out of text.
    """
    if page is None:
        return _POLICY.format(scripts="", styles="")
    hashes = [
        b64encode(sha256(script.encode()).digest()).decode() for script in _INLINE.findall(page) if _known(script)
    ]
    scripts = "".join(f" 'sha256-{each}'" for each in hashes) + " 'unsafe-eval'" * evaluates
    return _POLICY.format(scripts=scripts, styles=" 'unsafe-inline'")


def _known(script: str) -> bool:
    """Whether this is a script of Gradio's template with nothing but JSON where the template has a blank."""
    matches = (pattern.fullmatch(script) for pattern in _gradio_scripts())
    return any(match is not None and all(_is_json(value) for value in match.groups()) for match in matches)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


@cache
def _gradio_scripts() -> tuple[re.Pattern[str], ...]:
    template = (files("gradio") / "templates" / "frontend" / "index.html").read_text(encoding="utf-8")
    return tuple(
        re.compile("(.*?)".join(map(re.escape, _VALUE.split(script))), re.DOTALL)
        for script in _INLINE.findall(template)
    )
