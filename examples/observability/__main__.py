"""``python -m examples.observability``: an application whose visitors come by themselves, with its metrics on a port.

    pip install '.[prometheus]'
    python -m examples.observability --redis redis://localhost:6379
    prometheus --config.file=examples/observability/prometheus.yml

The metrics are on http://localhost:8000/metrics. Stop the server, or make it slow: the alerts say so.
"""

from __future__ import annotations

import argparse
import asyncio
from contextlib import suppress

from prometheus_client import CollectorRegistry, start_http_server

from chuk_sessions.instrumentation.prometheus import SessionCollector
from chuk_sessions.providers import memory, redis
from examples.observability.app import Shop


def main() -> None:
    """Let the visitors come until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m examples.observability", description="A shop to be observed.")
    parser.add_argument("--redis", metavar="URL", default="redis://localhost:6379", help="where users' sessions are")
    parser.add_argument("--port", type=int, default=8000, help="of the metrics (%(default)s)")
    parser.add_argument("--visitors", type=int, default=20, help="how many there are at a time")
    parser.add_argument("--pause", type=float, default=0.5, help="seconds between two pages of a visitor")
    parser.add_argument("--max-guests", type=int, default=10_000, help="sessions of guests that memory may hold")
    parser.add_argument("--near-cache", type=float, default=0, help="seconds, as in SessionManager")
    options = parser.parse_args()
    users = redis.factory(options.redis, timings=True)
    guests = memory.factory(memory.MemoryStore(max_items=options.max_guests))
    shop = Shop(users, guests, options.near_cache)
    registry = CollectorRegistry()
    registry.register(SessionCollector(shop.metrics, users, guests))
    start_http_server(options.port, "127.0.0.1", registry)
    print(f"metrics: http://localhost:{options.port}/metrics", flush=True)
    with suppress(KeyboardInterrupt):
        asyncio.run(shop.open(options.visitors, options.pause))


if __name__ == "__main__":
    main()
