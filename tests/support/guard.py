"""A guard: a small process that owns one child process and one temporary folder, and outlives our crash.

Goal: whatever ends the test run, SIGKILL included, the server is killed and its folder removed.

* This file, run as a script, is the guard. It makes the folder, starts the server and waits on a pipe from
  its parent; the end of the pipe means that the parent is gone. So at no moment could either be lost.
* A forked child of the test run inherits the other end and would keep the pipe open, so the guard also looks,
  twice a second, whether its parent is still the same. For the same reason an orderly end is said aloud.
* Three quarters of what starting a server costs is the start of its guard. So a guard whose server has ended stays,
  without a server and without a folder, for the next `Guard` of this process.
* `Guard` is the parent's side: one JSON line asks, one JSON line answers.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

ORPHAN_CHECK_SECONDS = 0.5
END_SECONDS = 5.0
MOST_IDLE = 8  # as many as a cluster with its replicas, a server and another one need

# With the process that started each: a forked child inherits the list, and its guards answer to its parent alone.
_idle: list[tuple[int, subprocess.Popen[str]]] = []


class GuardDied(Exception):
    """The guard was killed; the server it guarded may be left."""


class Guard:
    """Takes a guard that has nothing to look after, or starts one, and talks to it; `close` ends server and folder."""

    def __init__(self) -> None:
        self._owner = os.getpid()
        self._process = _take_idle() or _start_process()
        self.folder = Path(self._ask("begin"))

    @property
    def process_id(self) -> int:
        """Of the guard itself."""
        return self._process.pid

    @property
    def log(self) -> str:
        """The last words of the server."""
        return (self.folder / "server.log").read_text(errors="replace")[-2000:]

    def start(self, *command: str) -> int:
        """Start the server in the folder; its process id."""
        return int(self._ask("start", *command))

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server, if it still runs."""
        self._ask("signal", number)

    def wait(self, seconds: float) -> int | None:
        """The server's exit code, as soon as it has ended; None if it still runs after that time."""
        code: int | None = self._ask("wait", seconds)
        return code

    def close(self) -> None:
        """Kill the server and remove the folder; the guard itself ends if enough others are idle."""
        if os.getpid() != self._owner:
            return  # an atexit handler that a forked child inherited: the server is not the child's to end
        try:
            self._ask("end")
        except GuardDied:
            _end_process(self._process)
            return
        if len(_idle) < MOST_IDLE:
            _idle.append((self._owner, self._process))
        else:
            _end_process(self._process)

    def _ask(self, *question: object) -> Any:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # then there is no answer, which says it better
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise GuardDied(f"guard process {self._process.pid} has ended without an answer")
        return json.loads(line)


def _start_process() -> subprocess.Popen[str]:
    # -I and -S: start fast, no coverage hook. Its own session: Ctrl-C is for the test run to handle.
    command = [sys.executable, "-I", "-S", __file__, str(os.getpid())]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, start_new_session=True)


def _take_idle() -> subprocess.Popen[str] | None:
    """One of this very process, not of the one that it was forked from; one that was killed meanwhile is no guard."""
    for entry in _idle[::-1]:
        owner, process = entry
        if owner == os.getpid():
            _idle.remove(entry)
            if process.poll() is None:
                return process
            _end_process(process)
    return None


def _end_process(process: subprocess.Popen[str]) -> None:
    with process:
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write('["quit"]\n')
            process.stdin.close()
        try:
            process.wait(2 * END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


@atexit.register  # when this module is loaded, so that it runs after what ends servers
def _end_idle() -> None:
    while (process := _take_idle()) is not None:
        _end_process(process)


# From here on: what runs in the guard itself.


class _Server:
    """The one process that the guard looks after."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *command: str) -> int:
        with Path(self._folder, "server.log").open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
        return self._process.pid

    def signal(self, number: int) -> None:
        """To its whole group: a background save is a child of the server and must not outlive it."""
        if self._process and self._process.poll() is None:
            os.killpg(self._process.pid, number)

    def wait(self, seconds: float) -> int | None:
        try:
            return self._process.wait(seconds) if self._process else 0
        except subprocess.TimeoutExpired:
            return None


def _next_question(parent: int) -> Any:
    """The parent's next line; "quit" when it has closed the pipe or is gone."""
    while not select.select([sys.stdin], [], [], ORPHAN_CHECK_SECONDS)[0]:
        if os.getppid() != parent:
            return ["quit"]
    return json.loads(sys.stdin.readline() or '["quit"]')


def _serve(folder: str, parent: int) -> bool:
    """Do what the parent asks until it says "end"; False if it is gone, or ends without a word."""
    server = _Server(folder)
    abilities: dict[str, Callable[..., object]] = {
        "start": server.start,
        "signal": server.signal,
        "wait": server.wait,
    }
    try:
        print(json.dumps(folder), flush=True)
        while (question := _next_question(parent))[0] in abilities:
            print(json.dumps(abilities[question[0]](*question[1:])), flush=True)
        return bool(question[0] == "end")
    finally:
        server.signal(signal.SIGKILL)
        server.wait(END_SECONDS)


def _main(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    while _next_question(parent)[0] == "begin":
        with tempfile.TemporaryDirectory(prefix="chuk-redis-", ignore_cleanup_errors=True) as folder:
            goes_on = _serve(folder, parent)
        if not goes_on:
            return
        print("true", flush=True)


if __name__ == "__main__":
    _main(int(sys.argv[1]))
