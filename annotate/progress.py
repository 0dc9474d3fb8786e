"""How long work tells how far it is; who draws the bar is the caller's choice."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with (what is being done, how many are done, how many there are)."""


def silent(what: str, done: int, total: int) -> None:
    """Report nothing."""
