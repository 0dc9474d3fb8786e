"""The command `trueloop`: its verbs, in the order of the flow, and how errors reach people and programs.

Only the parser is here, so that --help is instant; what a verb does stands in align/commands.py.
"""

import argparse
import errno
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from align.terminal import printable, runnable, show_json
from annotate.errors import BadInput, MissingExtra, TrueloopError

EXIT = "exit codes: 0 done, 1 something you can mend, 2 usage, 3 waiting for labels"
EXTRAS = {
    "train": ("torch", "transformers", "tokenizers", "safetensors", "trl", "peft", "accelerate", "datasets", "pyarrow"),
    "cluster": ("deepspeed",),
    "postgres": ("psycopg",),
}
"""What the plain install leaves out, by the extra that brings it."""
WHATS = ("preferences", "preferences-implicit", "preferences-text", "kto", "sft", "votes", "labels", "prompts")
MENDABLE = {
    errno.ENOENT: "Name a path that exists; of a workspace's own files, trueloop doctor says which are gone",
    errno.ENOTDIR: "Name a path that exists",
    errno.EISDIR: "Name a file",
    errno.EACCES: "Give yourself the right to it, or name another path",
    errno.EPERM: "Give yourself the right to it, or name another path",
    errno.EROFS: "Name a path that can be written",
    errno.ENOSPC: "Free some space, then run the command again",
    errno.EDQUOT: "Free some space, then run the command again",
}
"""What the system may refuse that is no fault of ours, with what to do about it."""
ROLES = ("annotator", "reviewer", "lead", "admin")


