"""Hash slots: of keys, as in the specification's own examples, and of servers, as CLUSTER SLOTS and NODES tell."""

from __future__ import annotations

from typing import Any

import pytest

from chuk_sessions.exceptions import ProviderError
from chuk_sessions.redis_client.slots import (
    SLOTS,
    key_of,
    parse_address,
    parse_claim,
    parse_replicas,
    parse_slots,
    slot_of,
)
from tests.support import cluster_servers

ASKED = ("10.0.0.1", 7000)


@pytest.mark.parametrize(
    ("key", "slot"),
    [
        ("123456789", 0x31C3),  # the check value of this CRC, in the specification's appendix
        ("foo", 12182),
        ("bar", 5061),
        ("hello", 866),
        ("", 0),
        (b"foo", 12182),
    ],
)
def test_the_slot_of_a_key(key: str | bytes, slot: int) -> None:
    assert slot_of(key) == slot


@pytest.mark.parametrize(
    ("key", "hashed"),
    [
        ("{user1000}.following", "user1000"),
        ("{user1000}.followers", "user1000"),
        ("foo{{bar}}zap", "{bar"),
        ("foo{bar}{zap}", "bar"),
        ("{foo", None),
        ("foo}{", None),
        ("foo{}{bar}", None),
        ("foo{b\u00e4r}", "b\u00e4r"),
        ("f\u00f6\u00f6{bar}", "bar"),
    ],
)
def test_what_stands_in_the_first_braces_decides(key: str, hashed: str | None) -> None:
    """Unless that is nothing; the specification has these very keys."""
    assert slot_of(key) == cluster_servers.slot_of(key)
    if hashed is not None:
        assert slot_of(key) == slot_of(f"{{{hashed}}}:other") == cluster_servers.slot_of(f"{{{hashed}}}")


def test_a_key_that_is_no_unicode_has_a_slot_too() -> None:
    assert slot_of("\ud800") == slot_of("\ud800".encode("utf-8", "surrogatepass"))
    assert slot_of("a{\ud800}") == slot_of("\ud800")


@pytest.mark.parametrize(
    ("args", "key"),
    [
        ((b"GET", "k"), "k"),
        ((b"EVALSHA", b"sha", 2, "one", "two", "arg"), "one"),
        ((b"EVAL", b"source", 1, "one"), "one"),
        ((b"PING",), b""),
    ],
)
def test_which_argument_is_the_key(args: tuple[Any, ...], key: Any) -> None:
    assert key_of(args) == key


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.0.0.2:7001", ("10.0.0.2", 7001)),
        (":7001", ("10.0.0.1", 7001)),
        ("?:7001", ("10.0.0.1", 7001)),
        ("::1:7001", ("::1", 7001)),
        ("node.example:7001", ("node.example", 7001)),
    ],
)
def test_where_a_redirection_leads(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text, ASKED) == address


@pytest.mark.parametrize("host", [b"", None, b"?"])
def test_a_server_that_does_not_know_its_own_host_means_the_one_that_was_asked(host: bytes | None) -> None:
    assert parse_slots([[0, 5, [host, 7001, b"id"]]], ASKED) == [(0, 5, ("10.0.0.1", 7001))]


def test_of_the_servers_of_a_range_the_first_is_the_master() -> None:
    reply = [[0, 5, [b"a", 1, b"id", []], [b"b", 2, b"id", []]], [6, SLOTS - 1, [b"c", 3, b"id", []]]]
    assert parse_slots(reply, ASKED) == [(0, 5, ("a", 1)), (6, SLOTS - 1, ("c", 3))]
    assert parse_replicas(reply, ASKED) == {("b", 2)}


def test_replicas_of_an_unknown_shape_are_left_out() -> None:
    reply = [[0, 5, [b"a", 1], [], [b"b"], 7, None, [b"\xff", 1], [b"c", b"port"], [b"", 4]], [6, 7, [b"d", 5]]]
    assert parse_replicas(reply, ASKED) == {("10.0.0.1", 4)}


@pytest.mark.parametrize(
    "reply",
    [
        None,
        7,
        b"OK",
        [1],
        [[0, 5]],
        [[0, 5, []]],
        [[0, 5, [b"\xff", 1]]],
        [[0, 5, [b"a", b"port"]]],
        [[b"0", b"5", [b"a", 1]]],
        [[5, 0, [b"a", 1]]],
        [[-1, 5, [b"a", 1]]],
        [[0, SLOTS, [b"a", 1]]],
    ],
)
def test_what_is_no_answer_to_cluster_slots(reply: Any) -> None:
    with pytest.raises(ProviderError, match="unknown shape"):
        parse_slots(reply, ASKED)


NODES = b"""\
07c3 127.0.0.1:30004@31004,host-4 slave e7d1 0 1426238317239 4 connected
67ed 127.0.0.1:30002@31002,host-2 master - 0 1426238316232 2 connected 5461-10922
e7d1 127.0.0.1:30001@31001,host-1 myself,master - 0 0 17 connected 0-5460 [93->-67ed] 9000 [77-<-67ed]
"""


def test_what_a_server_says_of_itself() -> None:
    """Its epoch and its slots, whatever else it knows; nothing that changes from one moment to the next."""
    claim = ("17", ("0-5460", "[93->-67ed]", "9000", "[77-<-67ed]"))
    assert parse_claim(NODES) == claim
    assert parse_claim(NODES.replace(b"1426238316232", b"1426238399999").replace(b"07c3", b"myself")) == claim


def test_a_server_without_slots() -> None:
    assert parse_claim(b"e7d1 127.0.0.1:30001@31001 myself,slave 67ed 0 0 0 connected") == ("0", ())


@pytest.mark.parametrize("reply", [b"", b"OK", b"\xff", b"a b myself d e f g", NODES.replace(b"myself,", b"")])
def test_what_is_no_answer_to_cluster_nodes(reply: bytes) -> None:
    with pytest.raises(ProviderError, match="unknown shape"):
        parse_claim(reply)
