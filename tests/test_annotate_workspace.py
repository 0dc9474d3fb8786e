"""The workspace: what is one and what is not, where it is looked for, and who may advance it."""

import json
import multiprocessing
import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from annotate.errors import BadInput, Locked, WorkspaceError
from annotate.ledger import Ledger
from annotate.workspace import Workspace


def test_a_new_workspace_can_be_opened(tmp_path: Path) -> None:
    made = Workspace.init(tmp_path / "loop", "name: tiny\n")
    assert Workspace.open(tmp_path / "loop") == made
    assert made.recipe_path.read_text() == "name: tiny\n" and made.artifacts.is_dir()
    assert made.database is None and made.database_path == tmp_path / "loop" / "labels.db"
    marker = json.loads((made.path / "workspace.json").read_text())
    assert set(marker) == {"version", "database", "created"} and marker["version"] == 1


def test_an_empty_directory_becomes_a_workspace_and_any_other_is_left_alone(tmp_path: Path) -> None:
    Workspace.init(tmp_path, "name: tiny\n")
    with pytest.raises(WorkspaceError, match="something here already"):
        Workspace.init(tmp_path, "name: other\n")
    assert (tmp_path / "recipe.yaml").read_text() == "name: tiny\n"
    with pytest.raises(WorkspaceError, match="something here already"):
        Workspace.init(tmp_path / "recipe.yaml", "name: other\n")


def test_a_directory_whose_name_looks_like_a_url_works(tmp_path: Path) -> None:
    workspace = Workspace.init(tmp_path / "what? 100% #1 & ünïcode", "name: tiny\n")
    with Ledger(workspace) as ledger:
        assert ledger.check() == []
    assert workspace.database_path.is_file()


def test_what_is_no_workspace_says_how_to_make_one(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "missing", tmp_path / "file"):
        with pytest.raises(WorkspaceError, match=f"this is no workspace. Run: trueloop init {path}"):
            Workspace.open(path)


@pytest.mark.parametrize("marker", ["", "{", "[]", "null", '{"version": "1"}', '{"version": 1, "database": 5}'])
def test_a_damaged_marker_is_told_from_a_missing_one(tmp_path: Path, marker: str) -> None:
    (tmp_path / "workspace.json").write_text(marker)
    with pytest.raises(WorkspaceError, match=r"workspace\.json"):
        Workspace.open(tmp_path)


def test_a_newer_workspace_is_refused(tmp_path: Path) -> None:
    workspace = Workspace.init(tmp_path / "loop", "name: tiny\n")
    (workspace.path / "workspace.json").write_text(json.dumps({"version": 2, "database": None}))
    with pytest.raises(WorkspaceError, match=r"of version 2.*pip install --upgrade trueloop"):
        Workspace.open(workspace.path)


def test_a_postgresql_url_is_kept_where_only_the_owner_reads_it(tmp_path: Path) -> None:
    url = "postgresql+psycopg://me:secret@localhost/loop"
    workspace = Workspace.init(tmp_path / "loop", "name: tiny\n", url)
    assert Workspace.open(workspace.path).database == url
    assert (workspace.path / "workspace.json").stat().st_mode & 0o077 == 0
    for wrong in ("sqlite:////tmp/x.db", "postgresql://localhost/loop", "mysql://localhost/loop", "nonsense"):
        with pytest.raises(BadInput, match="PostgreSQL URL"):
            Workspace.init(tmp_path / "other", "name: tiny\n", wrong)
    assert not (tmp_path / "other").exists()


def test_a_workspace_is_named_by_argument_then_environment_then_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, three = (Workspace.init(tmp_path / name, "name: tiny\n") for name in ("one", "two", "three"))
    monkeypatch.chdir(three.path)
    monkeypatch.delenv("TRUELOOP_WORKSPACE", raising=False)
    assert Workspace.resolve() == three
    monkeypatch.setenv("TRUELOOP_WORKSPACE", str(two.path))
    assert Workspace.resolve() == two
    assert Workspace.resolve(one.path) == one


def test_the_second_to_advance_is_told_who_is_at_it(tmp_path: Path) -> None:
    workspace = Workspace.init(tmp_path / "loop", "name: tiny\n")
    told = rf"process {os.getpid()} on .*, since .* is advancing"
    with workspace.lock(), pytest.raises(Locked, match=told), workspace.lock():
        pass
    with workspace.lock():
        pass


def test_a_killed_holder_lets_go(tmp_path: Path) -> None:
    workspace = Workspace.init(tmp_path / "loop", "name: tiny\n")
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    holder = context.Process(target=hold, args=(workspace.path, theirs))
    holder.start()
    assert ours.recv() == "held" and holder.pid is not None
    with pytest.raises(Locked, match=f"process {holder.pid} "), workspace.lock():
        pass
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    with workspace.lock():
        pass


def hold(path: Path, answer: Connection) -> None:
    with Workspace.open(path).lock():
        answer.send("held")
        signal.pause()
