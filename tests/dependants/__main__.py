"""`python -m tests.dependants`: each library on memory and on a Redis server of its own, a fresh process for each.

`python -m tests.dependants NAME` is such a process.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import subprocess
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING

from tests.dependants.expect import Steps
from tests.support.servers import RedisServer

if TYPE_CHECKING:
    from collections.abc import Mapping

LIBRARIES = {"artifacts": "chuk-artifacts", "tokens": "chuk-mcp-server", "runtime": "chuk-mcp-runtime"}
VARIABLES = ("SESSION_", "CHUK_", "REDIS_", "ARTIFACT_", "OAUTH_", "MCP_")
SECONDS = 120.0


def run_one(name: str) -> None:
    """Drive one library in this process, and say how much was checked."""
    logging.disable()
    steps = Steps()
    asyncio.run(importlib.import_module(f"tests.dependants.{name}").drive(steps))
    print(f"{LIBRARIES[name]} {version(LIBRARIES[name])}: {steps.count} steps")


def run_apart(name: str, settings: Mapping[str, str]) -> bool:
    """The same in a process of its own, with nothing but these settings of ours; whether it went well."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(VARIABLES)}
    command = [sys.executable, "-m", "tests.dependants", name]
    result = subprocess.run(command, env=environment | dict(settings), timeout=SECONDS, check=False)
    return result.returncode == 0


def run_all() -> int:
    """Everything; 1 if anything failed, or if nothing arrived on the server."""
    failed = []
    print(f"chuk-sessions {version('chuk-sessions')}, from this checkout")
    for name in LIBRARIES:
        print("memory: ", end="", flush=True)
        if not run_apart(name, {"SESSION_PROVIDER": "memory"}):
            failed.append(f"{name} on memory")
        with RedisServer() as server:
            print("Redis:  ", end="", flush=True)
            settings = {"SESSION_PROVIDER": "redis", "SESSION_REDIS_URL": server.url}
            if not run_apart(name, settings) or not server.command("DBSIZE"):
                failed.append(f"{name} on Redis")
    print("all of them work" if not failed else f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    if sys.argv[1:]:
        run_one(sys.argv[1])
    else:
        sys.exit(run_all())
