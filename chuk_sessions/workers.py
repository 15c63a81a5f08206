"""Finds out whether this process is one of several workers of a web server, which share no memory.

The traces of the server in its workers tell. uvicorn and hypercorn start workers by multiprocessing and pass them their
configuration; gunicorn leaves environment variables and a command line. Nothing is imported for that. A number that
only a configuration file of gunicorn has cannot be seen.
"""

from __future__ import annotations

import re
import sys
from typing import Any

from chuk_sessions.environment import variable

__all__ = ["number_of_workers"]

OPTION = re.compile(r"(?:^|\s)(?:--workers|-w)[=\s]*(\d+)(?=\s|$)")


def number_of_workers() -> int:
    """Return the number of workers, as far as it can be found out; 1 if there is no trace of more."""
    return max(1, _by_multiprocessing(), _of_gunicorn())


def _by_multiprocessing() -> int:
    """Return the number in the server's configuration, an argument that this process was started with; 0 if none."""
    process: Any = sys.modules.get("multiprocessing.process")  # a process that multiprocessing started has loaded it
    if process is None or process.parent_process() is None:
        return 0
    arguments = getattr(process.current_process(), "_kwargs", {})
    workers = getattr(arguments.get("config"), "workers", 0)
    return workers if isinstance(workers, int) else 0


def _of_gunicorn() -> int:
    """Return gunicorn's number of workers; 0 if this is not gunicorn, or the number cannot be seen.

    The command line counts first, then GUNICORN_CMD_ARGS, then WEB_CONCURRENCY, the variable of its default.
    """
    if not variable("SERVER_SOFTWARE").startswith("gunicorn"):
        return 0
    for text in (" ".join(sys.argv[1:]), variable("GUNICORN_CMD_ARGS")):
        if found := OPTION.findall(text):
            return int(found[-1])
    number = variable("WEB_CONCURRENCY")
    return int(number) if number.isdecimal() else 0
