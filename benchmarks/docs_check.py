"""Whether the docs are true: their shell blocks run, and no verb, flag, key, field, route or error is left out.

The blocks are docs_blocks.py's business. What is compared here is taken from the code itself, keys from a micro loop.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from align.cli import build_parser
from align.recipe import Recipe, field_docs, write_recipe
from annotate import errors
from annotate.guard import ROUTES
from benchmarks.docs_blocks import LIMIT_SECONDS, Block, blocks_of, documents, run_blocks
from benchmarks.knobs import models_in
from benchmarks.micro import ROOT, micro_recipe

SHARED = ("--json", "--workspace", "--help", "-h")
"""Flags documented once for all verbs."""


@dataclass
class DocsReport:
    """ran: blocks that ran to their end. failed: blocks with the command that failed. not_run: blocks, with the reason.
    undocumented: what exists and is not in the docs; stale: what is in the docs and does not exist."""

    ran: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    not_run: list[str] = field(default_factory=list)
    undocumented: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    looked_at: int = 0
    caught: bool = False
    seconds: float = 0.0


def docs_drill() -> DocsReport:
    """Run every block and compare every list; planted: a block that fails, a flag and a key that nobody documented."""
    started = time.monotonic()
    report = DocsReport()
    with tempfile.TemporaryDirectory() as folder:
        for path in documents():
            blocks = blocks_of(path)
            report.not_run += [f"{block}: {block.why}" for block in blocks if block.why]
            runnable = [block for block in blocks if not block.why]
            failures = run_blocks(runnable, Path(folder) / path.stem) if runnable else {}
            report.ran += [str(block) for block in runnable if block not in failures]
            report.failed += [f"{block}: {said}" for block, said in failures.items()]
        planted = Block("planted", 1, "trueloop status --workspace nowhere\n")
        caught = planted in run_blocks([planted], Path(folder) / "planted")
        keys = json_keys(Path(folder) / "keys")
    reference = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    report.undocumented, report.stale = compare_flags(build_parser(), reference)
    missing_keys = compare_keys(keys, reference)
    report.undocumented += missing_keys + missing_fields() + missing_routes() + missing_errors()
    report.looked_at = len(flags_of(build_parser())) + sum(map(len, keys.values())) + len(ROUTES)
    wider = build_parser()
    verbs_of(wider)["status"].add_argument("--planted")
    report.caught = (
        caught
        and any("--planted" in one for one in compare_flags(wider, reference)[0])
        and bool(compare_keys({"status": {"planted"}}, reference))
    )
    report.seconds = time.monotonic() - started
    return report


def verbs_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The verbs of the command line and their parsers."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    raise AssertionError("the command line has verbs")


def flags_of(parser: argparse.ArgumentParser) -> list[tuple[str, str]]:
    """(verb, flag or positional as shown) for everything a verb takes."""
    found = []
    for verb, one in verbs_of(parser).items():
        for action in one._actions:
            names = action.option_strings or [str(action.metavar or action.dest)]
            found += [(verb, name) for name in names if name not in SHARED]
    return found


def sections_of(reference: str) -> dict[str, str]:
    """The text under each verb's heading; what stands before the first is under ""."""
    parts = re.split(r"^## (.+)$", reference, flags=re.MULTILINE)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def compare_flags(parser: argparse.ArgumentParser, reference: str) -> tuple[list[str], list[str]]:
    """Verbs and flags that the reference leaves out, and those that it makes up."""
    sections, verbs = sections_of(reference), verbs_of(parser)
    undocumented = [f"verb {verb}" for verb in verbs if verb not in sections]
    stale = [f"verb {verb}" for verb in sections if verb and verb not in verbs]
    for verb, flag in flags_of(parser):
        wanted = "Takes overrides" if flag == "section.field=value" else f"- `{flag}"
        if wanted not in sections.get(verb, ""):
            undocumented.append(f"{verb} {flag}")
    for verb in verbs.keys() & sections.keys():
        known = {name for action in verbs[verb]._actions for name in action.option_strings}
        stale += [f"{verb} {flag}" for flag in re.findall(r"`(--[a-z-]+)", sections[verb]) if flag not in known]
    undocumented += [f"{flag} of every verb" for flag in SHARED[:2] if f"`{flag}" not in sections[""]]
    return undocumented, sorted(set(stale))


