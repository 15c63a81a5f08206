"""A program with mounts and processes of its own, of which nothing is left when it ends or is ended.

The kernel does it. A shell, which only waits for the program, is the first process of a process namespace: its end is
the end of all that is in there. It also reaps what lost its parent, as a first process must. Mounts are in a mount
namespace, which ends with its last process. When the caller dies, even of SIGKILL, `setpriv` has the kernel end
`unshare`, and `unshare` has it end the shell.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from collections.abc import Sequence

__all__ = ["end_with_the_parent", "namespaces_are_allowed", "run_in_namespaces"]

UNSHARE = ("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child")
PREFIX = (*UNSHARE, "sh", "-c", '"$@"; exit $?', "sh")
PR_SET_PDEATHSIG = 1


def run_in_namespaces(command: Sequence[str]) -> int:
    """Run the command and give its exit status; whatever ends the wait ends the command."""
    with subprocess.Popen([*PREFIX, *command]) as process:
        try:
            return process.wait()
        finally:
            process.kill()


def namespaces_are_allowed() -> bool:
    """Whether this process may make namespaces and mount in them: in a container, root may not."""
    command = [*PREFIX, "mount", "-t", "tmpfs", "tmpfs", "/tmp"]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def end_with_the_parent() -> None:
    """Have this process get SIGTERM when its parent ends, and end on SIGTERM as on an exception."""

    def end(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it ended in between
        end(signal.SIGTERM, None)
