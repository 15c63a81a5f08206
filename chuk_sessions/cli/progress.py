"""The progress of a run over all keys: a bar if rich is installed and the output is a terminal, else some lines."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Progress", "show_progress"]

LINE_EVERY = 10_000  # keys


class Progress(Protocol):
    """The progress of a run."""

    seen: int  # keys

    def summary(self) -> str:
        """Return the results so far in a few words."""


@contextmanager
def show_progress(total: int, stream: TextIO | None = None) -> Iterator[Callable[[Progress], None]]:
    """Give a function to call with the counts of the run; ``total`` is the approximate number of keys."""
    stream = sys.stderr if stream is None else stream
    try:
        from rich.console import Console
    except ImportError:
        yield _Lines(total, stream)
        return
    console = Console(file=stream)
    if not console.is_terminal:
        yield _Lines(total, stream)
        return
    with _bar(total, console) as show:
        yield show


@contextmanager
def _bar(total: int, console: object) -> Iterator[Callable[[Progress], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Bar(*columns, console=console) as progress:  # type: ignore[arg-type]
        task = progress.add_task("", total=total)

        def show(counts: Progress) -> None:
            progress.update(task, completed=min(counts.seen, total), description=counts.summary())

        yield show


class _Lines:
    """Prints a line for every ``LINE_EVERY`` keys."""

    def __init__(self, total: int, stream: TextIO) -> None:
        self._total = total
        self._stream = stream
        self._next = LINE_EVERY

    def __call__(self, counts: Progress) -> None:
        if counts.seen >= self._next:
            self._next += LINE_EVERY * (1 + (counts.seen - self._next) // LINE_EVERY)
            print(f"{counts.seen} of about {self._total} keys: {counts.summary()}", file=self._stream)
