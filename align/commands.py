"""What each verb of the command line does: resolve the workspace, call the part that does the work, show the result.

No logic of the loop is here. Heavy parts are imported by the verb that needs them.
"""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from align.terminal import bars, printable, runnable, say, show_json, show_table
from annotate.errors import BadInput, NotFound, Waiting
from annotate.ledger import Ledger
from annotate.workspace import Workspace


@contextmanager
def opened(arguments: argparse.Namespace, *, write: bool = True) -> Iterator[tuple[Workspace, Ledger]]:
    """The workspace and its ledger, locked against another writer of artifacts when `write`."""
    workspace = Workspace.resolve(arguments.workspace)
    if not write:
        with Ledger(workspace) as ledger:
            yield workspace, ledger
        return
    with workspace.lock(), Ledger(workspace) as ledger:
        yield workspace, ledger


def init(arguments: argparse.Namespace) -> int:
    """Make a workspace from a recipe."""
    from align.recipe import find_recipe, load_recipe, names_file, read_yaml, write_recipe
    from annotate.campaign import set_by_recipe

    source = find_recipe(arguments.recipe)
    recipe = load_recipe(source, arguments.overrides)
    section = read_yaml(source).get("campaign") or {}
    whole = bool(arguments.overrides) or names_file(section.get("guideline"))  # a file stays where it is
    text = write_recipe(recipe) if whole else source.read_text(encoding="utf-8")
    workspace = Workspace.init(arguments.dir, text, database_url=arguments.database)
    with Ledger(workspace) as ledger:
        ledger.write(lambda session: set_by_recipe(session, recipe.campaign))
    if arguments.json:
        show_json({"workspace": str(workspace.path), "recipe": recipe.name})
    else:
        then = "trueloop advance" if recipe.world else "trueloop prompts FILE, then trueloop advance"
        say(f"Made {workspace.path} from recipe '{recipe.name}'. Next: {runnable(then, workspace.path)}")
    return 0


def demo(arguments: argparse.Namespace) -> int:
    """Run the whole loop with simulated annotators."""
    from align.demo import run_demo

    return run_demo(arguments)


def doctor(arguments: argparse.Namespace) -> int:
    """Check what usually goes wrong."""
    from align.doctor import examine

    findings = examine(arguments.workspace)
    failed = [one for one in findings if not one.ok]
    if arguments.json:
        show_json({"ok": not failed, "checks": [one._asdict() for one in findings]})
    else:
        rows = [("ok" if one.ok else "MEND", one.what, one.found, "" if one.ok else one.next) for one in findings]
        show_table("", ("", "check", "found", "next"), rows)
    return 1 if failed else 0


def recipe(arguments: argparse.Namespace) -> int:
    """Print the resolved recipe."""
    from align.recipe import find_recipe, load_recipe, write_recipe

    try:
        path = Workspace.resolve(arguments.workspace).recipe_path
    except Exception:
        if arguments.workspace is not None:
            raise
        path = find_recipe("tiny")
    resolved = load_recipe(path, arguments.overrides)
    if arguments.json:
        show_json(resolved.model_dump(mode="json"))
    else:
        print(write_recipe(resolved), end="")
    return 0


def prompts(arguments: argparse.Namespace) -> int:
    """Import prompts, or count them."""
    from align.recipe import load_recipe
    from annotate.prompts import count_prompts, import_prompts

    with opened(arguments, write=arguments.file is not None) as (workspace, ledger):
        if arguments.file is None:
            with ledger.read() as session:
                found: dict[str, Any] = count_prompts(session)
        else:
            section = load_recipe(workspace.recipe_path).prompts
            with bars(arguments.json) as progress:
                strict = not arguments.keep_going
                found = import_prompts(ledger, arguments.file, section, strict=strict, progress=progress).as_dict()
    _show_import(found, arguments.json)
    return 0


