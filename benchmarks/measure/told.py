"""A worker that is told what to do next: by lines on its standard input, each answered by one line of JSON.

So the blocks of several workers can take turns. The end of the input ends a worker.
"""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.measure.processes import ROOT

__all__ = ["SideFailed", "Told"]

END_SECONDS = 10.0


class SideFailed(Exception):
    """A worker ended; the message holds its last words."""


class Told:
    """One worker; killed if it has not been closed after so many seconds, unless it is given more time."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], seconds: float) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=ROOT,
        )
        self._too_late = self._timer(seconds)

    def _timer(self, seconds: float) -> threading.Timer:
        timer = threading.Timer(seconds, self._process.kill)
        timer.daemon = True
        timer.start()
        return timer

    def give(self, seconds: float) -> None:
        """Let it run for so many seconds from now on."""
        self._too_late.cancel()
        self._too_late = self._timer(seconds)

    def tell(self, line: str) -> None:
        """Send it a line."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended: its reply says why

    def reply(self) -> dict[str, Any]:
        """Wait for its answer; SideFailed if it has ended."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            _, complaint = self._process.communicate()
            code = self._process.returncode
            raise SideFailed((complaint.strip().splitlines() or [f"it ended without a word, with {code}"])[-1])
        try:
            reply: dict[str, Any] = json.loads(line)
        except ValueError as error:
            raise SideFailed(f"instead of an answer it printed {line[:80]!r}") from error
        return reply

    def close(self) -> None:
        """End it, in order if it can."""
        try:
            self._process.communicate(timeout=END_SECONDS)
        except (subprocess.TimeoutExpired, BrokenPipeError):
            self._process.kill()
            self._process.communicate()
        finally:
            self._too_late.cancel()
