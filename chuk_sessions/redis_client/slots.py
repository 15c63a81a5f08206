"""Hash slots of Redis Cluster: the slot of a key, and the slots of each server by CLUSTER SLOTS and CLUSTER NODES.

Source: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/ ("Key distribution model").
"""

from __future__ import annotations

from binascii import crc_hqx
from contextlib import suppress
from typing import Any

from chuk_sessions.exceptions import ProviderError
from chuk_sessions.redis_client.commands import Argument
from chuk_sessions.redis_client.config import Address

__all__ = [
    "SLOTS",
    "SlotRange",
    "hashed_part",
    "key_of",
    "parse_address",
    "parse_claim",
    "parse_replicas",
    "parse_slots",
    "slot_of",
]

SLOTS = 16384
SCRIPTS = (b"EVALSHA", b"EVAL")
SlotRange = tuple[int, int, Address]  # the first slot, the last slot, and the master of them


def key_of(args: tuple[Argument, ...]) -> Argument:
    """Return the first key of a command: the fourth argument of a script, the second of any other that is sent here."""
    return args[3] if args[0] in SCRIPTS and len(args) > 3 else args[1] if len(args) > 1 else b""


def slot_of(key: Argument) -> int:
    """Return the slot of a key: CRC-16 (XMODEM) of its hashed part."""
    if type(key) is str:  # the usual case: only the part in braces becomes bytes
        part, closed, _ = key.partition("{")[2].partition("}")
        if closed and part.isascii() and part:
            return crc_hqx(part.encode(), 0) % SLOTS
    return crc_hqx(hashed_part(key), 0) % SLOTS


def hashed_part(key: Argument) -> bytes:
    """Return the part of a key that decides its slot: the text in its first braces, or all of it if that is empty."""
    data = key if isinstance(key, bytes) else str(key).encode("utf-8", "surrogatepass")
    begin = data.find(b"{")
    if begin >= 0:
        end = data.find(b"}", begin)
        if end > begin + 1:
            return data[begin + 1 : end]
    return data


def parse_slots(reply: Any, asked: Address) -> list[SlotRange]:
    """Parse a reply to CLUSTER SLOTS. A row without a host means the server that answered, ``asked``.

    Raises ProviderError for a reply of another shape.
    """
    try:
        return [_range(row, asked) for row in reply]
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as exc:
        raise ProviderError("the reply to CLUSTER SLOTS has an unknown shape") from exc


def parse_replicas(reply: Any, asked: Address) -> set[Address]:
    """Return the replicas in a reply that ``parse_slots`` has accepted; an entry of another shape is left out."""
    found = set()
    for _, _, _, *replicas in reply:
        for replica in replicas:
            with suppress(ValueError, TypeError, LookupError, AttributeError, OverflowError):
                found.add((_host(replica[0], asked), int(replica[1])))
    return found


def _range(row: Any, asked: Address) -> SlotRange:
    first, last, master, *_ = row
    if not 0 <= first <= last < SLOTS:
        raise ValueError("no such slots")
    return first, last, (_host(master[0], asked), int(master[1]))


def _host(name: bytes | None, asked: Address) -> str:
    return asked[0] if name in (None, b"", b"?") else name.decode()


def parse_claim(reply: Any) -> tuple[str, tuple[str, ...]]:
    """Return the epoch and the slots of the server that answered CLUSTER NODES, as texts.

    The slots are ranges, and ``[slot->-server]`` or ``[slot-<-server]`` for a slot that moves to or from that other
    server. Raises ProviderError for a reply of another shape.
    """
    text = reply.decode(errors="replace") if isinstance(reply, bytes) else ""
    rows = (row.split() for row in text.splitlines())
    mine = next((row for row in rows if len(row) >= 8 and "myself" in row[2]), None)
    if mine is None:
        raise ProviderError("the reply to CLUSTER NODES has an unknown shape")
    return mine[6], tuple(mine[8:])


def parse_address(text: str, asked: Address) -> Address:
    """Parse ``host:port`` of a redirection. IPv6 comes without brackets; no host means the host that answered."""
    host, _, port = text.rpartition(":")
    return host if host not in ("", "?") else asked[0], int(port)