def compare_keys(keys: dict[str, set[str]], reference: str) -> list[str]:
    """Keys of the JSON objects that the reference leaves out; `advance`'s count where its name is given."""
    sections = sections_of(reference)
    missing = []
    for verb, names in keys.items():
        text = sections.get(verb, "")
        known = set(re.findall(r"`([a-z_0-9]+)`", text))
        if "as `advance`" in text:
            known |= set(re.findall(r"`([a-z_0-9]+)`", sections["advance"]))
        for name in sorted(names):
            if name not in known and not (name.endswith("_ci") and "`_ci`" in text and name[:-3] in known):
                missing.append(f"{verb} --json: {name}")
    return missing


def json_keys(folder: Path) -> dict[str, set[str]]:
    """Keys of what each verb prints with --json, rows in lists included, seen on a micro loop."""
    folder.mkdir(parents=True)
    recipe = folder / "micro.yaml"
    recipe.write_text(write_recipe(micro_recipe()), encoding="utf-8")
    rows = folder / "rows.jsonl"
    rows.write_text('{"prompt": "Name fig and lime.", "chosen": "fig lime", "rejected": "kiwi"}\n', encoding="utf-8")
    found: dict[str, set[str]] = {}
    last: dict[str, Any] = {}
    script = [json.dumps(line) for line in _SESSION]
    command = [sys.executable, "-c", _CALLER, str(folder), *script]
    env = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for line in done.stdout.splitlines():
        verb, last = json.loads(line)
        found.setdefault(verb, set()).update(_names(last))
    return found


# One process for the whole session: importing torch for each verb would take most of the time.
_SESSION = (
    ("init", "{folder}/other", "--recipe", "{folder}/micro.yaml"),
    ("demo", "--recipe", "{folder}/micro.yaml", "--rounds", "1"),
    ("doctor",),
    ("prompts",),
    ("prompts", "{folder}/rows.jsonl"),
    ("advance",),
    ("generate",),
    ("pairs",),
    ("annotate", "--new-token", "maria"),
    ("import", "{folder}/rows.jsonl", "--as", "preferences"),
    ("simulate", "--limit", "3"),
    ("export", "--out", "{folder}/out.jsonl"),
    ("snapshot",),
    ("reward",),
    ("score", "{folder}/rows.jsonl", "--reward", "{artifact}", "--out", "{folder}/scored.jsonl"),
    ("lineage", "{artifact}"),
    ("status",),
    ("report",),
)

_CALLER = """
import contextlib, io, json, sys
from align.cli import main
folder, artifact = sys.argv[1], ""
for line in sys.argv[2:]:
    arguments = [one.format(folder=folder, artifact=artifact) for one in json.loads(line)]
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        where = [] if arguments[0] == "init" else ["--workspace", f"{folder}/loop"]
        code = main([*arguments, *where, "--json"])
    assert code in (0, 3), (arguments, code, said.getvalue())
    found = json.loads(said.getvalue())
    artifact = found.get("artifact", artifact)
    print(json.dumps([arguments[0], found]))
"""


def _names(value: dict[str, Any]) -> set[str]:
    names = set(value)
    for inner in value.values():
        rows = inner if isinstance(inner, list) else []
        names |= {key for row in rows if isinstance(row, dict) for key in row}
    return names


def missing_fields(model: type[BaseModel] = Recipe, prefix: str = "") -> list[str]:
    """Fields of the recipe without a line of doc; a `kind` that names its section needs none."""
    docs, missing = field_docs(model), []
    for name, about in model.model_fields.items():
        inner = models_in(about.annotation)
        for kind in inner:
            missing += missing_fields(kind, f"{prefix}{name}.")
        if not inner and name not in docs and name != "kind":
            missing.append(f"recipe field {prefix}{name}")
    return missing


def missing_routes() -> list[str]:
    """Routes under /api that docs/http.md leaves out."""
    path = ROOT / "docs" / "http.md"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    api = [rule for rule in ROUTES if rule.path.startswith("/api/")]
    return [f"{one.method} {one.path}" for one in api if not re.search(rf"{one.method}\s+{re.escape(one.path)}`", text)]


def missing_errors() -> list[str]:
    """Kinds of errors that neither the tree in annotate/errors.py nor docs/http.md names."""
    import annotate.api
    import annotate.auth  # noqa: F401 - errors of its own

    path = ROOT / "docs" / "http.md"
    text = (errors.__doc__ or "") + (path.read_text(encoding="utf-8") if path.exists() else "")
    found, open_ = set(), [errors.TrueloopError]
    while open_:
        kind = open_.pop()
        found.add(kind.__name__)
        open_ += kind.__subclasses__()
    return [f"error {name}" for name in sorted(found) if name not in text]
