"""The lead pages as one Gradio application under /lead: progress, labels, people, campaign, export."""

import warnings
from collections.abc import Callable
from typing import Any

import gradio as gr
from fastapi import FastAPI

from annotate.guard import MAX_UPLOAD_BYTES
from annotate.ledger import Ledger
from annotate.pages import campaign, export, labels, people, progress
from annotate.pages.frame import HEAD, PAGES

BUILD: dict[str, Callable[[gr.Blocks, Ledger], None]] = {
    "": progress.build,
    "labels": labels.build,
    "people": people.build,
    "campaign": campaign.build,
    "export": export.build,
}
"""What builds the page at each path of PAGES."""


def pages(ledger: Ledger) -> gr.Blocks:
    """All lead pages in one Blocks, each at its own path."""
    with gr.Blocks(title="Progress · Trueloop", analytics_enabled=False) as demo:
        BUILD[""](demo, ledger)
    for path, name, _ in PAGES[1:]:
        with demo.route(name, path):
            BUILD[path](demo, ledger)
    return demo


def mount(app: FastAPI, ledger: Ledger, root_path: str = "") -> None:
    """Put the lead pages under /lead of the application."""
    theme = gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    options: dict[str, Any] = {
        "footer_links": [],
        "run_history": False,
        "ssr_mode": False,
        "theme": theme,
        "head": HEAD,
    }
    options["max_file_size"] = MAX_UPLOAD_BYTES
    under = f"{root_path}/lead" if root_path else None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "SSR mode is not supported with multi-page apps")  # nobody asked for it
        gr.mount_gradio_app(app, pages(ledger), path="/lead", root_path=under, **options)
