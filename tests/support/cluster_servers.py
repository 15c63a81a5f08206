"""A real cluster, formed by commands, each node guarded as every server of ours.

Goal: a new cluster is ready in 2-4 s (a master waits 2 s before it serves: that is built into Redis), and a killed
master is replaced within 1-3 s after that.

* Who owns a slot is asked of those who can own it: the claim of the highest epoch wins, as in the cluster itself.
* A killed node stays in its shard: replicas may not move to another master, so the heirs of a master are known.
"""

from __future__ import annotations

import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from tests.support.groups import REPLICATION, Login, ServerGroup, closed_default
from tests.support.servers import PORTS, RedisServer, Reply, ServerError, login_part

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.support.tls_files import TlsFiles

SLOTS = 16384
BUS_OFFSET = 10_000  # where nodes talk among themselves; fixed before Redis 7
MIGRATE_MS = 5000
MIGRATE_KEYS = 100


def slot_of(key: str) -> int:
    """The slot of a key: of what its first pair of braces encloses, unless that is nothing, else of all of it."""
    _, brace, rest = key.partition("{")
    tag, closing, _ = rest.partition("}")
    hashed = tag if brace and closing and tag else key
    return binascii.crc_hqx(hashed.encode(), 0) % SLOTS


@dataclass(frozen=True)
class Row:
    """One line of CLUSTER NODES: what one node knows of another, or of itself."""

    node_id: str
    flags: frozenset[str]
    epoch: int
    linked: bool
    slots: frozenset[int]

    @classmethod
    def parse(cls, line: str) -> Row:
        """Slots that are on their way from or to another node stand in brackets; they are not counted."""
        node_id, _, flags, _, _, _, epoch, link, *ranges = line.split()
        owned = (_range(text) for text in ranges if not text.startswith("["))
        slots = frozenset(slot for numbers in owned for slot in numbers)
        return cls(node_id, frozenset(flags.split(",")), int(epoch), link == "connected", slots)

    @property
    def well(self) -> bool:
        """Whether the node that knows this has no doubt of it."""
        return self.linked and not self.flags & {"fail", "fail?", "handshake", "noaddr"}


