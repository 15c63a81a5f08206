"""A process of an application with the keys of its environment: it does what it is told, a line of JSON each.

``python -m tests.sealed.worker URL``; a call is the name of a method of ``SessionManager`` and its arguments.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sys
from typing import Any, Self

from chuk_sessions import ProviderError, SessionError, SessionManager
from chuk_sessions.providers import redis
from tests.sealed.places import KEYS
from tests.support.pages import REPOSITORY

__all__ = ["Process", "StillThere", "environment"]

PLAIN_FIELDS = "visits,count:*"


class StillThere(AssertionError):
    """A call of another process failed; the text is its error."""


def environment(keys: str = "", write: str = "", plaintext: str = "") -> dict[str, str]:
    """The variables of a process with the keys of these names."""
    texts = (f"{name}:{base64.b64encode(KEYS[name]).decode()}" for name in keys.split())
    return {
        "SESSION_ENCRYPTION_KEYS": ",".join(texts),
        "SESSION_ENCRYPTION_WRITE": write,
        "SESSION_ENCRYPTION_PLAINTEXT": plaintext,
        "SESSION_ENCRYPTION_PLAIN_FIELDS": PLAIN_FIELDS,
    }


class Process:
    """A running worker; a context, after which it has ended."""

    def __init__(self, url: str, variables: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.sealed.worker", url],
            cwd=REPOSITORY,
            env=os.environ | variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._process.kill()
        self._process.communicate()

    def call(self, name: str, *args: Any, **options: Any) -> Any:
        """The result of a call of its manager. Raises StillThere with its error."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([name, args, options]) + "\n")
        self._process.stdin.flush()
        result, error = json.loads(self._process.stdout.readline())
        if error:
            raise StillThere(error)
        return result


async def main(url: str) -> None:
    """Until there are no more calls."""
    manager = SessionManager("box", redis.factory(url), strict=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        name, args, options = json.loads(line)
        try:
            answer = [await getattr(manager, name)(*args, **options), ""]
        except (SessionError, ProviderError) as exc:
            answer = [None, f"{type(exc).__name__}: {exc}"]
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
