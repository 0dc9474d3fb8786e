"""The command line keeps its contract: light start, help with examples, exit codes, one JSON object, no raw escapes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from align.cli import build_parser, main
from align.terminal import printable, runnable
from benchmarks.docs_check import verbs_of
from benchmarks.micro import micro_recipe, write_recipe

HEAVY = ("torch", "trl", "transformers", "datasets", "gradio", "pydantic", "sqlalchemy", "numpy", "rich")
VERBS = verbs_of(build_parser())
WRONG = ("fly", "init", "demo --rounds 0", "import x.jsonl", "status extra", "status a=1", "status --jsn")
ESCAPES = "\x1b[31mred\x1b[0m\x07"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    recipe = tmp_path / "micro.yaml"
    recipe.write_text(write_recipe(micro_recipe(["sft.epochs=0.3"])), encoding="utf-8")
    assert main(["init", str(tmp_path / "loop"), "--recipe", str(recipe)]) == 0
    return tmp_path / "loop"


def loaded_by(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after running the code."""
    script = f"import sys\n{code}\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}), sep='\\n')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_help_starts_without_anything_heavy() -> None:
    loaded = loaded_by("from align.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass")
    assert loaded & set(HEAVY) == set()


def test_the_labelling_side_starts_without_torch(workspace: Path) -> None:
    loaded = loaded_by(f"from align.cli import main\nmain(['status', '--workspace', {str(workspace)!r}])")
    assert loaded & {"torch", "trl", "transformers", "datasets", "gradio"} == set()


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example_that_parses(verb: str) -> None:
    parser = VERBS[verb]
    said = parser.format_help()
    assert parser.description and "exit codes: 0 done" in " ".join(said.split())
    example = str(parser.epilog).removeprefix("example: ").partition("\n")[0]
    assert example.startswith(f"trueloop {verb}")
    assert build_parser().parse_args(example.split()[1:]).verb == verb


@pytest.mark.parametrize("verb", VERBS)
def test_every_argument_says_what_it_is(verb: str) -> None:
    assert [action.dest for action in VERBS[verb]._actions if not action.help] == []


def test_every_verb_has_its_function() -> None:
    from align import commands

    for verb in VERBS:
        assert callable(getattr(commands, "import_" if verb == "import" else verb))


@pytest.mark.parametrize("line", WRONG)
def test_a_wrong_command_line_is_exit_code_2(line: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(line.split())
    assert stopped.value.code == 2


def test_no_verb_prints_the_help_and_is_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "verbs, in the order of the flow" in capsys.readouterr().out


def test_what_the_user_can_mend_is_exit_code_1_and_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "--workspace", str(tmp_path / "nowhere")]) == 1
    said = capsys.readouterr()
    assert said.out == "" and "trueloop init" in said.err and "Traceback" not in said.err


