"""Opens a connection: connects a socket, encrypts it if asked, logs in, and makes sure that the server answers."""

from __future__ import annotations

import asyncio
import math
import os
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial

from chuk_sessions.exceptions import NoPermissionError, NotSent, ProviderError
from chuk_sessions.redis_client.commands import Command, Reply
from chuk_sessions.redis_client.config import RedisConfig, TLSConfig
from chuk_sessions.redis_client.connection import Connection
from chuk_sessions.redis_client.login import ask_for_login
from chuk_sessions.redis_client.names import Place, addresses_of
from chuk_sessions.redis_client.race import Attempt, Begin, first_of
from chuk_sessions.redis_client.timed import TimedConnection
from chuk_sessions.redis_client.tls import tls_context

__all__ = ["OnLost", "answer_within", "open_connection"]

NAME_MISMATCHES = (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
KEEP_IDLE, KEEP_INTERVAL, KEEP_COUNT = 15, 5, 3  # seconds, seconds, number of probes
OnLost = Callable[[Connection, list[Command], list[Command]], None]


async def open_connection(
    config: RedisConfig, loop: asyncio.AbstractEventLoop, on_lost: OnLost, last_try: bool = False
) -> Connection:
    """Open a connection that has logged in, chosen its database and answered.

    All addresses of a name are tried. An address that does not answer does not hold up the next one.

    Raises NotSent that names the server, its addresses and the reason: refused, no answer within the connect timeout,
    wrong password. If the server itself refused, its error is the cause.
    """
    cause: BaseException | None = None
    attempts: list[Attempt] = []
    try:
        context = None if config.tls is None else await tls_context(config.tls)
        begun = loop.time()
        async with asyncio.timeout(config.connect_timeout):
            connection = await _open(config, loop, on_lost, context, attempts)
        if not connection.lost.done():
            return connection
        reason = connection.reason
    except TimeoutError:
        if not last_try and loop.time() - begun > 1.5 * config.connect_timeout:  # the application held up the loop
            return await open_connection(config, loop, on_lost, last_try=True)
        reason = _reason_of_silence(config, attempts)
    except OSError as exc:
        reason = _reason(exc)
    except ValueError:  # the host has an empty or overlong label
        reason = "the host name is not valid"
    except ProviderError as exc:
        reason, cause = str(exc), exc.__cause__ if isinstance(exc, NotSent) else exc.with_traceback(None)
    raise NotSent(f"cannot connect to Redis at {config.address}: {reason}{_places(config, attempts)}") from cause


def _reason_of_silence(config: RedisConfig, attempts: list[Attempt]) -> str:
    within = f"within {config.connect_timeout:g} s"
    if config.path is None and not attempts:
        return f"the name was not resolved {within}"
    return f"no answer {within}" + ("" if config.tls is None else "; does that port speak TLS?")


def _places(config: RedisConfig, attempts: list[Attempt]) -> str:
    """List the addresses that were tried, unless the host is the address; each with its reason if there are several."""
    if len(attempts) > 1:
        return f" ({'; '.join(f'{attempt.address}: {attempt.reason}' for attempt in attempts)})"
    return "".join(f" (at {attempt.address})" for attempt in attempts if attempt.address != config.host)


async def _open(
    config: RedisConfig,
    loop: asyncio.AbstractEventLoop,
    on_lost: OnLost,
    context: ssl.SSLContext | None,
    attempts: list[Attempt],
) -> Connection:
    """Open over the Unix socket of ``config``, or the first address of its host that answers. Adds to ``attempts``."""
    if config.path is not None:
        return await _open_at(config, loop, on_lost, context, None, Attempt(config.path))
    begins: list[Begin] = []
    for place in await addresses_of(config.host, config.port):
        attempt = Attempt(place[2][0])
        attempts.append(attempt)
        begins.append(partial(_open_at, config, loop, on_lost, context, place, attempt))
    if len(attempts) == 1:
        return await begins[0]()
    return await first_of(zip(attempts, begins, strict=True))


async def _open_at(
    config: RedisConfig,
    loop: asyncio.AbstractEventLoop,
    on_lost: OnLost,
    context: ssl.SSLContext | None,
    place: Place | None,
    attempt: Attempt,
) -> Connection:
    """Open at one address. Raises NotSent with the reason; if the server itself refused, its error is the cause."""
    connection = (TimedConnection if config.timings else Connection)(loop, on_lost, config.max_in_flight)
    cause: ProviderError | None = None
    try:
        await _connect(connection, config, context, loop, place, attempt)
        await _log_in(connection, config)
        if connection.lost.done():
            raise NotSent(connection.reason)
    except ssl.SSLCertVerificationError as exc:
        hint = "the name can go unchecked with ssl_check_hostname=false"
        if exc.verify_code not in NAME_MISMATCHES:
            hint = "ssl_ca_certs names the authority to trust"
        reason = f"the server's certificate is not trusted: {exc.verify_message}; {hint}"
    except ssl.SSLError as exc:
        reason = f"TLS failed: {exc.reason or type(exc).__name__}"
        if "ALERT" in reason:
            reason += _certificate_hint(config.tls)
    except OSError as exc:
        reason = _reason(exc)
    except ProviderError as exc:
        reason, cause = str(exc), exc.with_traceback(None)  # the traceback would hold this frame, and it the error
        if connection.lost.done() and not connection.heard and config.path is None:
            reason += _certificate_hint(config.tls)
    except BaseException:
        connection.abort("connecting was given up")
        raise
    else:
        return connection
    connection.abort(reason)
    attempt.reason = reason
    raise NotSent(reason) from cause


def _certificate_hint(tls: TLSConfig | None) -> str:
    """Suggest why a server hung up. With TLS 1.3 it may do so after the handshake is over on our side."""
    if tls is None:
        return "; if that port speaks TLS, the URL must begin with rediss://"
    if tls.certfile is None:
        return "; if the server asks for a client certificate, ssl_certfile and ssl_keyfile name it"
    return "; the server may not trust the client certificate of ssl_certfile"


async def answer_within(seconds: float, question: asyncio.Future[Reply]) -> Reply:
    """Return the reply, or raise TimeoutError. If the application held up the loop, wait once more."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    try:
        done, _ = await asyncio.wait([question], timeout=seconds)
        if not done and loop.time() - begun > 1.5 * seconds:
            done, _ = await asyncio.wait([question], timeout=seconds)
        if not done:
            raise TimeoutError
        return question.result()
    finally:
        question.cancel()


def _reason(exc: OSError) -> str:
    """Return the system's text for the error if it has a number of the system: asyncio's own text hides the reason."""
    if exc.errno is not None and exc.errno > 0 and not isinstance(exc, socket.gaierror):
        return os.strerror(exc.errno)
    return exc.strerror or str(exc) or type(exc).__name__


async def _connect(
    connection: Connection,
    config: RedisConfig,
    context: ssl.SSLContext | None,
    loop: asyncio.AbstractEventLoop,
    place: Place | None,
    attempt: Attempt,
) -> None:
    if place is None:
        await loop.create_unix_connection(lambda: connection, config.path)
        return
    family, protocol, address = place
    sock = socket.socket(family, socket.SOCK_STREAM, protocol)
    try:
        sock.setblocking(False)
        await loop.sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    attempt.is_connected = True
    name = None if context is None else config.host
    transport, _ = await loop.create_connection(lambda: connection, sock=sock, ssl=context, server_hostname=name)
    _keep_alive(transport.get_extra_info("socket"), config.timeout)


def _keep_alive(sock: socket.socket | None, timeout: float) -> None:
    """Let the system find a peer that has silently gone, as far as it can.

    The system probes an idle peer after ``KEEP_IDLE`` seconds. After ``KEEP_COUNT`` probes without an answer the peer
    is gone. Bytes that are not acknowledged within ``timeout`` end the connection (Linux: TCP_USER_TIMEOUT, RFC 5482).
    """
    options = {
        "TCP_KEEPIDLE": KEEP_IDLE,
        "TCP_KEEPALIVE": KEEP_IDLE,  # the same on macOS
        "TCP_KEEPINTVL": KEEP_INTERVAL,
        "TCP_KEEPCNT": KEEP_COUNT,
        "TCP_USER_TIMEOUT": min(math.ceil(timeout * 1000), 2**31 - 1),
    }
    if sock is None:
        return
    with suppress(OSError):  # a connection without keepalive works too
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in options.items():
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


async def _log_in(connection: Connection, config: RedisConfig) -> None:
    if config.credentials is not None:
        login = await ask_for_login(config.credentials)
        connection.login_since, connection.renew_in = asyncio.get_running_loop().time(), login.renew_in
        config = replace(config, username=login.user, password=login.password)
    for reply in await asyncio.gather(*_greetings(connection, config), return_exceptions=True):
        if isinstance(reply, BaseException):
            raise reply
    with suppress(NoPermissionError):  # a refusal is an answer too
        await connection.request(b"PING")  # a stopped server accepts connections; only an answer shows that it lives


def _greetings(connection: Connection, config: RedisConfig) -> list[asyncio.Future[Reply]]:
    requests = []
    if config.password is not None:
        user = () if config.username is None else (config.username,)
        requests.append(connection.request(b"AUTH", *user, config.password))
    if config.protocol != 2:
        requests.append(connection.request(b"HELLO", config.protocol))
    if config.client_name:
        requests.append(connection.request(b"CLIENT", b"SETNAME", config.client_name))
    if config.db:
        requests.append(connection.request(b"SELECT", config.db))
    return requests
