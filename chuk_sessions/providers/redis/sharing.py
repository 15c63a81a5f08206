"""Decides which calls of ``factory`` share a client, and with it their connections.

Rules this file keeps:

* There is one client for each URL, each value of the environment that a client takes over, each function of
  credentials, and each value of ``timings``.
* Each ``object.method`` makes a new bound method. So the key has the identities of its object and its function. The
  client holds them both, and the key is dropped with the client: no other object can have these identities meanwhile.
* A client lives as long as a factory, a manager or an open session holds it. Of the clients that none of these holds,
  the ``KEPT`` that were asked for last are kept. So calling ``factory`` for each request does not make a connection
  each time, and a new function each time fills neither the memory nor the server.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from types import BuiltinMethodType, MethodType
from weakref import WeakValueDictionary

from chuk_sessions.redis_client.client import Client
from chuk_sessions.redis_client.config import Credentials
from chuk_sessions.redis_client.tls import insecure_from_env

__all__ = ["SharedClients"]

KEPT = 100

Key = tuple[object, ...]


class SharedClients:
    """Gives shared clients, from any thread, and in a forked child too."""

    def __init__(self, kept: int = KEPT) -> None:
        self._most_kept = kept
        self._clients: WeakValueDictionary[Key, Client] = WeakValueDictionary()
        self._kept: OrderedDict[Key, Client] = OrderedDict()  # at the end the client that was asked for last
        self._renew_lock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew_lock)

    def client(self, url: str, credentials: Credentials | None = None, timings: bool = False) -> Client:
        """Return the client for this URL, these credentials and ``timings``; the environment is read now."""
        insecure = insecure_from_env()
        key = (url, insecure, timings, *_identity(credentials))
        dropped = None  # this client ends after the lock is released
        with self._lock:
            client = self._clients.get(key)
            if client is None:
                client = self._clients[key] = Client(url, credentials, insecure, timings)
            self._kept[key] = client
            self._kept.move_to_end(key)
            if len(self._kept) > self._most_kept:
                dropped = self._kept.popitem(last=False)
        del dropped
        return client

    def _renew_lock(self) -> None:
        self._lock = threading.RLock()  # a finalizer that runs meanwhile may ask for a client


def _identity(credentials: Credentials | None) -> Key:
    """Return the identity of a function, which no other function has while this one lives."""
    if credentials is None:
        return ()
    if isinstance(credentials, MethodType):
        return id(credentials.__self__), id(credentials.__func__)
    if isinstance(credentials, BuiltinMethodType):
        return id(credentials.__self__), credentials.__name__
    return (id(credentials),)
