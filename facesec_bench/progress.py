"""Progress bars with an estimate of the time left, for anything that takes over two seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

T = TypeVar("T")
LINE_SECONDS = 30.0
PATIENCE_SECONDS = 2.0
"""Work shorter than this shows no bar."""


def track(items: Iterable[T], description: str, total: int | None = None, *, alike: bool = True) -> Iterator[T]:
    """Yield `items`; on a terminal show a bar once the work has taken two seconds, in a file a line twice a minute.

    Args:
        alike: whether items take about as long as one another; where not, nothing is said of the time left.
    """
    console = Console(stderr=True)
    if total is None and isinstance(items, Sized):
        total = len(items)
    if not console.is_terminal:
        yield from _lines(items, description, total, alike)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        *([TextColumn("left"), TimeRemainingColumn()] if alike else []),
    )
    progress = Progress(*columns, console=console, transient=True)
    task = progress.add_task(description, total=total)
    began, shown = time.monotonic(), False
    try:
        for item in items:
            yield item
            progress.advance(task)
            if not shown and time.monotonic() - began > PATIENCE_SECONDS:
                progress.start()
                shown = True
    finally:
        if shown:
            progress.stop()


def _lines(items: Iterable[T], description: str, total: int | None, alike: bool) -> Iterator[T]:
    """For logs: how far the work is and how long the rest may take, at most every LINE_SECONDS."""
    began = said = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - said >= LINE_SECONDS and total and done < total:
            left = f", about {(now - began) / done * (total - done):.0f} s left" if alike else ""
            print(f"{description}: {done} of {total}, {now - began:.0f} s{left}", file=sys.stderr)
            said = now
