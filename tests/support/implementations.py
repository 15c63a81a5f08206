"""Every implementation of the two interfaces. A new one is one more function and one more line below.

A function makes a factory on a store that is empty and shared by nobody else; one that needs a Redis server asks
the request for it, so that only tests that run start one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chuk_sessions.providers import memory
from chuk_sessions.stores import StoreWrapper, stack
from tests.support import custom_provider

if TYPE_CHECKING:
    from chuk_sessions.provider import Factory


def make_memory(request: pytest.FixtureRequest) -> Factory:
    return memory.factory(memory.MemoryStore())


def make_wrapped(request: pytest.FixtureRequest) -> Factory:
    """Memory behind a wrapper that overrides nothing, which must not be noticed."""
    return stack(make_memory(request), StoreWrapper)


def make_memory_without_a_gil(request: pytest.FixtureRequest) -> Factory:
    """The store of a free-threaded Python, on any."""
    request.getfixturevalue("no_gil")
    return make_memory(request)


def make_redis(request: pytest.FixtureRequest) -> Factory:
    from chuk_sessions.providers import redis

    return redis.factory(request.getfixturevalue("redis_url"))


def make_legacy(request: pytest.FixtureRequest) -> Factory:
    """With SESSION_LEGACY_READ, which changes nothing for sessions of our own."""
    request.getfixturevalue("monkeypatch").setenv("SESSION_LEGACY_READ", "1")
    return make_redis(request)


def make_sentinel(request: pytest.FixtureRequest) -> Factory:
    from chuk_sessions.providers import redis

    return redis.factory(request.getfixturevalue("sentinel_url"))


def make_cluster(request: pytest.FixtureRequest) -> Factory:
    from chuk_sessions.providers import redis

    return redis.factory(request.getfixturevalue("cluster_url"))


def make_legacy_cluster(request: pytest.FixtureRequest) -> Factory:
    """The same in a cluster, where it goes another way."""
    request.getfixturevalue("monkeypatch").setenv("SESSION_LEGACY_READ", "1")
    return make_cluster(request)


def make_custom(request: pytest.FixtureRequest) -> Factory:
    return custom_provider.factory()


CLUSTER_SKEW = 0.1  # seconds: on a virtual machine the clocks of two masters, which are processes, differ by some ms


def on_a_cluster(request: pytest.FixtureRequest) -> bool:
    """Whether the implementation that this test has been given is on a cluster."""
    return any(value in (make_cluster, make_legacy_cluster) for value in request.node.callspec.params.values())


# These differ from another one in our own code alone: not in the server, nor in what Python does for them.
REPEATED = pytest.mark.repeated
# What keeps the provider interface in full: set, fractions of a second, checked arguments.
PROVIDERS = (
    pytest.param(make_memory, id="memory"),
    pytest.param(make_memory_without_a_gil, id="memory-no-gil", marks=REPEATED),
    pytest.param(make_redis, id="redis", marks=pytest.mark.redis),
    pytest.param(make_sentinel, id="sentinel", marks=[pytest.mark.redis, REPEATED]),
    pytest.param(make_cluster, id="cluster", marks=pytest.mark.redis),
)
# What can keep more than one key at a time, and so knows which sessions belong to whom.
INDEXED = (
    *PROVIDERS,
    pytest.param(make_legacy, id="redis-legacy", marks=pytest.mark.redis),
    pytest.param(make_wrapped, id="wrapped", marks=REPEATED),
    pytest.param(make_legacy_cluster, id="cluster-legacy", marks=[pytest.mark.redis, REPEATED]),
)
# What sessions can be kept in.
STORES = (*INDEXED, pytest.param(make_custom, id="custom"))
