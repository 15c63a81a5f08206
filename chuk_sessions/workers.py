"""Whether this process is one of several workers of a web server, which share nothing that is kept in memory.

What the server leaves in its workers tells: uvicorn and hypercorn start them by multiprocessing and hand them their
configuration; of gunicorn there are environment and command line. Nothing is imported for that. A number that stands
in a configuration file of gunicorn alone cannot be seen.
"""

from __future__ import annotations

import re
import sys
from typing import Any

from chuk_sessions.environment import variable

__all__ = ["number_of_workers"]

OPTION = re.compile(r"(?:^|\s)(?:--workers|-w)[=\s]*(\d+)(?=\s|$)")


def number_of_workers() -> int:
    """How many there are, as far as that can be told; 1 if nothing says that there are more."""
    return max(1, _by_multiprocessing(), _of_gunicorn())


def _by_multiprocessing() -> int:
    """What the server's configuration says, among the arguments that this process was started with."""
    process: Any = sys.modules.get("multiprocessing.process")  # who was started by it has loaded it
    if process is None or process.parent_process() is None:
        return 0
    arguments = getattr(process.current_process(), "_kwargs", {})
    workers = getattr(arguments.get("config"), "workers", 0)
    return workers if isinstance(workers, int) else 0


def _of_gunicorn() -> int:
    """Its command line counts first, then the variable with more of it, then the one with its default."""
    if not variable("SERVER_SOFTWARE").startswith("gunicorn"):
        return 0
    for text in (" ".join(sys.argv[1:]), variable("GUNICORN_CMD_ARGS")):
        if found := OPTION.findall(text):
            return int(found[-1])
    number = variable("WEB_CONCURRENCY")
    return int(number) if number.isdecimal() else 0
