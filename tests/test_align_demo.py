"""The demo on the micro world, by its command: what it prints, and what it leaves behind."""

import json
from pathlib import Path

import pytest

from align.cli import main
from align.recipe import write_recipe
from benchmarks.micro import WORLD, micro_recipe


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, object], Path]:
    """What `trueloop demo --json` printed for two rounds, and the folder it ran in."""
    folder = tmp_path_factory.mktemp("demo")
    (folder / "micro.yaml").write_text(write_recipe(micro_recipe(["world=null"])), encoding="utf-8")
    import contextlib
    import io

    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main(arguments(folder)) == 0
    return json.loads(out.getvalue()), folder


def arguments(folder: Path, *more: str) -> list[str]:
    recipe, workspace = str(folder / "micro.yaml"), str(folder / "loop")
    common = ["--world", str(WORLD), "--recipe", recipe, "--workspace", workspace, "--json", *more]
    return ["demo", "--rounds", "2", "--seed", "0", *common]


def test_the_demo_prints_one_object_with_a_row_for_each_round(shown: tuple[dict, Path]) -> None:
    found, folder = shown
    assert {"workspace", "seconds", "champion", "rounds", "report"} <= found.keys()
    assert found["workspace"] == str(folder / "loop")
    for number, row in enumerate(found["rounds"], 1):
        assert (row["round"], row["labels"]) == (number, micro_recipe().labels.per_round)
        assert row["verdict"] in ("promoted", "rejected")
        for name in ("win_rate", "gold_win_rate"):
            low, high = row[f"{name}_ci"]
            assert 0 <= low <= row[name] <= high <= 1
        assert row["prompts"] > 0


def test_the_demo_leaves_the_next_rounds_pairs_to_be_labelled_by_hand(
    shown: tuple[dict, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "--workspace", shown[0]["workspace"], "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rounds"][-1]["round"] == 3
    assert found["rounds"][-1]["labels"]["have"] == 0
    assert found["next"].startswith("trueloop annotate")
    assert Path(shown[0]["report"]).read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_finished_demo_called_again_shows_the_same_rounds_and_makes_nothing(
    shown: tuple[dict, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    found, folder = shown
    before = sorted((folder / "loop" / "artifacts").iterdir())
    assert main(arguments(folder)) == 0
    assert json.loads(capsys.readouterr().out)["rounds"] == found["rounds"]
    assert sorted((folder / "loop" / "artifacts").iterdir()) == before


def test_a_demo_never_runs_into_a_workspace_of_another_seed(
    shown: tuple[dict, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    again = arguments(shown[1])
    again[again.index("--seed") + 1] = "1"
    assert main(again) == 1
    assert "another recipe, seed or world" in json.loads(capsys.readouterr().out)["error"]


def test_a_demo_without_a_world_names_the_next_command(
    shown: tuple[dict, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    recipe = str(shown[1] / "micro.yaml")
    assert main(["demo", "--recipe", recipe, "--workspace", str(tmp_path / "x"), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["next"] == "Run: trueloop demo --world pantry"
