"""Which calls of ``factory`` share a client, and with it their connections.

Rules this file keeps:

* One client for each URL, each reading of the environment that a client takes over, and each function of credentials.
* A bound method is made anew by each ``object.method``: what counts is its object and its function, by identity. Their
  ids are in the key of a client that holds them both, and the key goes with the client: no other object can have them.
* A client lives as long as a factory, a manager or an open session of it. Of those that nobody holds, the ones that
  were asked for last are kept, so that calling ``factory`` for each request costs no connection each time, and a new
  function each time fills neither the memory nor the server.
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
    """Gives clients; from any thread, and in a forked child too."""

    def __init__(self, kept: int = KEPT) -> None:
        self._most_kept = kept
        self._clients: WeakValueDictionary[Key, Client] = WeakValueDictionary()
        self._kept: OrderedDict[Key, Client] = OrderedDict()  # the one that was asked for last at the end
        self._renew_lock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew_lock)

    def client(self, url: str, credentials: Credentials | None = None) -> Client:
        """The client for these; the environment is read now."""
        insecure = insecure_from_env()
        key = (url, insecure, *_identity(credentials))
        dropped = None  # ends after the lock was given back
        with self._lock:
            client = self._clients.get(key)
            if client is None:
                client = self._clients[key] = Client(url, credentials, insecure)
            self._kept[key] = client
            self._kept.move_to_end(key)
            if len(self._kept) > self._most_kept:
                dropped = self._kept.popitem(last=False)
        del dropped
        return client

    def _renew_lock(self) -> None:
        self._lock = threading.RLock()  # a finalizer that runs meanwhile may ask for a client


def _identity(credentials: Credentials | None) -> Key:
    """What tells functions apart, as long as they live."""
    if credentials is None:
        return ()
    if isinstance(credentials, MethodType):
        return id(credentials.__self__), id(credentials.__func__)
    if isinstance(credentials, BuiltinMethodType):
        return id(credentials.__self__), credentials.__name__
    return (id(credentials),)