class Parser(argparse.ArgumentParser):
    """A parser whose messages repeat an argument without obeying it."""

    def _print_message(self, message: str, file: Any = None) -> None:
        super()._print_message(printable(message), file)


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = Parser(
        prog="trueloop",
        description="Turn human comparisons into a better language model, again and again.",
        epilog=f"start with: trueloop demo\n{EXIT}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", title="verbs, in the order of the flow")

    def verb(name: str, help: str, example: str, *, workspace: bool = True) -> argparse.ArgumentParser:
        one = verbs.add_parser(
            name,
            help=help,
            description=help,
            epilog=f"example: {example}\n{EXIT}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if workspace:
            one.add_argument("--workspace", type=Path, metavar="DIR", help="default: TRUELOOP_WORKSPACE, or here")
        one.add_argument("--json", action="store_true", help="print one JSON object to standard output")
        return one

    def overrides(one: argparse.ArgumentParser) -> None:
        one.add_argument("overrides", nargs="*", metavar="section.field=value", help="override fields of the recipe")

    one = verb(
        "demo", "Run the whole loop on an embedded world with a tiny model.", "trueloop demo --rounds 2 --seed 0"
    )
    one.add_argument("--rounds", type=positive, default=2, help="rounds to run (default 2)")
    one.add_argument("--seed", type=int, default=0, help="seed of everything (default 0)")
    one.add_argument("--world", metavar="NAME|PATH", help="a shipped world or a Python file (default: the recipe's)")
    one.add_argument("--recipe", default="tiny", metavar="NAME|PATH", help="default: tiny")
    overrides(one)

    one = verb("init", "Make a workspace.", "trueloop init my-loop --recipe tiny", workspace=False)
    one.add_argument("dir", type=Path, metavar="DIR", help="a directory, new or empty")
    one.add_argument("--recipe", default="tiny", metavar="NAME|PATH", help="a shipped recipe or a YAML file")
    one.add_argument("--database", metavar="URL", help="postgresql+psycopg://...; default: SQLite in the workspace")
    overrides(one)

    one = verb("doctor", "Check the installation and the workspace.", "trueloop doctor")

    one = verb("recipe", "Print the resolved recipe, each field with its meaning.", "trueloop recipe policy.beta=0.2")
    overrides(one)

    one = verb("prompts", "Import prompts, or count those that are here.", "trueloop prompts questions.jsonl")
    one.add_argument(
        "file", nargs="?", metavar="FILE|DATASET", help="JSONL, text, CSV, Parquet, or a datasets name or path"
    )
    one.add_argument("--keep-going", action="store_true", help="keep the good lines of a file with bad ones")

    one = verb(
        "import", "Import votes, preferences, prompts or unlabelled pairs.", "trueloop import votes.jsonl --as votes"
    )
    one.add_argument("file", metavar="FILE|DATASET", help="JSONL, JSON, CSV, Parquet, or a datasets name or folder")
    kinds = ("votes", "preferences", "prompts", "pairs")
    one.add_argument("--as", dest="kind", required=True, choices=kinds, help="what the rows are")
    one.add_argument("--keep-going", action="store_true", help="keep the good lines of a file with bad ones")

    one = verb("generate", "Have the champion answer this round's prompts.", "trueloop generate")
    overrides(one)
    one = verb("pairs", "Put this round's pairs into the queue.", "trueloop pairs")
    overrides(one)

    one = verb("annotate", "Open the labelling page.", "trueloop annotate --host 127.0.0.1 --port 7860")
    one.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    one.add_argument("--port", type=int, default=7860, help="port to listen on (default 7860)")
    one.add_argument("--new-token", metavar="NAME", help="make a token for NAME, print it and exit")
    one.add_argument("--invite", metavar="NAME", help="make a one-time sign-in link for NAME, print it and exit")
    one.add_argument("--role", choices=ROLES, help="role of NAME (a new one is an annotator)")
    one.add_argument("--deactivate", metavar="NAME", help="put NAME out: sessions, tokens and streams end at once")
    one.add_argument("--reactivate", metavar="NAME", help="let NAME in again")
    one.add_argument("--set-password", metavar="NAME", help="ask for NAME's new password and exit")
    one.add_argument("--url", metavar="URL", help="address that people open, for the link of --invite")
    one.add_argument("--root-path", default="", metavar="/PATH", help="prefix under which a proxy serves the page")
    one.add_argument(
        "--trust-proxy",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="address or network of a proxy whose X-Forwarded-For and -Proto are believed; may be repeated",
    )

    one = verb("simulate", "Have simulated annotators label what is open.", "trueloop simulate --workspace demo")
    one.add_argument("--world", metavar="NAME|PATH", help="default: the recipe's")
    one.add_argument("--limit", type=positive, help="stop after this many labels")

    one = verb(
        "export", "Write preferences, votes or prompts to a file.", "trueloop export --what votes --out votes.jsonl"
    )
    one.add_argument("--what", choices=WHATS, default="preferences", help="what to write (default preferences)")
    formats = ("jsonl", "csv", "parquet", "dataset")
    one.add_argument("--format", choices=formats, help="default: what FILE's name ends in, else jsonl")
    one.add_argument(
        "--out", type=Path, metavar="FILE", help="a file, or a folder for a dataset; default: standard output"
    )
    one.add_argument("--push", metavar="NAME", help="upload as the private data set NAME of the Hub")

    one = verb("snapshot", "Freeze all labels as preference files.", "trueloop snapshot --json")
    overrides(one)
    one = verb("reward", "Train a reward model on the latest snapshot.", "trueloop reward reward.kind=finetune")
    overrides(one)

    one = verb(
        "score", "Score responses with a reward model.", "trueloop score rows.jsonl --reward ID --out scored.jsonl"
    )
    one.add_argument("file", type=Path, metavar="FILE", help="rows {prompt, response} or {prompt, chosen, rejected}")
    one.add_argument("--reward", required=True, metavar="ID|PATH", help="a reward artifact or its folder")
    one.add_argument("--out", required=True, type=Path, metavar="FILE", help="where the scored rows go")

    one = verb("policy", "Advance to the aligned policy.", "trueloop policy policy.kind=dpo")
    overrides(one)
    one = verb("evaluate", "Advance to the evaluation.", "trueloop evaluate")
    overrides(one)

    one = verb("promote", "Advance to the verdict; or set the champion by hand.", "trueloop promote --rollback")
    one.add_argument("policy", nargs="?", metavar="ID", help="make this policy the champion, whatever the gate said")
    one.add_argument("--rollback", action="store_true", help="go back to the champion before the last promotion")
    one.add_argument("--reason", default="", help="recorded with a promotion by hand")

    one = verb("advance", "Run what is missing, until labels are.", "trueloop advance policy.beta=0.2")
    overrides(one)
    one = verb("status", "Where each round stands, and what to do next.", "trueloop status --json")
    one = verb("lineage", "Walk from an artifact to its labels, or from a label on.", "trueloop lineage ID")
    one.add_argument("id", metavar="ID", help="an artifact (or its first letters), or a label's uuid")
    one = verb("report", "Write the workspace's report.html.", "trueloop report --workspace demo")
    return parser


def positive(text: str) -> int:
    """A whole number of at least 1, as an argument."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of at least 1")
    return int(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code."""
    parser = build_parser()
    arguments, rest = parser.parse_known_args(argv)
    if rest:
        # argparse takes a list of positionals in one place only; overrides may stand anywhere.
        if not hasattr(arguments, "overrides") or not all("=" in one and not one.startswith("-") for one in rest):
            parser.error(f"unrecognized arguments: {' '.join(rest)}")
        arguments.overrides += rest
    if arguments.version:
        from importlib.metadata import version

        print(version("trueloop"))
        return 0
    if arguments.verb is None:
        parser.print_help()
        return 2
    try:
        return _run(arguments)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (TrueloopError, ModuleNotFoundError, OSError) as caught:
        error = _as_ours(caught, getattr(arguments, "workspace", None))
        if arguments.json:
            show_json({"error": error.what, "where": error.where, "next": error.next})
        said = runnable(str(error), getattr(arguments, "workspace", None))
        print(f"trueloop {arguments.verb}: {printable(said)}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(
            f"\ntrueloop {arguments.verb}: stopped. What was whole is kept; the same command goes on.", file=sys.stderr
        )
        return 130


def _run(arguments: argparse.Namespace) -> int:
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # The trainers' libraries warn each other of renamed attributes; nobody at the command line can act on it.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"transformers|trl|peft")
    from align import commands

    return int(getattr(commands, arguments.verb.replace("-", "_").replace("import", "import_"))(arguments))


def _as_ours(error: Exception, workspace: Path | None) -> TrueloopError:
    """A missing package or a file that the system refuses, as an error to act on; any other is raised as it is."""
    if isinstance(error, TrueloopError):
        return error
    if isinstance(error, ModuleNotFoundError):
        module = (error.name or "").split(".")[0]
        extra = next((extra for extra, modules in EXTRAS.items() if module in modules), None)
        if extra is not None:
            return MissingExtra(module, extra)
    if isinstance(error, OSError) and error.errno in MENDABLE:
        return BadInput(
            os.strerror(error.errno).lower(), where=str(error.filename or workspace or ""), next=MENDABLE[error.errno]
        )
    raise error


if __name__ == "__main__":
    sys.exit(main())