def import_(arguments: argparse.Namespace) -> int:
    """Import a file of votes, preferences, prompts or unlabelled pairs."""
    from align.recipe import load_recipe
    from annotate.imports import import_file

    with opened(arguments) as (workspace, ledger), bars(arguments.json) as progress:
        section = load_recipe(workspace.recipe_path).prompts
        report = import_file(
            ledger, arguments.file, arguments.kind, section, keep_going=arguments.keep_going, progress=progress
        )
    _show_import(report.as_dict(), arguments.json)
    return 0


def _show_import(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        show_json(found)
        return
    rejected = found.get("rejected", [])
    show_table("", [name for name in found if name != "rejected"], [[v for k, v in found.items() if k != "rejected"]])
    for one in rejected[:10]:
        say(f"  left out, line {one['line']}: {one['why']}")
    if len(rejected) > 10:
        say(f"  and {len(rejected) - 10} more; --json lists all")


def _advance(arguments: argparse.Namespace, until: str | None) -> int:
    from align.recipe import load_recipe
    from align.rounds import Loop

    with opened(arguments) as (workspace, ledger), bars(arguments.json) as progress:
        loop = Loop(workspace, ledger, load_recipe(workspace.recipe_path, arguments.overrides), progress)
        result = loop.advance(until, on_stage=None if arguments.json else _announce)
        standing = None if until is None else _standing(loop, until, result.round)
    if arguments.json:
        show_json(result.as_json() | (standing or {}))
    else:
        say(f"Round {result.round}: " + (f"made {', '.join(result.done)}." if result.done else "nothing to do."))
        if result.waiting is not None:
            say(runnable(str(result.waiting), arguments.workspace))
    return 0 if result.waiting is None else Waiting.exit_code


def _standing(loop: Any, stage: str, round: int) -> dict[str, Any] | None:
    identity = loop.standing(stage, round)
    made = loop.ledger.find(identity) if identity else None
    return None if made is None else {"artifact": made.id, "path": str(loop.workspace.path / made.path), **made.metrics}


def _announce(round: int, stage: str) -> None:
    print(f"round {round}  {stage}", file=sys.stderr, flush=True)


def advance(arguments: argparse.Namespace) -> int:
    """Run what is missing until labels are."""
    return _advance(arguments, None)


def generate(arguments: argparse.Namespace) -> int:
    """Advance to this round's responses."""
    return _advance(arguments, "responses")


def pairs(arguments: argparse.Namespace) -> int:
    """Advance to this round's pairs."""
    return _advance(arguments, "pairs")


def policy(arguments: argparse.Namespace) -> int:
    """Advance to this round's policy."""
    return _advance(arguments, "policy")


def evaluate(arguments: argparse.Namespace) -> int:
    """Advance to this round's evaluation."""
    return _advance(arguments, "evaluation")


def annotate(arguments: argparse.Namespace) -> int:
    """Serve the labelling page; or make a token or an invitation, set a password, put someone out."""
    asked = ("set_password", "new_token", "invite", "deactivate", "reactivate")
    if any(getattr(arguments, each) is not None for each in asked):
        return _manage_people(arguments)
    from align.recipe import load_recipe
    from annotate.app import serve
    from annotate.campaign import set_by_recipe

    workspace = Workspace.resolve(arguments.workspace)
    recipe = load_recipe(workspace.recipe_path)
    with Ledger(workspace) as ledger:
        ledger.write(lambda session: set_by_recipe(session, recipe.campaign))

    def answering(ledger: Ledger) -> Any:
        """Who answers live conversations; torch is imported when the first one is asked for."""

        def answer(messages: Any) -> Any:
            from align.respond import responder

            return responder(workspace, ledger, recipe.generate)(messages)

        return answer

    serve(
        workspace,
        host=arguments.host,
        port=arguments.port,
        root_path=arguments.root_path,
        proxies=arguments.trust_proxy,
        responder=answering,
    )
    return 0


def _manage_people(arguments: argparse.Namespace) -> int:
    from annotate import auth

    with opened(arguments, write=False) as (_, ledger):
        if arguments.set_password is not None:
            from getpass import getpass

            name = arguments.set_password
            auth.set_password(ledger, name, getpass(f"New password for {name}: "))
            done, said = {"name": name}, f"{name} can sign in with the new password."
        elif arguments.new_token is not None:
            said = auth.new_token(ledger, arguments.new_token, arguments.role)
            done = {"token": said, "name": arguments.new_token}
        elif arguments.invite is not None:
            from annotate.app import address, sign_in_path

            secret = auth.invite(ledger, arguments.invite, arguments.role)
            url = arguments.url or address(arguments.host, arguments.port) + arguments.root_path.rstrip("/")
            said = url.rstrip("/") + sign_in_path(secret, invited=True)
            done = {"link": said, "name": arguments.invite}
        elif arguments.deactivate is not None:
            auth.deactivate(ledger, arguments.deactivate)
            done, said = {"name": arguments.deactivate}, f"{arguments.deactivate} is out."
        else:
            auth.reactivate(ledger, arguments.reactivate)
            done, said = {"name": arguments.reactivate}, f"{arguments.reactivate} may sign in again."
    if arguments.json:
        show_json(done)
    else:
        say(said)
    return 0


def simulate(arguments: argparse.Namespace) -> int:
    """Have simulated annotators label what is open."""
    from align.recipe import load_recipe
    from annotate.simulate import run
    from annotate.worlds import load_world

    with opened(arguments) as (workspace, ledger), bars(arguments.json) as progress:
        recipe = load_recipe(workspace.recipe_path)
        world = arguments.world or recipe.world
        if world is None:
            raise BadInput("simulated annotators need a world", next="Run: trueloop simulate --world pantry")
        count = run(ledger, load_world(world), seed=recipe.seed, limit=arguments.limit, progress=progress)
    if arguments.json:
        show_json({"labels": count})
    else:
        say(runnable(f"{count} labels. Next: trueloop advance", arguments.workspace))
    return 0


def export(arguments: argparse.Namespace) -> int:
    """Write preferences, votes, labels or prompts, as a file or as a data set."""
    from annotate.exports import Count, export_file
    from annotate.hub import push, write_dataset

    count, out = Count(), arguments.out
    suffix = "" if out is None else out.suffix.lower().removeprefix(".")
    format: Any = arguments.format or (suffix if suffix in ("csv", "parquet") else "jsonl")
    with opened(arguments, write=False) as (_, ledger):
        if arguments.push is not None:
            with TemporaryDirectory() as folder:
                count = write_dataset(ledger, arguments.what, Path(folder) / "dataset")
                out = push(Path(folder) / "dataset", arguments.push)
        elif format == "dataset":
            if out is None:
                raise BadInput("a data set is a folder", where="--out", next="Give --out FOLDER")
            count = write_dataset(ledger, arguments.what, out)
        elif out is None:
            seen = sys.stdout.isatty()
            if seen and format == "parquet":
                raise BadInput("Parquet is no text for a terminal", where="--format", next="Give --out FILE")
            for block in export_file(ledger, arguments.what, format, count):
                if seen:
                    sys.stdout.write(printable(block.decode()))
                else:
                    sys.stdout.buffer.write(block)
            sys.stdout.flush()
            return 0
        else:
            temporary = out.with_name(out.name + ".tmp")
            with temporary.open("wb") as file:
                file.writelines(export_file(ledger, arguments.what, format, count))
            temporary.replace(out)
    if arguments.json:
        show_json({"rows": count.rows, "left_out": count.left_out, "path": str(out)})
    else:
        left = f"; {count.left_out} left out, which this form cannot hold" if count.left_out else ""
        say(f"{count.rows} rows in {out}{left}")
    return 0


def snapshot(arguments: argparse.Namespace) -> int:
    """Freeze all labels as they stand now."""
    from align.recipe import load_recipe
    from align.rounds import Loop

    with opened(arguments) as (workspace, ledger), bars(arguments.json) as progress:
        loop = Loop(workspace, ledger, load_recipe(workspace.recipe_path, arguments.overrides), progress)
        made = loop.freeze_now()
    return _show_artifact(workspace, made, arguments.json)


def reward(arguments: argparse.Namespace) -> int:
    """Train a reward model on the latest snapshot."""
    from align.recipe import load_recipe
    from align.rounds import Loop

    with opened(arguments) as (workspace, ledger), bars(arguments.json) as progress:
        loop = Loop(workspace, ledger, load_recipe(workspace.recipe_path, arguments.overrides), progress)
        made = loop.reward_now()
    return _show_artifact(workspace, made, arguments.json)


def _show_artifact(workspace: Workspace, made: Any, as_json: bool) -> int:
    found = {"artifact": made.id, "path": str(workspace.path / made.path), **made.metrics}
    if as_json:
        show_json(found)
    else:
        show_table("", (made.stage, ""), list(found.items()))
    return 0


def score(arguments: argparse.Namespace) -> int:
    """Score a file of responses or pairs."""
    from reward.score import score_file

    folder = Path(arguments.reward)
    if not folder.is_dir():
        with opened(arguments, write=False) as (workspace, ledger):
            made = ledger.find_prefix(arguments.reward)
            if made is None or made.stage not in ("reward", "referee"):
                raise NotFound(
                    f"'{arguments.reward}' is neither a reward artifact nor its folder", next="Run: trueloop status"
                )
            folder = workspace.path / made.path
    with bars(arguments.json) as progress:
        count = score_file(arguments.file, folder, arguments.out, progress=progress)
    if arguments.json:
        show_json({"rows": count, "path": str(arguments.out)})
    else:
        say(f"{count} rows scored in {arguments.out}")
    return 0


def promote(arguments: argparse.Namespace) -> int:
    """Advance to the verdict, set the champion by hand, or roll back."""
    from align.promotions import promote_by_hand, roll_back

    if not arguments.rollback and arguments.policy is None:
        arguments.overrides = []
        return _advance(arguments, "promotion")
    with opened(arguments) as (_, ledger):
        if arguments.rollback:
            row = roll_back(ledger)
        else:
            row = promote_by_hand(ledger, arguments.policy, arguments.reason)
    if arguments.json:
        show_json({"verdict": row.verdict, "policy": row.policy_id, "champion": row.champion_id})
    else:
        say(f"{row.verdict}: the champion is {row.champion_id}")
    return 0


def status(arguments: argparse.Namespace) -> int:
    """Where each round stands and what to do next."""
    from align.status import describe

    with opened(arguments, write=False) as (workspace, ledger):
        found = describe(workspace, ledger)
    if arguments.json:
        show_json(found)
        return 0
    header = ("round", "stages", "labels", "verdict", "win rate", "95% interval")
    rows = [
        (
            one["round"],
            " ".join(one["stages"]),
            f"{one['labels']['have']}/{one['labels']['need']}",
            one["verdict"],
            one["win_rate"],
            one["win_rate_ci"],
        )
        for one in found["rounds"]
    ]
    title = f"{workspace.path}  champion {found['champion'] or '-'}"
    if rows:
        show_table(title, header, rows)
    else:
        say(f"{title}  no round yet")
    if found["imported"]["labels"]:
        say(f"Imported: {found['imported']['labels']} labels")
    say(f"Next: {runnable(found['next'], arguments.workspace)}")
    return 0


def lineage(arguments: argparse.Namespace) -> int:
    """Walk the lineage both ways."""
    from align.status import lineage_of

    with opened(arguments, write=False) as (_, ledger):
        found = lineage_of(ledger, arguments.id)
    if arguments.json:
        show_json(found)
        return 0
    rows = [("from", one["stage"], one["round"], one["id"]) for one in found["ancestors"]]
    rows += [("THIS", found["stage"], found["round"], found["id"])]
    rows += [("to", one["stage"], one["round"], one["id"]) for one in found["descendants"]]
    show_table(f"{found['labels']} labels stand behind it", ("", "stage", "round", "id"), rows)
    return 0


def report(arguments: argparse.Namespace) -> int:
    """Write report.html."""
    from align.report import write_report

    with opened(arguments, write=False) as (workspace, ledger):
        path = write_report(workspace, ledger)
    if arguments.json:
        show_json({"path": str(path)})
    else:
        say(str(path))
    return 0
