"""The lead pages as one Gradio application under /lead: progress, labels, people, campaign, export."""

from collections.abc import Callable

import gradio as gr
from fastapi import FastAPI

from annotate.ledger import Ledger
from annotate.pages import progress
from annotate.pages.frame import HEAD, PAGES

BUILD: dict[str, Callable[[gr.Blocks, Ledger], None]] = {"": progress.build}
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
    gr.mount_gradio_app(
        app,
        pages(ledger),
        path="/lead",
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        show_error=True,
        theme=theme,
        head=HEAD,
        root_path=f"{root_path}/lead" if root_path else None,
    )
