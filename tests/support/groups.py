"""What Sentinel and Cluster deployments share: servers that start and end together, and waiting for them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple, Self, TypeVar

from tests.support.servers import ReplyError, ServerError, conf_quote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tests.support.servers import RedisServer

PATIENCE = 20.0  # seconds; only what has gone wrong takes so long
POLL_SECONDS = 0.01
# A replica in sync at once. Through a socket, a full sync waits for further replicas (5 s in Redis 7), and its
# master begins to send what is new only with the acknowledgement a second later.
REPLICATION = ("repl-diskless-sync no", "repl-ping-replica-period 1")

T = TypeVar("T")


class Login(NamedTuple):
    """With what applications, replicas and Sentinels log in to the data servers; empty where none is asked for."""

    username: str = ""
    password: str = ""

    @classmethod
    def first(cls, password: str, users: Mapping[str, str]) -> Login:
        """The first ACL user if there is one, else the default user."""
        return cls(*next(iter(users.items()))) if users else cls("", password)

    def settings(self, user_setting: str, password_setting: str) -> Iterator[str]:
        """Lines of redis.conf that make one server log in to another."""
        if self.username:
            yield f"{user_setting} {conf_quote(self.username)}"
        if self.password:
            yield f"{password_setting} {conf_quote(self.password)}"


def closed_default(password: str, users: Mapping[str, str]) -> list[str]:
    """Nobody gets in without a login once there are users: an open default user would hide a lost login."""
    return ["user default off"] if users and not password else []


class ServerGroup:
    """Servers that start and end together; `with` starts them, as does `start`."""

    @property
    def members(self) -> Sequence[RedisServer]:
        """All servers of the group, of whatever kind."""
        raise NotImplementedError

    def _form(self) -> None:
        raise NotImplementedError

    def start(self) -> Self:
        """Start all and return when they work together; ServerError with their logs if they do not."""
        if self.members:
            raise ServerError(f"these servers are started already: {self.members}")
        try:
            self._form()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Kill all and remove their folders; calling it again does nothing."""
        for member in self.members:
            member.stop()

    def wait(self, answer: Callable[[], T], what: str, seconds: float = PATIENCE) -> T:
        """The first true answer; a server that is away or refuses counts as "not yet"."""
        deadline = time.monotonic() + seconds
        while True:
            problem: object = "no"
            try:
                if found := answer():
                    return found
            except (OSError, ReplyError) as error:
                problem = error
            if time.monotonic() > deadline:
                raise ServerError(f"not within {seconds} s: {what}; last answer: {problem}\n{self._logs()}")
            time.sleep(POLL_SECONDS)

    def wait_until_replicated(self, master: RedisServer) -> None:
        """Until its replicas have all that it has been told so far, by whichever connection.

        WAIT asks for what its own connection wrote: where that wrote nothing, it says yes at once.
        """
        offset = int(master.info("replication")["master_repl_offset"])
        self.wait(lambda: self._has_replicas_at(master, offset), f"replicas that have what {master!r} has")

    def _has_replicas_at(self, master: RedisServer, offset: int) -> bool:
        infos = [member.info("replication") for member in self.members if member.running and member is not master]
        followers = [info for info in infos if info.get("master_port") == str(master.port)]
        return bool(followers) and all(int(info["slave_repl_offset"]) >= offset for info in followers)

    def _logs(self) -> str:
        started = (member for member in self.members if member.port)
        return "\n".join(f"--- {member!r}, running: {member.running}\n{member.log}" for member in started)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
