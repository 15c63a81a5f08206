"""TLS: the options of a URL for it, and the SSL context of connections.

A context is made in a thread, as reading the authorities of the system takes some 70 ms. It is kept until one of its
files has changed. The thread is not one of the loop's executor, which is the application's and may be full. One thread
at a time makes the context of a configuration, for all tasks that wait for it in any event loop.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import threading
from contextlib import suppress
from functools import cache

from chuk_sessions.environment import variable
from chuk_sessions.exceptions import ProviderError
from chuk_sessions.redis_client.config import TLSConfig
from chuk_sessions.redis_client.options import UNCHECKED, Options

__all__ = ["INSECURE_VARIABLE", "insecure_from_env", "tls_config", "tls_context"]

logger = logging.getLogger(__name__)

INSECURE_VARIABLE = "REDIS_TLS_INSECURE"
# In a client, "optional" is the same as "required": https://docs.python.org/3/library/ssl.html#ssl.CERT_OPTIONAL
REQUIREMENTS = {"required": True, "optional": True, "none": False}
REQUIREMENTS |= {f"cert_{name}": verify for name, verify in REQUIREMENTS.items()}
VERSIONS = {
    "tlsv1_2": ssl.TLSVersion.TLSv1_2,
    "tlsv1_3": ssl.TLSVersion.TLSv1_3,
    "771": ssl.TLSVersion.TLSv1_2,  # the numbers that redis-py takes
    "772": ssl.TLSVersion.TLSv1_3,
}
THREAD_NAME = "chuk_sessions TLS"
PATIENCE = 5.0  # seconds for reading the files
MAX_CONTEXTS = 64

Versions = tuple[tuple[int, ...] | None, ...]

_contexts: dict[TLSConfig, tuple[Versions, ssl.SSLContext]] = {}
_making: dict[tuple[TLSConfig, Versions], list[asyncio.Future[ssl.SSLContext]]] = {}
_lock = threading.Lock()  # guards both dicts


def insecure_from_env() -> bool:
    """Tell whether ``REDIS_TLS_INSECURE`` turns the verification of certificates off: only a clear yes does."""
    return variable(INSECURE_VARIABLE).lower() in ("1", "true", "yes", "on")


def tls_config(options: Options, insecure: bool) -> TLSConfig:
    """Read the TLS options of a ``rediss://`` URL. Raises ProviderError for a value that an option cannot have."""
    for name in ("ssl_validate_ocsp", "ssl_validate_ocsp_stapled"):
        if options.boolean(name, False):
            raise ProviderError(f"the option {name} of the Redis URL {UNCHECKED}")
    verify = options.one_of("ssl_cert_reqs", REQUIREMENTS, True)
    if insecure:
        warn_insecure(f"{INSECURE_VARIABLE} is set")
    elif not verify:
        warn_insecure("the Redis URL has ssl_cert_reqs=none")
    return TLSConfig(
        ca_certs=options.text("ssl_ca_certs", None),
        certfile=options.text("ssl_certfile", None),
        keyfile=options.text("ssl_keyfile", None),
        check_hostname=options.boolean("ssl_check_hostname", True),
        verify=verify and not insecure,
        ca_path=options.text("ssl_ca_path", None),
        ca_data=options.text("ssl_ca_data", None),
        key_password=options.text("ssl_password", None),
        ciphers=options.text("ssl_ciphers", None),
        minimum_version=options.one_of("ssl_min_version", VERSIONS, None),
        flags_on=_flags(options, "ssl_include_verify_flags"),
        flags_off=_flags(options, "ssl_exclude_verify_flags"),
    )


def _flags(options: Options, name: str) -> int:
    """Return the sum of a list of names of ``ssl.VerifyFlags``, with or without brackets."""
    flags = 0
    for each in options.text(name, "").strip("[]").replace(",", " ").split():
        if each not in ssl.VerifyFlags.__members__:
            known = ", ".join(ssl.VerifyFlags.__members__)
            raise ProviderError(f"the option {name} of the Redis URL must be a list of these: {known}")
        flags |= ssl.VerifyFlags[each]
    return flags


@cache
def warn_insecure(cause: str) -> None:
    """Log that the certificate is not verified, once per process and cause."""
    logger.warning("%s: the certificate of the Redis server is not verified", cause)