def test_a_path_that_the_system_refuses_is_exit_code_1_and_is_named(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    for out in (tmp_path / "nowhere" / "labels.jsonl", workspace / "recipe.yaml" / "labels.jsonl"):
        assert main(["export", "--json", "--out", str(out), "--workspace", str(workspace)]) == 1
        said = capsys.readouterr()
        assert str(out) in json.loads(said.out)["where"] and "Traceback" not in said.err


def test_an_error_of_our_own_is_not_hidden(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OSError("no errno, so nothing that a user could mend")

    monkeypatch.setattr("align.status.describe", fail)
    with pytest.raises(OSError, match="no errno"):
        main(["status", "--workspace", str(workspace)])


def test_an_error_is_one_json_object_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--json", "--workspace", str(tmp_path / "nowhere")]) == 1
    assert json.loads(capsys.readouterr().out).keys() == {"error", "where", "next"}


@pytest.mark.parametrize("line", [["status"], ["prompts"], ["recipe"], ["doctor"], ["report"]])
def test_json_is_one_object_and_nothing_else(
    line: list[str], workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    main([*line, "--json", "--workspace", str(workspace)])
    assert isinstance(json.loads(capsys.readouterr().out), dict)


def test_waiting_for_labels_is_exit_code_3_with_one_object(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["advance", "--json", "--workspace", str(workspace)]) == 3
    said = json.loads(capsys.readouterr().out)
    assert said["waiting"] == {"have": 0, "need": 40} and said["round"] == 1 and "pairs" in said["done"]


def test_an_override_may_stand_before_or_after_a_flag(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def resolved(*line: str) -> Any:
        capsys.readouterr()
        assert main(["recipe", *line, "--workspace", str(workspace)]) == 0
        return json.loads(capsys.readouterr().out)

    assert resolved("policy.beta=0.25", "--json") == resolved("--json", "policy.beta=0.25")
    assert resolved("--json", "policy.beta=0.25")["policy"]["beta"] == 0.25


def test_the_workspace_comes_from_the_environment(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRUELOOP_WORKSPACE", str(workspace))
    capsys.readouterr()
    assert main(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["workspace"] == str(workspace)


def test_a_command_in_a_message_can_be_pasted(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "Run: trueloop annotate, or trueloop import FILE --as votes"
    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/trueloop")
    assert runnable(said) == said
    workspaced = (
        "Run: trueloop annotate --workspace 'my loop', or trueloop import --workspace 'my loop' FILE --as votes"
    )
    assert runnable(said, Path("my loop")) == workspaced
    assert runnable(workspaced, Path("my loop")) == workspaced
    assert runnable("Run: trueloop init DIR", Path("w")) == "Run: trueloop init DIR"
    assert runnable("Run: pip install --upgrade trueloop", Path("w")) == "Run: pip install --upgrade trueloop"
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.setattr("sys.argv", [".venv/bin/trueloop", "demo"])
    assert runnable("Run: trueloop status") == "Run: .venv/bin/trueloop status"


def test_status_before_the_first_round_says_what_is_there_and_what_comes_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loop, votes = tmp_path / "own", tmp_path / "votes.jsonl"
    assert main(["init", str(loop), "--recipe", "own-model"]) == 0
    assert "Next: trueloop prompts" in capsys.readouterr().out
    row = {"prompt": "Why?", "response_a": "Yes.", "response_b": "No.", "annotator": "ann", "preference": "a"}
    votes.write_text(json.dumps(row), encoding="utf-8")
    assert main(["import", str(votes), "--as", "votes", "--workspace", str(loop)]) == 0
    capsys.readouterr()
    assert main(["status", "--workspace", str(loop)]) == 0
    said = capsys.readouterr().out
    assert "Imported: 1 labels" in said and f"trueloop snapshot --workspace {loop}" in said
    assert main(["prompts", str(votes), "--workspace", str(loop)]) == 0


def test_printable_spells_out_what_could_steer_a_terminal() -> None:
    assert printable(f"a {ESCAPES}\n\tü") == "a \\x1b[31mred\\x1b[0m\\x07\n\tü"


@pytest.mark.parametrize("kind", ["prompts", "preferences", "votes"])
def test_escapes_in_a_file_reach_no_terminal(
    kind: str, workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / f"{ESCAPES}.jsonl"
    rows = [{ESCAPES: ESCAPES}, {"prompt": ESCAPES, "chosen": 1, "rejected": ESCAPES, "annotator": ESCAPES}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for flags in ([], ["--keep-going"]):
        main(["import", str(file), "--as", kind, *flags, "--workspace", str(workspace)])
        said = capsys.readouterr()
        assert "\x1b" not in said.out + said.err and "\x07" not in said.out + said.err


def test_escapes_in_a_recipe_reach_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "bad.yaml"
    recipe.write_text(json.dumps({"name": ESCAPES, f"sft{ESCAPES}": 1, "world": ESCAPES}), encoding="utf-8")
    assert main(["init", str(tmp_path / "one"), "--recipe", str(recipe)]) == 1
    recipe.write_text(json.dumps({"name": ESCAPES, "world": ESCAPES}), encoding="utf-8")
    main(["init", str(tmp_path / "two"), "--recipe", str(recipe)])
    main(["advance", "--workspace", str(tmp_path / "two")])
    said = capsys.readouterr()
    assert "\x1b" not in said.out + said.err
