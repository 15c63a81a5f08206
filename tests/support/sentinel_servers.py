"""A real Sentinel deployment: a master, its replicas and three Sentinels, each guarded as every server of ours.

Goal: a killed master is replaced within 2-3 s, once and not twice, and a new deployment is ready within 1 s.

* Sentinels make themselves known to each other by messages that they publish every 2 s. We publish the first
  ones for them, so that `start` need not wait for that.
* Nothing here decides a failover: that is theirs, and takes `down_after_ms`, an election, and one look (at most
  1 s later) at whether the promoted replica has become a master.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn
from urllib.parse import urlencode

from tests.support.groups import REPLICATION, Login, ServerGroup, closed_default
from tests.support.servers import RedisServer, Reply, ServerError, login_part

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.support.tls_files import TlsFiles

MASTER_NAME = "mymaster"
SENTINELS = 3
QUORUM = 2
NEVER_MS = 3_600_000  # an age that means "never asked": then Sentinels give the milliseconds since 1970


class SentinelServer(RedisServer):
    """One Sentinel; `options` must name what it monitors."""

    arguments = ("--sentinel",)

    def master_port(self) -> int | None:
        """The port of whom it holds for the master."""
        address = self.command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER_NAME)
        return int(str(address[1])) if isinstance(address, list) else None

    def about(self, what: str) -> list[dict[str, str]]:
        """Its knowledge of REPLICAS or SENTINELS, field to value."""
        rows = self.command("SENTINEL", what, MASTER_NAME)
        return [_as_dict(row) for row in rows] if isinstance(rows, list) else []

    def belief(self) -> tuple[int | None, str, str]:
        """Who is the master, since which epoch, and how it is: equal on all Sentinels once nothing is going on."""
        master = _as_dict(self.command("SENTINEL", "MASTER", MASTER_NAME))
        return self.master_port(), master["config-epoch"], master["flags"]

    def is_ready(self, replicas: int) -> bool:
        """Whether it could lead a failover: it sees all others, and knows enough of each replica to choose it."""
        seen = [(row["flags"], int(row["info-refresh"]) < NEVER_MS) for row in self.about("REPLICAS")]
        # An opinion that another one had of the old master stands for 5 s, and does no harm.
        others = [row["flags"].removesuffix(",master_down") for row in self.about("SENTINELS")]
        enough = seen == [("slave", True)] * replicas and others == ["sentinel"] * (SENTINELS - 1)
        return enough and str(self.command("SENTINEL", "CKQUORUM", MASTER_NAME)).startswith("OK")


class SentinelServers(ServerGroup):
    """A master, replicas and three Sentinels on loopback.

    Args:
        options: Further settings of the data servers, as lines of redis.conf.
        replicas: How many replicas follow the master.
        down_after_ms: After which silence a Sentinel holds the master for down. With less than 1200 it may hold a
            new master for down that is well, and fail over once more: it connects to a server once a second only.
        failover_timeout_ms: How long one attempt may take; the next one begins after twice that time.
        which: The binary, as for `find_binary`.
        password: Asked of the default user by the data servers.
        users: ACL users of the data servers, name to password. The first is the login of `url`, of replication
            and of the Sentinels; without a `password` the default user is then switched off.
        sentinel_password: Asked by the Sentinels.
        sentinel_user: With it, the Sentinels know this user only.
        tls: With these files all of them speak TLS, among themselves too, and nothing else.
    """

    def __init__(
        self,
        *options: str,
        replicas: int = 1,
        down_after_ms: int = 1200,
        failover_timeout_ms: int = 2000,
        which: str | None = None,
        password: str = "",
        users: Mapping[str, str] | None = None,
        sentinel_password: str = "",
        sentinel_user: str = "",
        tls: TlsFiles | None = None,
    ) -> None:
        self.login = Login.first(password, users or {})
        self.sentinel_login = Login(sentinel_user, sentinel_password)
        self._timings = {"down-after-milliseconds": down_after_ms, "failover-timeout": failover_timeout_ms}
        self._which, self._tls = which, tls
        self._replicas = replicas
        self._passwords = password, users or {}
        self._options = options
        self.servers: list[RedisServer] = []
        self.sentinels: list[SentinelServer] = []

    @property
    def members(self) -> Sequence[RedisServer]:
        """Data servers and Sentinels."""
        return [*self.servers, *self.sentinels]

    # -- starting --------------------------------------------------------------------------------------------

    def _form(self) -> None:
        first = self._start_data_server()
        for _ in range(self._replicas):
            self._start_data_server(f"replicaof {first.host} {first.port}")
        self.wait(lambda: self._is_followed(first), "replicas in sync")
        for _ in range(SENTINELS):
            self._start_sentinel(first)
        self._introduce(first)
        self.wait(self._sentinels_are_ready, "Sentinels that know all others and can fail over")

    def _start_data_server(self, *lines: str) -> RedisServer:
        password, users = self._passwords
        replication = self.login.settings("masteruser", "masterauth")
        options = (*closed_default(password, users), *REPLICATION, *replication, *lines, *self._options)
        server = RedisServer(*options, which=self._which, password=password, users=users, tls=self._tls)
        server.username, server.password = self.login
        self.servers.append(server)
        return server.start()

    def _start_sentinel(self, master: RedisServer) -> None:
        user, password = self.sentinel_login
        users = {user: password} if user else {}
        lines = (*closed_default("", users), *self._sentinel_settings(master))
        sentinel = SentinelServer(
            *lines, which=self._which, password="" if user else password, users=users, tls=self._tls
        )
        sentinel.username, sentinel.password = self.sentinel_login
        self.sentinels.append(sentinel)
        sentinel.start()

    def _sentinel_settings(self, master: RedisServer) -> Iterator[str]:
        yield f"sentinel monitor {MASTER_NAME} {master.host} {master.port} {QUORUM}"
        yield f"sentinel parallel-syncs {MASTER_NAME} 1"
        for name, value in self._timings.items():
            yield f"sentinel {name} {MASTER_NAME} {value}"
        yield from self.login.settings(f"sentinel auth-user {MASTER_NAME}", f"sentinel auth-pass {MASTER_NAME}")
        yield from self.sentinel_login.settings("sentinel sentinel-user", "sentinel sentinel-pass")

    def _introduce(self, master: RedisServer) -> None:
        """Publish to each Sentinel what each other one will publish within 2 s."""
        for known in self.sentinels:
            own_id = known.command("SENTINEL", "MYID")
            hello = (known.host, known.port, own_id, 0, MASTER_NAME, master.host, master.port, 0)
            for other in self.sentinels:
                if other is not known:
                    other.command("PUBLISH", "__sentinel__:hello", ",".join(map(str, hello)))

    def _sentinels_are_ready(self) -> bool:
        return all(sentinel.is_ready(self._replicas) for sentinel in self.sentinels)

    def stop(self) -> None:
        """Kill all and remove their folders; calling it again does nothing."""
        super().stop()
        self.servers, self.sentinels = [], []

    # -- reaching them ---------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """The URL that an application would be given."""
        return self.url_for(*self.login)

    def url_for(self, username: str = "", password: str = "", db: int | None = None) -> str:
        """A URL to these Sentinels with another login for the data servers, or for another database."""
        hosts = ",".join(f"{sentinel.host}:{sentinel.port}" for sentinel in self.sentinels)
        path = MASTER_NAME if db is None else f"{MASTER_NAME}/{db}"
        options = dict(zip(("sentinel_username", "sentinel_password"), self.sentinel_login, strict=True))
        queries = [urlencode({name: value for name, value in options.items() if value})]
        queries += [self._tls.query] if self._tls else []
        query = "&".join(filter(None, queries))
        scheme = "rediss" if self._tls else "redis"
        return f"{scheme}://{login_part(username, password)}{hosts}/{path}{query and '?' + query}"

    @property
    def master(self) -> RedisServer:
        """Whom the Sentinels hold for the master, and who says so itself; ServerError if there is none now."""
        return self._master_other_than(None) or self._no_master()

    def _no_master(self) -> NoReturn:
        raise ServerError(f"no Sentinel names a server that is a master now\n{self._logs()}")

    def _master_other_than(self, old: RedisServer | None) -> RedisServer | None:
        ports = [sentinel.master_port() for sentinel in self.sentinels if sentinel.running]
        named = (server for server in self.servers if server.port in ports and server is not old)
        return next(filter(is_master, named), None)

    def flush(self) -> None:
        """Empty all databases of the master; its replicas follow."""
        self.master.flush()

    # -- failing over ----------------------------------------------------------------------------------------

    def failover(self) -> RedisServer:
        """Let the Sentinels promote a replica while the master is well; the new master, the old one demoted.

        The Sentinels would leave the old master a master for 8-10 s more, and then also close its connections.
        It is demoted here at once, and keeps them: clients that do not ask again meet READONLY.
        """
        old = self.master
        # Refused until that Sentinel has ended an earlier failover, and has seen the replica in good health.
        leader = next(sentinel for sentinel in self.sentinels if sentinel.running)
        self.wait(lambda: leader.command("SENTINEL", "FAILOVER", MASTER_NAME), "a failover that begins")
        new = self.wait_for_promotion(old)
        _demote(old, new)
        return new

    def wait_for_promotion(self, old: RedisServer) -> RedisServer:
        """The new master, as soon as a Sentinel names it; the other Sentinels may need up to 2 s more."""
        new = self.wait(lambda: self._master_other_than(old), f"a master other than {old!r}")
        assert new is not None
        return new

    def wait_until_synced(self) -> None:
        """Until all running Sentinels name one master, and all other running data servers follow it, in sync."""
        self.wait(self._is_synced, "one master that all others follow, in sync")

    def _is_synced(self) -> bool:
        master = self._agreed_master()
        return master is not None and self._is_followed(master)

    def _agreed_master(self) -> RedisServer | None:
        beliefs = {sentinel.belief() for sentinel in self.sentinels if sentinel.running}
        agreed = [port for port, _, flags in beliefs if flags == "master"] if len(beliefs) == 1 else []
        return next((server for server in self.servers if server.port in agreed and is_master(server)), None)

    def _is_followed(self, master: RedisServer) -> bool:
        others = [server for server in self.servers if server.running and server is not master]
        return all(_follows(server, master) for server in others) and _is_acknowledged(master, len(others))

    def revive(self) -> None:
        """Bring back what was killed or paused, as replicas of the present master, and wait until all is well.

        A master that was killed and not yet replaced comes back empty, as ours save nothing unless told to, and
        its replica, if that is not promoted even now, is emptied with it.
        """
        self._restart_all()
        self.wait(self._is_repaired, "one master that all others follow, and Sentinels that can fail over again")

    def _is_repaired(self) -> bool:
        """Does what the Sentinels would do after 8-10 s; asked again and again, as they may be failing over still."""
        master = self._agreed_master()
        for server in self.servers:
            if master and server is not master and is_master(server):
                _demote(server, master)
        return self._is_synced() and self._sentinels_are_ready()

    def _restart_all(self) -> None:
        master = self._master_other_than(None)
        for member in self.members:
            if member.paused:
                member.resume()
            elif not member.running:
                # Sentinels that once heard it call itself a master might look again only 10 s later.
                member.restart(*[f"replicaof {master.host} {master.port}"] if master and member in self.servers else [])


def _as_dict(row: Reply) -> dict[str, str]:
    fields = list(map(str, row)) if isinstance(row, list) else []
    return dict(zip(fields[::2], fields[1::2], strict=True))


def is_master(server: RedisServer) -> bool:
    """Whether the server runs and calls itself a master. Blocks."""
    role = server.command("ROLE") if server.running else None
    return isinstance(role, list) and role[0] == "master"


def _follows(replica: RedisServer, master: RedisServer) -> bool:
    info = replica.info("replication")
    return info.get("master_port") == str(master.port) and info["master_link_status"] == "up"


def _is_acknowledged(master: RedisServer, replicas: int) -> bool:
    """A replica calls its link up a moment before the master begins to send it what is new; it acknowledges later."""
    something_new = "PUBLISH", "nobody", "listens"
    acknowledged = master.commands(something_new, ("WAIT", str(replicas), "100"))[-1]
    return isinstance(acknowledged, int) and acknowledged >= replicas


def _demote(old: RedisServer, new: RedisServer) -> None:
    old.commands(("REPLICAOF", new.host, str(new.port)), ("CONFIG", "REWRITE"))
