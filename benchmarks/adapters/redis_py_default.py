"""redis-py's asyncio client as it is without any argument but the URL: a pool of at most 100 connections."""

from __future__ import annotations

from benchmarks.adapters import redis_py


class Library(redis_py.Library):
    options = redis_py.TEXT