def _range(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


class ClusterNode(RedisServer):
    """One node; `shard` is the number of the master that it was at first, or followed at first.

    Alone, as `ClusterNode("cluster-enabled yes")`, it has no slots.
    """

    ports = range(PORTS.start, PORTS.stop - BUS_OFFSET, PORTS.step)  # so that the port of the bus is one of PORTS too
    bus_offset = BUS_OFFSET
    shard = 0
    node_id = ""

    def start(self) -> Self:
        """Start it and learn its id, which it keeps over a restart."""
        super().start()
        self.node_id = str(self.command("CLUSTER", "MYID"))
        return self

    def rows(self) -> list[Row]:
        """What it knows of all nodes, itself included."""
        return [Row.parse(line) for line in str(self.command("CLUSTER", "NODES")).splitlines()]

    def claim(self) -> Row:
        """What it says of itself."""
        return next(row for row in self.rows() if "myself" in row.flags)

    def cluster_info(self) -> dict[str, str]:
        """CLUSTER INFO, field to value."""
        lines = str(self.command("CLUSTER", "INFO")).splitlines()
        return dict(line.split(":", 1) for line in lines)


class ClusterServers(ServerGroup):
    """Masters with an equal share of the slots each, and replicas of each, on loopback.

    Args:
        options: Further settings of all nodes, as lines of redis.conf.
        masters: How many there are; fewer than three cannot replace one of them.
        replicas: How many follow each master.
        node_timeout_ms: After which silence a node holds another for failing.
        full_coverage: Whether all slots are refused as soon as one of them has no master.
        which: The binary, as for `find_binary`.
        password: Asked of the default user.
        users: ACL users, name to password. The first is the login of `url`, of replication and of migration;
            without a `password` the default user is then switched off.
        tls: With these files all nodes speak TLS, among themselves too, and nothing else.
    """

    def __init__(
        self,
        *options: str,
        masters: int = 3,
        replicas: int = 1,
        node_timeout_ms: int = 1000,
        full_coverage: bool = False,
        which: str | None = None,
        password: str = "",
        users: Mapping[str, str] | None = None,
        tls: TlsFiles | None = None,
    ) -> None:
        self.login = Login.first(password, users or {})
        self.nodes: list[ClusterNode] = []
        self._shards, self._replicas = masters, replicas
        self._passwords = password, users or {}
        self._which, self._tls = which, tls
        self._options = (
            *closed_default(password, users or {}),
            *REPLICATION,
            *self.login.settings("masteruser", "masterauth"),
            "cluster-enabled yes",
            f"cluster-node-timeout {node_timeout_ms}",
            f"cluster-require-full-coverage {'yes' if full_coverage else 'no'}",
            "cluster-replica-validity-factor 0",  # a replica is promoted however old its data are
            "cluster-migration-barrier 1000",  # no replica moves to another master
            *options,
        )

    @property
    def members(self) -> Sequence[RedisServer]:
        """The nodes."""
        return self.nodes

    # -- starting --------------------------------------------------------------------------------------------

    def _form(self) -> None:
        for shard in [*range(self._shards)] * (1 + self._replicas):
            self._start_node(shard)
        first_masters, replicas = self.nodes[: self._shards], self.nodes[self._shards :]
        for master in first_masters:
            slots = range(SLOTS * master.shard // self._shards, SLOTS * (master.shard + 1) // self._shards)
            master.command("CLUSTER", "ADDSLOTS", *map(str, slots))
        self._introduce()
        for replica in replicas:
            replica.command("CLUSTER", "REPLICATE", self.nodes[replica.shard].node_id)
        self.wait_until_ok()

    def _start_node(self, shard: int) -> None:
        password, users = self._passwords
        node = ClusterNode(*self._options, which=self._which, password=password, users=users, tls=self._tls)
        node.username, node.password = self.login
        node.shard = shard
        self.nodes.append(node)
        node.start()

    def _introduce(self) -> None:
        """Each meets each: quicker than to wait until word has spread."""
        for epoch, node in enumerate(self.nodes, 1):
            node.command("CLUSTER", "SET-CONFIG-EPOCH", str(epoch))  # else they have to settle who gets which
            for other in self.nodes[:epoch]:
                node.command("CLUSTER", "MEET", other.host, str(other.port))
        self.wait(lambda: all(map(self._knows_all, self.nodes)), "nodes that all know each other")

    def _knows_all(self, node: ClusterNode) -> bool:
        rows = {row.node_id: row for row in node.rows()}
        return all(other.node_id in rows and rows[other.node_id].well for other in self._running)

    def stop(self) -> None:
        """Kill all and remove their folders; calling it again does nothing."""
        super().stop()
        self.nodes = []

    # -- reaching them ---------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """The URL that an application would be given: one node of each shard, with the login if there is one."""
        return self.url_for(*self.login)

    def url_for(self, username: str = "", password: str = "") -> str:
        """A URL to this cluster with another login."""
        hosts = ",".join(f"{node.host}:{node.port}" for node in self.nodes[: self._shards])
        scheme, query = ("rediss", f"?{self._tls.query}") if self._tls else ("redis", "")
        return f"{scheme}://{login_part(username, password)}{hosts}{query}"

    @property
    def _running(self) -> list[ClusterNode]:
        return [node for node in self.nodes if node.running]

    @property
    def masters(self) -> list[ClusterNode]:
        """The running nodes that own slots."""
        owners = set(self._owners().values())
        return [node for node in self._running if node in owners]

    def owner_of(self, slot: int) -> ClusterNode:
        """The running node that owns the slot; ServerError if there is none now."""
        owner = self._owners().get(slot)
        if owner is None:
            raise ServerError(f"no running node owns slot {slot}\n{self._logs()}")
        return owner

    def another_master(self, slot: int) -> ClusterNode:
        """A running master that does not own the slot."""
        owner = self.owner_of(slot)
        return next(master for master in self.masters if master is not owner)

    def _owners(self) -> dict[int, ClusterNode]:
        claims = [(node.claim(), node) for node in self._running]
        claims = [(claim, node) for claim, node in claims if "master" in claim.flags]
        claims.sort(key=lambda pair: pair[0].epoch)  # a later one overrules the earlier ones
        return {slot: node for claim, node in claims for slot in claim.slots}

    def command(self, key: str, *parts: str) -> Reply:
        """Run one command on the owner of the key's slot."""
        return self.owner_of(slot_of(key)).command(*parts)

    def flush(self) -> None:
        """Empty all masters; their replicas follow."""
        for master in self.masters:
            master.flush()

    # -- moving a slot ---------------------------------------------------------------------------------------

    def migrate_begin(self, slot: int, target: ClusterNode) -> None:
        """From now on the owner answers ASK for keys that it does not have, and both may answer TRYAGAIN."""
        source = self.owner_of(slot)
        target.command("CLUSTER", "SETSLOT", str(slot), "IMPORTING", source.node_id)
        source.command("CLUSTER", "SETSLOT", str(slot), "MIGRATING", target.node_id)

    def migrate_keys(self, slot: int, target: ClusterNode, count: int | None = None) -> int:
        """Move the keys that the slot has, `count` at most; how many were moved."""
        source, moved = self.owner_of(slot), 0
        while count is None or moved < count:
            limit = MIGRATE_KEYS if count is None else min(MIGRATE_KEYS, count - moved)
            keys = source.command("CLUSTER", "GETKEYSINSLOT", str(slot), str(limit))
            if not keys or not isinstance(keys, list):
                break
            self._migrate(source, target, [str(key) for key in keys])
            moved += len(keys)
        return moved

    def _migrate(self, source: ClusterNode, target: ClusterNode, keys: Sequence[str]) -> None:
        user, password = self.login
        login = ["AUTH2", user, password] if user else ["AUTH", password] if password else []
        where = (target.host, str(target.port), "", "0", str(MIGRATE_MS))
        source.command("MIGRATE", *where, *login, "KEYS", *keys)

    def migrate_end(self, slot: int, target: ClusterNode) -> None:
        """Make the target the owner, for itself, for the one it had been, and for the other masters, in this order.

        And wait until all know of its epoch: whoever took the slot next without knowing it would claim an older one,
        and in the end nobody would own the slot.
        """
        source = self.owner_of(slot)
        others = (master for master in self.masters if master not in (target, source))
        for node in (target, source, *others):
            node.command("CLUSTER", "SETSLOT", str(slot), "NODE", target.node_id)
        epoch = target.claim().epoch
        self.wait(lambda: self._know_epoch(target, epoch), f"nodes that know of epoch {epoch} of {target!r}")

    def _know_epoch(self, of: ClusterNode, epoch: int) -> bool:
        rows = (row for node in self._running for row in node.rows() if row.node_id == of.node_id)
        return all(row.epoch >= epoch for row in rows)

    def migrate(self, slot: int, target: ClusterNode) -> int:
        """Move the slot with all its keys; how many keys that were."""
        self.migrate_begin(slot, target)
        moved = self.migrate_keys(slot, target)
        self.migrate_end(slot, target)
        return moved

    # -- losing a node ---------------------------------------------------------------------------------------

    def wait_for_promotion(self, killed: ClusterNode) -> ClusterNode:
        """The new master of the killed one's slots, as soon as it is one; the others may hear of it a moment later."""
        heir = self.wait(lambda: self._heir_of(killed), f"a node that takes over from {killed!r}")
        assert heir is not None
        return heir

    def _heir_of(self, killed: ClusterNode) -> ClusterNode | None:
        return next((node for node in self.masters if node.shard == killed.shard and node is not killed), None)

    def wait_until_ok(self) -> None:
        """Until all running nodes serve all slots, agree on who owns them and on who is well, and follow in sync."""
        self.wait(self._is_ok, "a cluster whose running nodes are well, agree, and are in sync")

    def _is_ok(self) -> bool:
        owners = {slot: node.node_id for slot, node in self._owners().items()}
        return len(owners) == SLOTS and all(self._is_well(node, owners) for node in self._running)

    def _is_well(self, node: ClusterNode, owners: Mapping[int, str]) -> bool:
        info = node.cluster_info()
        if (info["cluster_state"], info["cluster_slots_ok"]) != ("ok", str(SLOTS)) or not self._knows_all(node):
            return False
        believed = {slot: row.node_id for row in node.rows() for slot in row.slots}
        return believed == owners and (node.node_id in owners.values() or is_linked(node))

    def revive(self) -> None:
        """Bring back what was killed or paused, and wait until all is well; who was replaced becomes a replica.

        A master that was killed and not yet replaced comes back empty, as ours save nothing unless told to, and
        empties its replicas.
        """
        for node in self.nodes:
            if node.paused:
                node.resume()
            elif not node.running:
                node.restart()
        self.wait_until_ok()


def is_linked(node: ClusterNode) -> bool:
    """Whether the node is a replica in sync."""
    return node.info("replication").get("master_link_status") == "up"
