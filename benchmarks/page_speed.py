"""From the key to the next pair on screen, in Chromium, on the real page, server and SQLite ledger (figure 31).

python benchmarks/page_speed.py [--judgments N] prints one JSON. A time runs from the key's event to the first task
after the frame that holds the next pair, as the browser's own clock says; it leaves out the 300 ms for which keys wait.
The weight is what the first page takes over the wire with an empty cache, headers included, until its first pair.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from sqlmodel import Session

from annotate import auth, queue
from annotate.app import create_app
from annotate.ledger import Ledger
from annotate.messages import as_messages, digest, prompt_id, to_dicts
from annotate.pairs import CandidatePair
from annotate.tables import Prompt, Response

SEED = 7
WORDS = (30, 400)
"""Shortest and longest response, in words."""
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync")
FLAGS += ("--disable-background-networking", "--disable-component-update")
_MEASURE = """() => {
  window.times = [];
  let pressed = 0;
  document.addEventListener("keydown", (event) => (pressed = event.timeStamp), { capture: true });
  document.querySelector(".tl").addEventListener("painted", (event) => window.times.push(event.detail.at - pressed));
}"""
_WEIGHT = """() => ["navigation", "resource"].flatMap((kind) => performance.getEntriesByType(kind))
  .reduce((sum, each) => sum + each.transferSize, 0)"""


def run(judgments: int = 100) -> dict[str, Any]:
    """Judge so many pairs by keyboard and measure each."""
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("this needs Debian's package chromium")
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, Ledger.open(f"sqlite:///{folder}/labels.db") as ledger:
        fill(ledger, judgments + 1)
        config = uvicorn.Config(create_app(ledger), port=0, log_level="warning", access_log=False)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        _, secret = auth.sign_in_link(ledger)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
            page = browser.new_page()
            page.goto(f"{url}/login#token={secret}")
            ready = '.tl[data-state="pair"][aria-busy="false"]'
            page.wait_for_selector(ready)
            weight = page.evaluate(_WEIGHT)
            page.evaluate(_MEASURE)
            for number in range(judgments):
                page.keyboard.press("12t"[number % 3])
                page.wait_for_selector(ready)
            times = page.evaluate("times")
            version = browser.version
            browser.close()
        server.should_exit = True
        thread.join()
        with ledger.read() as session:
            stored = queue.progress(session).have
    assert len(times) == judgments, f"{len(times)} paints for {judgments} keys"
    return {
        "metric": "key to next pair painted",
        "unit": "ms",
        "median": round(statistics.median(times), 1),
        "p95": round(float(np.quantile(times, 0.95)), 1),
        "worst": round(max(times), 1),
        "judgments": judgments,
        "labels_stored": stored,
        "keys_per_judgment": 1,
        "first_page_bytes": weight,
        "machine": {"cpus": os.cpu_count(), "system": platform.platform(), "chromium": version},
        "load": round(os.getloadavg()[0], 1),
        "commit": _commit(),
        "seed": SEED,
    }


def fill(ledger: Ledger, pairs: int) -> None:
    """Put pairs with responses of uneven length into the queue."""
    rng = np.random.default_rng(SEED)
    words = [f"{'bcdfgklmnprst'[n % 13]}{'aeiou'[n % 5]}{'lmnrst'[n % 6]}{'aeio'[n % 4]}" for n in range(60)]

    def text() -> str:
        return " ".join(rng.choice(words, int(rng.integers(*WORDS))))

    def write(session: Session) -> None:
        candidates = []
        for number in range(pairs):
            messages = as_messages(f"Question {number}: {text()[:200]}?")
            prompt = prompt_id(messages)
            session.add(
                Prompt(
                    id=prompt,
                    messages=to_dicts(messages),
                    text=messages[0].text,
                    group=prompt,
                    split="train",
                    created_at=0,
                )
            )
            texts = {digest([prompt, side]): text() for side in range(2)}
            for identity, response in texts.items():
                session.add(Response(id=identity, prompt_id=prompt, text=response, sampling={}, created_at=0))
            candidates.append(CandidatePair(prompt, tuple(texts), round=1))
        session.flush()
        queue.add_pairs(session, candidates, seed=SEED)

    ledger.write(write)


def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--judgments", type=int, default=100)
    print(json.dumps(run(parser.parse_args().judgments), indent=1))
