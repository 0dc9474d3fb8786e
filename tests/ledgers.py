"""For the tests of the store: ledgers filled with pairs, and a private PostgreSQL server. Holds no tests itself."""

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psycopg
from sqlmodel import Session

from annotate import queue
from annotate.ledger import Ledger
from annotate.pairs import CandidatePair
from annotate.tables import Prompt, Response


def fill(
    ledger: Ledger,
    pairs: int,
    *,
    overlap: int = 1,
    k: int = 2,
    round: int = 1,
    seed: int = 11,
    annotators: Sequence[str] = ("ann", "bob", "cid"),
) -> list[str]:
    """Store so many prompts with k responses and one pair each, and the annotators; returns the pairs' ids."""

    def run(session: Session) -> list[str]:
        for name in annotators:
            queue.register(session, name)
        candidates = []
        for number in range(pairs):
            prompt = f"prompt-{round}-{number}"
            message = {"role": "user", "content": f"Question {number}?"}
            session.add(
                Prompt(
                    id=prompt, messages=[message], text=message["content"], group=prompt, split="train", created_at=0
                )
            )
            session.flush()
            responses = tuple(f"{prompt}-{place}" for place in range(k))
            session.add_all(
                Response(id=one, prompt_id=prompt, text=f"Answer {one}", sampling={}, created_at=0) for one in responses
            )
            candidates.append(CandidatePair(prompt, responses, round, propensity=1.0, overlap=overlap))
        session.flush()
        return queue.add_pairs(session, candidates, seed=seed)

    return ledger.write(run)


def judgment(task: queue.Task, uuid: str, **fields: object) -> queue.Judgment:
    """The judgment that ranks a task's responses as they are shown."""
    ranking = [[response.id] for response in task.responses]
    return queue.Judgment.model_validate({"uuid": uuid, "slot": task.slot, "ranking": ranking, **fields})


class PostgresServer:
    """A PostgreSQL server of one's own on a Unix socket, made in a temporary directory and gone after `stop`.

    Where TRUELOOP_TEST_POSTGRES names the directory of one that runs already, that one is used and left running.
    """

    def __init__(self) -> None:
        self._made: list[str] = []
        running = os.environ.get("TRUELOOP_TEST_POSTGRES")
        self._own = running is None
        if running:
            self.folder = Path(running)
            return
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
        if not found:
            raise FileNotFoundError("PostgreSQL is not installed (Debian: apt-get install postgresql)")
        self._bin = found[-1].parent
        memory = Path("/dev/shm")  # thousands of small files are made and deleted faster where there is no disk
        roomy = memory.is_dir() and shutil.disk_usage(memory).free > 2 * 2**30
        # A short name: a socket's path has 107 characters at most.
        self.folder = Path(tempfile.mkdtemp(prefix="pg-", dir=memory if roomy else None))
        self._as_user: list[str] = []
        if os.geteuid() == 0:  # the server refuses to run as root
            shutil.chown(self.folder, "postgres")
            self._as_user = ["runuser", "-u", "postgres", "--"]
        self._run("initdb", "-D", f"{self.folder}/data", "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8")
        options = f"-k {self.folder} -c listen_addresses='' -c fsync=off -c max_connections=60"
        self._run("pg_ctl", "-D", f"{self.folder}/data", "-l", f"{self.folder}/log", "-w", "-o", options, "start")

    def database(self) -> str:
        """The URL of a new, empty database: a schema, which is made faster than a database of its own."""
        name = f"test_{secrets.token_hex(6)}"
        self._made.append(name)
        self._execute(f"CREATE SCHEMA {name}")
        return f"postgresql+psycopg://postgres@/postgres?host={self.folder}&options=-csearch_path%3D{name}"

    def stop(self) -> None:
        """End the server and delete all it had; of one that ran already, what was made here."""
        if not self._own:
            for name in self._made:
                with suppress(psycopg.errors.LockNotAvailable):  # a test that failed may still hold on to it
                    self._execute(f"SET lock_timeout = '1s'; DROP SCHEMA {name} CASCADE")
            return
        self._run("pg_ctl", "-D", f"{self.folder}/data", "-m", "fast", "-w", "stop")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _execute(self, statement: str) -> None:
        with psycopg.connect(host=str(self.folder), user="postgres", autocommit=True) as connection:
            connection.execute(statement.encode())

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [*self._as_user, str(self._bin / program), *arguments],
            check=True,
            cwd="/",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
        )
