"""From the environment to a provider factory."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any

from chuk_sessions.environment import variable
from chuk_sessions.exceptions import UnknownProvider
from chuk_sessions.provider import Factory

__all__ = ["BUILT_IN", "factory_for_env", "factory_named"]

PACKAGE = "chuk_sessions.providers"
BUILT_IN = {
    "memory": "memory",
    "mem": "memory",
    "inmemory": "memory",
    "redis": "redis",
    "redis_store": "redis",
}


def factory_for_env() -> Factory:
    """The factory of the provider that ``SESSION_PROVIDER`` names; memory if it is unset or empty.

    The name is one of ``memory``, ``mem``, ``inmemory``, ``redis``, ``redis_store``, in any case; or a module of
    ``chuk_sessions.providers``; or the dotted path of any importable module. The module's ``factory()`` is called and
    what it returns is returned. Raises UnknownProvider (a ProviderError and an ImportError) if there is no such module
    or no ``factory`` in it; whatever goes wrong inside the module is not hidden.
    """
    name = variable("SESSION_PROVIDER") or "memory"
    return factory_named(name, "SESSION_PROVIDER")


def factory_named(name: str, where: str) -> Factory:
    """The factory of the provider of that name; ``where`` says in errors where the name stands. Raises likewise."""
    built_in = BUILT_IN.get(name.lower())
    module = import_module(f"{PACKAGE}.{built_in}") if built_in else _custom_module(name, where)
    make: Any = getattr(module, "factory", None)
    if not callable(make):
        raise UnknownProvider(f"{where}={name!r}: module {module.__name__} has no factory() function")
    return make()  # type: ignore[no-any-return]


def _custom_module(name: str, where: str) -> ModuleType:
    paths = (f"{PACKAGE}.{name}", name) if all(map(str.isidentifier, name.split("."))) else ()
    for path in paths:
        try:
            return import_module(path)
        except ModuleNotFoundError as exc:
            if exc.name is None or not f"{path}.".startswith(f"{exc.name}."):
                raise  # the module is there; something that it imports is not
    known = ", ".join(BUILT_IN)
    raise UnknownProvider(
        f"{where}={name!r} is no known provider ({known}), no module of {PACKAGE}"
        " and no importable module; set it to one of these or to the dotted path of a module with factory()"
    )
