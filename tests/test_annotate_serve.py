"""The server as the command line starts it: the printed link signs in once, and a bad address is told in words."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from annotate.app import address, serve
from annotate.errors import BadInput
from annotate.workspace import Workspace

CODE = "import sys; from pathlib import Path; from annotate.app import serve; from annotate.workspace import Workspace;"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.init(tmp_path / "loop", "name: test\n")


@pytest.fixture
def started(workspace: Workspace) -> Iterator[subprocess.Popen[str]]:
    code = f"{CODE} serve(Workspace.open(Path(sys.argv[1])), port=0)"
    command = [sys.executable, "-c", code, str(workspace.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        yield process
        process.kill()


def test_the_printed_link_signs_in_once_and_is_logged_nowhere(started: subprocess.Popen[str]) -> None:
    assert started.stdout is not None
    line = started.stdout.readline()
    assert line.startswith("Sign in as admin (works once, within the hour): http://127.0.0.1:"), line
    link = httpx.URL(line.split()[-1])
    assert link.path == "/login" and link.query == b"", "the address that a browser sends holds no secret"
    name, secret = link.fragment.split("=")
    with httpx.Client() as browser:
        assert browser.get(link).status_code == 200
        answer = browser.post(link.join("/api/login"), json={name: secret})
        assert answer.status_code == 200 and answer.json()["role"] == "admin"
        assert browser.get(link.join("/api/me")).json()["role"] == "admin"
    with httpx.Client() as other:
        assert other.post(link.join("/api/login"), json={name: secret}).status_code == 401
    started.send_signal(signal.SIGINT)
    rest, _ = started.communicate(timeout=30)
    assert rest == "" and started.returncode == 0, "no access log, no traceback"


def test_a_taken_port_is_told_in_words(workspace: Workspace) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BadInput, match=f"127.0.0.1:{port}: the address cannot be used"):
            serve(workspace, port=port)


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 65536), ("127.0.0.1", -1), ("999.1.1.1", 7860)])
def test_an_impossible_address_is_told_in_words(workspace: Workspace, host: str, port: int) -> None:
    with pytest.raises(BadInput):
        serve(workspace, host, port)


def test_the_address_to_open_fits_what_the_server_binds_to() -> None:
    assert address("127.0.0.1", 7860) == "http://127.0.0.1:7860"
    assert address("0.0.0.0", 80) == "http://127.0.0.1:80"
    assert address("::1", 80) == "http://[::1]:80"
