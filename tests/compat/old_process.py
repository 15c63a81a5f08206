"""A process of a published version that goes on serving: a JSON line [call, arguments] in, a JSON line out.

`python old_process.py REDIS_URL SANDBOX`. Needs nothing but the chuk-sessions of its environment.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import os
import sys


async def serve(sandbox_id: str) -> None:
    """Answer until the input ends. One manager all the time, with the cache that the published versions have."""
    manager = importlib.import_module("chuk_sessions.session_manager").SessionManager(sandbox_id=sandbox_id)
    while line := await asyncio.to_thread(sys.stdin.readline):
        name, arguments = json.loads(line)
        print(json.dumps(await getattr(manager, name)(**arguments)), flush=True)


if __name__ == "__main__":
    sys.path.pop(0)  # this folder
    logging.disable()
    os.environ |= {"SESSION_PROVIDER": "redis", "SESSION_REDIS_URL": sys.argv[1]}
    asyncio.run(serve(sys.argv[2]))
