"""A real web server in a process of its own, on a socket that listens already."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["serving"]

ROOT = Path(__file__).parents[2]


@contextmanager
def serving(command: Sequence[str], variables: Mapping[str, str], codes: Collection[int] = (0,)) -> Iterator[int]:
    """Start a server, and give its port; FD in the command is its socket. End the server, and look how it ended.

    ``variables`` are added to the environment; ``codes`` are the exit codes of a good end after SIGTERM.
    """
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        fd = listener.fileno()
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
        program = [part.replace("FD", str(fd)) for part in command]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        process = subprocess.Popen(program, cwd=ROOT, env=environment, pass_fds=[fd], **pipes)
        try:
            yield listener.getsockname()[1]
            process.send_signal(signal.SIGTERM)
            output = process.communicate(timeout=20)[0]
        except BaseException:
            process.kill()
            print(process.communicate()[0])
            raise
        assert process.returncode in codes, output
        assert "Traceback" not in output
        assert "SIGKILL" not in output
