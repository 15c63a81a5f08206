"""``python -m examples.shop``: serves the shop on http://localhost:8000, with its sessions in memory or on Redis.

    pip install '.[fastapi]' uvicorn websockets
    python -m examples.shop --redis redis://localhost:6379

Browsers take secure cookies from http://localhost too; with another ``--host`` and without TLS they do not.
"""

from __future__ import annotations

import argparse

import uvicorn

from chuk_sessions import SessionManager
from chuk_sessions.providers import memory, redis
from examples.shop.app import create_app


def main() -> None:
    """Serve the shop until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m examples.shop", description="A shop with sessions.")
    parser.add_argument("--redis", metavar="URL", help="keep the sessions there and not in the memory of the process")
    parser.add_argument("--host", default="localhost")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    factory = redis.factory(options.redis) if options.redis else memory.factory()
    manager = SessionManager("shop", factory, strict=True, opaque_ids=True, max_sessions_per_user=5)
    uvicorn.run(create_app(manager), host=options.host, port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
