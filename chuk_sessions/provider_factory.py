"""Finds the provider factory that the environment names."""

from __future__ import annotations

import logging
from contextlib import AsyncContextDecorator
from functools import cache
from importlib import import_module
from types import CoroutineType, ModuleType
from typing import Any

from chuk_sessions.environment import shown, variable
from chuk_sessions.exceptions import UnknownProvider
from chuk_sessions.provider import Factory
from chuk_sessions.workers import number_of_workers

__all__ = ["BUILT_IN", "factory_for_env", "factory_named"]

logger = logging.getLogger(__name__)

PACKAGE = "chuk_sessions.providers"
BUILT_IN = {
    "memory": "memory",
    "mem": "memory",
    "inmemory": "memory",
    "redis": "redis",
    "redis_store": "redis",
    "valkey": "redis",
    "valkey_store": "redis",
}


def factory_for_env() -> Factory:
    """Return the factory of the provider that ``SESSION_PROVIDER`` names; memory if it is unset or blank.

    The name is one of ``memory``, ``mem``, ``inmemory``, ``redis``, ``redis_store``, ``valkey``, ``valkey_store``, in
    any case; or a module of ``chuk_sessions.providers``; or the dotted path of any importable module. An error inside
    that module passes through.

    Returns:
        The result of the module's ``factory()``; if that is an asynchronous context manager, ``factory`` itself.

    Raises:
        UnknownProvider: There is no such module, or no usable ``factory`` in it. Also a ProviderError and a
            ModuleNotFoundError.
    """
    name = variable("SESSION_PROVIDER")
    if not name and variable("SESSION_REDIS_URL"):
        _warn_of_memory()
    if BUILT_IN.get(name.lower() or "memory") == "memory":
        _warn_of_workers()
    return factory_named(name or "memory", "SESSION_PROVIDER")


@cache
def _warn_of_memory() -> None:
    """Log, once per process, that the URL of a server is set but memory is used."""
    logger.warning(
        "SESSION_REDIS_URL is set and SESSION_PROVIDER is not: sessions are kept in the memory of this process;"
        " SESSION_PROVIDER=redis uses the server"
    )


@cache
def _warn_of_workers() -> None:
    """Log, once per process, that the workers of a server do not share their memory."""
    workers = number_of_workers()
    if workers > 1:
        logger.warning(
            "Sessions are kept in the memory of each process, and this is one of %d workers: a session that one worker"
            " has made is unknown to the others; SESSION_PROVIDER=redis keeps sessions on a server for all workers",
            workers,
        )


def factory_named(name: str, where: str) -> Factory:
    """Return the factory of the provider of that name. ``where`` names the setting in errors.

    Raises as ``factory_for_env``.
    """
    built_in = BUILT_IN.get(name.lower())
    module = import_module(f"{PACKAGE}.{built_in}") if built_in else _custom_module(name, where)
    make: Any = getattr(module, "factory", None)
    if not callable(make):
        raise UnknownProvider(f"{where}={name!r}: module {module.__name__} has no factory() function")
    made = make()
    if _is_context(made):
        return make  # type: ignore[no-any-return]
    if not callable(made) and not hasattr(made, "session_store"):
        if isinstance(made, CoroutineType):
            made.close()  # otherwise Python warns that it was never awaited
        raise UnknownProvider(
            f"{where}={name!r}: factory() of module {module.__name__} must return a provider factory,"
            f" got {type(made).__name__}"
        )
    return made  # type: ignore[no-any-return]


def _is_context(made: Any) -> bool:
    """Tell whether ``made`` is itself a context manager, and no factory of them.

    A context manager that is also a decorator can be called, but only to decorate a function.
    """
    return hasattr(type(made), "__aenter__") and (not callable(made) or isinstance(made, AsyncContextDecorator))


def _custom_module(name: str, where: str) -> ModuleType:
    is_path = all(map(str.isidentifier, name.split(".")))
    for path in (f"{PACKAGE}.{name}", name) if is_path else ():
        try:
            return import_module(path)
        except ModuleNotFoundError as exc:
            if exc.name is None or not f"{path}.".startswith(f"{exc.name}."):
                raise  # the module exists; a module that it imports does not
    known = ", ".join(BUILT_IN)
    hint = f" For the URL of a server set {where}=redis, and SESSION_REDIS_URL to the URL." if ":" in name else ""
    raise UnknownProvider(
        f"{where}={shown(name)} is no known provider ({known}), no module of {PACKAGE} and no importable module;"
        f" set it to one of these or to the dotted path of a module with factory().{hint}",
        name=f"{PACKAGE}.{name}" if is_path else None,
    )