async def tls_context(tls: TLSConfig) -> ssl.SSLContext:
    """Return the context for a connection, made anew if a file has changed. Raises ProviderError for unusable files."""
    versions = _versions(tls)
    known = _contexts.get(tls)
    if known is not None and known[0] == versions:
        return known[1]
    future: asyncio.Future[ssl.SSLContext] = asyncio.get_running_loop().create_future()
    with _lock:
        waiting = _making.get((tls, versions))
        if waiting is None:
            threading.Thread(target=_make, args=(tls, versions), name=THREAD_NAME, daemon=True).start()
            waiting = _making[tls, versions] = []
        waiting.append(future)
    try:
        async with asyncio.timeout(PATIENCE):
            return await future
    except TimeoutError:
        raise ProviderError(f"the certificate files could not be read within {PATIENCE:g} s") from None


def _make(tls: TLSConfig, versions: Versions) -> None:
    """Make a context, in a thread of its own, and pass it to all tasks that wait for it."""
    context, error = None, None
    try:
        context = _context(tls)
    except Exception as exc:
        error = exc.with_traceback(None)  # a traceback would refer to this frame, and this frame to the error
    with _lock:
        waiting = _making.pop((tls, versions), [])
        if context is not None:
            _contexts.pop(tls, None)
            while len(_contexts) >= MAX_CONTEXTS:
                del _contexts[next(iter(_contexts))]
            _contexts[tls] = versions, context
    for future in waiting:
        with suppress(RuntimeError):  # its loop is closed: no task waits any more
            future.get_loop().call_soon_threadsafe(_settle, future, context, error)


def _settle(future: asyncio.Future[ssl.SSLContext], context: ssl.SSLContext | None, error: Exception | None) -> None:
    if future.done():
        return
    if context is not None:
        future.set_result(context)
    elif error is not None:
        future.set_exception(error)


def _after_fork_in_child() -> None:
    """Reset the lock and the work under way: the parent's threads are not here, and one may have had the lock."""
    global _lock
    _lock = threading.Lock()
    _making.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def _versions(tls: TLSConfig) -> Versions:
    """Return a value that changes if a certificate file is replaced: a new connection must use the new file."""
    names = [tls.ca_certs, tls.ca_path, tls.certfile, tls.keyfile]
    if tls.ca_certs is tls.ca_path is tls.ca_data is None:
        defaults = ssl.get_default_verify_paths()
        names += [defaults.cafile, defaults.capath]
    return tuple(_version(name) for name in names if name is not None)


def _version(name: str) -> tuple[int, ...] | None:
    try:
        found = os.stat(name)
    except (OSError, ValueError):
        return None  # loading the file will raise the error
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


def _context(tls: TLSConfig) -> ssl.SSLContext:
    context = _with_certificates(tls)
    context.check_hostname = tls.check_hostname and tls.verify
    if not tls.verify:
        context.verify_mode = ssl.CERT_NONE
    if tls.minimum_version is not None:
        context.minimum_version = ssl.TLSVersion(tls.minimum_version)
    context.verify_flags = ssl.VerifyFlags((context.verify_flags | tls.flags_on) & ~tls.flags_off)
    if tls.ciphers is not None:
        try:
            context.set_ciphers(tls.ciphers)
        except ssl.SSLError as exc:
            raise ProviderError("the option ssl_ciphers of the Redis URL names no cipher that OpenSSL has") from exc
    return context


def _with_certificates(tls: TLSConfig) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=tls.ca_certs, capath=tls.ca_path, cadata=tls.ca_data)
        if tls.certfile is not None:
            password = tls.key_password or ""  # never ask at a terminal
            context.load_cert_chain(tls.certfile, tls.keyfile, password=lambda: password)
    except (OSError, ValueError, TypeError) as exc:
        names = (tls.ca_certs, tls.ca_path, tls.ca_data and "ssl_ca_data", tls.certfile, tls.keyfile)
        files = ", ".join(name for name in names if name is not None)
        alone = tls.certfile is not None and tls.keyfile is None
        hint = "; without ssl_keyfile the key is looked for in ssl_certfile" if alone else ""
        raise ProviderError(f"the certificate files of the Redis URL ({files}) cannot be used: {exc}{hint}") from exc
    return context
