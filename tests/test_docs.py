"""The docs are true: blocks run, and nothing that exists is left out of them."""

import subprocess
import sys
from pathlib import Path

import pytest

from align.cli import build_parser
from benchmarks.docs_blocks import Block, blocks_of, documents, run_blocks
from benchmarks.docs_check import (
    compare_flags,
    compare_keys,
    json_keys,
    missing_errors,
    missing_fields,
    missing_routes,
    verbs_of,
)
from benchmarks.micro import ROOT

REFERENCE = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")


def test_every_verb_and_flag_is_in_the_reference_and_no_other() -> None:
    assert compare_flags(build_parser(), REFERENCE) == ([], [])


def test_a_flag_that_nobody_documented_is_noticed() -> None:
    parser = build_parser()
    verbs_of(parser)["status"].add_argument("--planted")
    assert compare_flags(parser, REFERENCE)[0] == ["status --planted"]


def test_a_flag_that_is_gone_from_the_code_is_noticed() -> None:
    text = REFERENCE.replace("- `--rollback`:", "- `--roll-forward`: no more.\n- `--rollback`:")
    assert compare_flags(build_parser(), text) == ([], ["promote --roll-forward"])


def test_every_example_of_the_reference_is_a_line_that_the_parser_takes() -> None:
    examples = [line.split()[1:] for line in REFERENCE.splitlines() if line.startswith("    trueloop ")]
    assert len(examples) == len(verbs_of(build_parser()))
    for words in examples:
        arguments, rest = build_parser().parse_known_args(words)
        assert arguments.verb == words[0] and not rest


def test_every_field_of_a_recipe_has_its_line_of_doc() -> None:
    assert missing_fields() == []


def test_every_route_is_in_the_docs() -> None:
    assert missing_routes() == []


def test_every_kind_of_error_is_in_the_docs() -> None:
    assert missing_errors() == []


def test_a_key_that_nobody_documented_is_noticed() -> None:
    assert compare_keys({"status": {"next", "planted"}}, REFERENCE) == ["status --json: planted"]
    assert compare_keys({"reward": {"accuracy", "accuracy_ci"}}, REFERENCE) == []


@pytest.mark.slow
def test_every_key_of_the_json_is_in_the_reference(tmp_path: Path) -> None:
    assert compare_keys(json_keys(tmp_path / "keys"), REFERENCE) == []


def test_a_block_that_cannot_run_says_why_above_it(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "Text.\n\n```bash\nls\n```\n\n<!-- not run: needs a cluster -->\n```bash\nrm x\n```\n", encoding="utf-8"
    )
    assert blocks_of(page) == [Block("page.md", 3, "ls\n"), Block("page.md", 8, "rm x\n", "needs a cluster")]


def test_a_block_whose_command_fails_is_reported_and_waiting_is_no_failure(tmp_path: Path) -> None:
    good, waits, bad = Block("page.md", 1, "ls\n"), Block("page.md", 5, "(exit 3)\n"), Block("page.md", 9, "false\n")
    failed = run_blocks([good, waits, bad], tmp_path / "blocks")
    assert list(failed) == [bad] and failed[bad].startswith("exit code 1 of: false")


@pytest.mark.slow
@pytest.mark.parametrize("path", documents(), ids=lambda path: path.stem)
def test_the_blocks_of_a_document_run(path: Path, tmp_path: Path) -> None:
    blocks = [block for block in blocks_of(path) if not block.why]
    if not blocks:
        pytest.skip("no shell blocks")
    assert run_blocks(blocks, tmp_path / "blocks") == {}


def test_the_figures_say_how_they_are_run() -> None:
    asked = [sys.executable, str(ROOT / "benchmarks" / "figures.py"), "--help"]
    done = subprocess.run(asked, capture_output=True, text=True, check=True)
    assert "--full" in done.stdout and "--only" in done.stdout
