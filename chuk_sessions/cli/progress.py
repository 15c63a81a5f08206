"""How far a migration is: a bar if rich is installed and somebody watches, else a line now and then."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from chuk_sessions.cli.migrate import Counts

__all__ = ["show_progress"]

LINE_EVERY = 10_000  # keys


@contextmanager
def show_progress(total: int, stream: TextIO | None = None) -> Iterator[Callable[[Counts], None]]:
    """Gives what is to be called with the counts; ``total`` is about how many keys there are to look at."""
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


def _summary(counts: Counts) -> str:
    return f"moved {counts.moved}, ended {counts.ended}, left in place {counts.left_behind}"


@contextmanager
def _bar(total: int, console: object) -> Iterator[Callable[[Counts], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console) as progress:  # type: ignore[arg-type]
        task = progress.add_task("", total=total)

        def show(counts: Counts) -> None:
            progress.update(task, completed=min(counts.seen, total), description=_summary(counts))

        yield show


class _Lines:
    """A line for every ``LINE_EVERY`` keys."""

    def __init__(self, total: int, stream: TextIO) -> None:
        self._total = total
        self._stream = stream
        self._next = LINE_EVERY

    def __call__(self, counts: Counts) -> None:
        if counts.seen >= self._next:
            self._next += LINE_EVERY * (1 + (counts.seen - self._next) // LINE_EVERY)
            print(f"{counts.seen} of about {self._total} keys: {_summary(counts)}", file=self._stream)
