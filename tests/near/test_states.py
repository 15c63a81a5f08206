"""Every event in every state of a key and of the connection, against a peer that says what the test wants."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from chuk_sessions.exceptions import ProviderError, ServerError
from chuk_sessions.redis_client.commands import Replay, pack
from chuk_sessions.redis_client.node import Node
from chuk_sessions.redis_client.replies import as_dict
from chuk_sessions.redis_client.tracking import CACHED_READ, PAUSE
from tests.near.scripted import (
    ALL_KEYS,
    BOUND,
    FIELDS,
    KEY,
    OK,
    OTHER,
    PAIRS,
    RECORD,
    Scripted,
    bulk,
    hello,
    in_pairs,
    invalidation,
    server_time,
)
from tests.support.helpers import Clock, eventually

NOT_CACHING = [b"CLIENT", b"CACHING", b"NO"]
FENCE = [NOT_CACHING, [b"TIME"], [b"HELLO"]]
READ = [b"HGETALL", KEY.encode()]


def cacheable(key: str = KEY) -> list[bytes]:
    """A read that may be kept: HRANDFIELD for more fields than there are."""
    return [b"HRANDFIELD", key.encode(), b"1000000000", b"WITHVALUES"]


TAKES_NO_RESP3 = b"-NOPROTO unsupported protocol version\r\n"
TRACKING_OFF = [b"CLIENT", b"TRACKING", b"OFF"]
NO_TRACKING = b"-NOPERM this user has no permissions to run the 'client|tracking' command\r\n"


async def turn() -> None:
    await asyncio.sleep(0)


@pytest.mark.parametrize("key", ["", KEY, "x" * 10_000, "é😀", "a\r\nb"])
def test_a_cacheable_read_is_the_bytes_of_its_command(key: str) -> None:
    """They are not made by ``pack``, which takes longer; the length is that of the bytes."""
    text = key.encode()
    assert CACHED_READ % (len(text), text) == pack(tuple(cacheable(key)))


# The connection


async def test_arming_and_the_first_fence_take_one_write_each(scripted: Scripted) -> None:
    """The first lookup arms, the second asks for the lease; until then nothing is cacheable."""
    await scripted.up()
    assert scripted.state() == "new"
    assert not scripted.look_up()
    assert scripted.state() == "arming"
    scripted.called.append(scripted.ask())
    await turn()
    assert scripted.take() == [[b"HELLO", b"3"], [b"CLIENT", b"TRACKING", b"ON", b"OPTOUT"], READ]
    scripted.receive(hello() + OK + RECORD)
    assert scripted.state() == "on"
    assert not scripted.look_up()
    scripted.called.append(scripted.ask())
    await turn()
    assert scripted.take() == [*FENCE, cacheable()]
    scripted.receive(OK + server_time(5) + hello() + PAIRS)
    assert scripted.look_up()


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(hello(proto=2) + OK, id="resp2"),
        pytest.param(hello(role=b"replica") + OK, id="replica"),
        pytest.param(hello(mode=b"cluster") + OK, id="cluster"),
        pytest.param(TAKES_NO_RESP3 + OK, id="noproto"),
        pytest.param(b"-ERR unknown command 'HELLO'\r\n" * 2, id="proxy"),
        pytest.param(hello() + NO_TRACKING, id="noperm"),
        pytest.param(hello() + b":1\r\n", id="odd"),
        pytest.param(b"+OK\r\n+OK\r\n", id="text"),
    ],
)
async def test_a_server_that_does_not_track_is_asked_again_after_a_pause(scripted: Scripted, answer: bytes) -> None:
    """Meanwhile reads go to the server as without a cache, and it tracks none of them."""
    await scripted.up()
    scripted.look_up()
    await turn()
    scripted.take()
    scripted.receive(answer)
    assert scripted.state() == "refused"
    assert scripted.tracking.rank == 0
    await turn()
    if answer.endswith(OK):
        assert scripted.take() == [TRACKING_OFF]
        scripted.receive(OK)
    assert scripted.take() == []
    scripted.clock.move(PAUSE - 1)
    scripted.look_up()
    asked = scripted.ask()
    await turn()
    assert scripted.take() == [READ]
    scripted.receive(RECORD)
    assert await asked == FIELDS
    assert not scripted.look_up()
    scripted.clock.move(1)
    scripted.look_up()
    await turn()
    assert scripted.take()[0] == [b"HELLO", b"3"]
    scripted.receive(hello() + OK)
    assert scripted.state() == "on"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(hello(role=b"replica"), id="demoted"),
        pytest.param(hello(number=8), id="swapped"),
        pytest.param(hello(proto=2), id="reset"),
        pytest.param(b"-ERR unknown command 'HELLO'\r\n", id="proxy"),
        pytest.param(b"*0\r\n", id="odd"),
    ],
)
async def test_a_fence_that_disagrees_drops_everything(scripted: Scripted, answer: bytes) -> None:
    await scripted.serving()
    await scripted.keep()
    scripted.clock.move(BOUND * 0.6)
    assert scripted.look_up()
    pending = scripted.ask(OTHER)
    await turn()
    assert scripted.take() == [*FENCE, cacheable(OTHER)]
    scripted.receive(OK + server_time(5) + answer)
    assert scripted.state() == "refused"
    assert (len(scripted.tracking.entries), scripted.tracking.pending) == (0, 0)
    scripted.receive(PAIRS)
    assert await pending == FIELDS
    await turn()
    assert scripted.take() == [TRACKING_OFF]
    assert not scripted.look_up(OTHER)


@pytest.mark.parametrize("answer", [b"-LOADING\r\n", b"+soon\r\n", b"*1\r\n:1\r\n"], ids=["error", "text", "short"])
async def test_a_fence_without_a_time_drops_everything(scripted: Scripted, answer: bytes) -> None:
    await scripted.serving()
    await scripted.keep()
    scripted.clock.move(BOUND * 0.6)
    assert scripted.look_up()
    await turn()
    scripted.receive(OK + answer + hello())
    assert not scripted.look_up()


# The lease


async def test_the_lease_counts_from_the_write_of_the_fence(scripted: Scripted) -> None:
    """Not from its call, and not from its answer."""
    await scripted.serving()
    await scripted.keep()
    scripted.clock.move(BOUND * 0.6)
    assert scripted.look_up()
    scripted.clock.move(0.1)
    await turn()  # written now, at 0.7
    scripted.clock.move(0.2)
    scripted.receive(OK + server_time(5) + hello())
    scripted.clock.move(BOUND - 0.2)
    assert scripted.look_up()
    scripted.clock.move(0.001)
    assert not scripted.look_up()


async def test_a_fence_is_asked_for_once_and_in_time(scripted: Scripted) -> None:
    """By a hit once half of the bound has passed, and never two at a time."""
    await scripted.serving()
    await scripted.keep()
    scripted.clock.move(BOUND / 2)
    assert scripted.look_up()
    await turn()
    assert scripted.take() == []
    scripted.clock.move(0.01)
    assert scripted.look_up()
    assert scripted.look_up()
    await turn()
    assert scripted.take() == FENCE
    assert scripted.look_up()
    await turn()
    assert scripted.take() == []


async def test_without_an_answer_nothing_is_served_beyond_the_bound(scripted: Scripted) -> None:
    """And a read then goes to the server, without tracking anew what is kept; the answer brings the entry back."""
    await scripted.serving()
    await scripted.keep()
    scripted.clock.move(BOUND)
    assert scripted.look_up()
    scripted.clock.move(0.001)
    assert not scripted.look_up()
    assert scripted.tracking.lapsed == 1
    scripted.called.append(scripted.ask())
    await turn()
    assert scripted.take() == [*FENCE, READ]
    scripted.receive(OK + server_time(5) + hello() + RECORD)
    assert scripted.look_up()


async def test_a_wall_clock_that_leaps_ends_the_lease(scripted: Scripted) -> None:
    """A virtual machine that was paused may have one clock that stood still: the one further on counts."""
    await scripted.serving()
    await scripted.keep()
    now = scripted.clock()
    for elapsed, wall, is_served in ((0, 100, False), (0, -100, True), (100, -100, False), (0, 0, True)):
        scripted.tracking._clock, scripted.tracking._wall_clock = Clock(now + elapsed), Clock(now + wall)
        assert scripted.look_up() is is_served


async def test_the_servers_time_is_never_too_early(scripted: Scripted) -> None:
    """It counts from before the question: late by a round trip at most."""
    await scripted.up()
    scripted.look_up()
    await turn()
    scripted.receive(hello() + OK)
    scripted.look_up()
    await turn()
    scripted.clock.move(0.2)
    scripted.receive(OK + server_time(5_000) + hello())
    await scripted.keep()
    assert scripted.look_up()
    assert scripted.tracking.now == pytest.approx(5_000.2)
    scripted.clock.move(0.3)
    assert scripted.look_up()
    assert scripted.tracking.now == pytest.approx(5_000.5)


async def test_different_bounds_share_a_lease(scripted: Scripted) -> None:
    await scripted.serving()
    await scripted.keep()
    scripted.clock.move(0.5)
    assert scripted.tracking.lookup(KEY, 0.4) is None
    assert scripted.tracking.lookup(KEY, 0.6) is not None


# A key


Event = Callable[[Scripted], Awaitable[None]]


async def absent(it: Scripted) -> None:
    """Nothing is known of the key."""


async def pending(it: Scripted) -> None:
    it.asked = it.ask()
    await turn()
    assert it.take() == [cacheable()]


async def kept(it: Scripted) -> None:
    await it.keep()


async def reply(it: Scripted) -> None:
    it.receive(PAIRS)


async def push(it: Scripted) -> None:
    it.receive(invalidation(OTHER, KEY))


async def push_of_all(it: Scripted) -> None:
    it.receive(ALL_KEYS)


async def push_of_another(it: Scripted) -> None:
    it.receive(invalidation(OTHER))


async def push_of_odd_bytes(it: Scripted) -> None:
    it.receive(b">2\r\n" + bulk(b"invalidate") + b"*2\r\n" + bulk(b"\xff\xfe") + b":3\r\n")


async def push_of_another_kind(it: Scripted) -> None:
    it.receive(b">2\r\n" + bulk(b"message") + bulk(KEY.encode()))


async def write(it: Scripted) -> None:
    """A command of this loop, called and not even written."""
    it.call(b"UNLINK", KEY)


async def script(it: Scripted) -> None:
    it.call(b"EVALSHA", b"0" * 40, 2, OTHER, KEY, b"argument", replay=Replay.READ)


async def batch(it: Scripted) -> None:
    """A script of many callers asks for the slot of each key."""
    it.node.slot_of(KEY)


async def script_of_another(it: Scripted) -> None:
    it.call(b"EVALSHA", b"0" * 40, 1, OTHER, KEY)


async def plain_read(it: Scripted) -> None:
    it.call(b"HGETALL", KEY, replay=Replay.READ)


async def error(it: Scripted) -> None:
    it.receive(b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n")


async def caller_gives_up(it: Scripted) -> None:
    it.asked.cancel()


async def loss(it: Scripted) -> None:
    await it.lose()


KEPT, PENDING, ABSENT = (1, 0), (0, 1), (0, 0)
AGAIN = "again"  # the caller's reply comes by a second try
SAME = (push_of_another, push_of_odd_bytes, push_of_another_kind, script_of_another, plain_read)
FORGET = (push, push_of_all, write, script, batch)
ROWS: list[tuple[Event, tuple[Event, ...], tuple[int, int], tuple[int, int]]] = [
    # the state, the events, then: (kept, pending) after it, and after the reply to the read if there is one
    (absent, (*SAME, *FORGET), ABSENT, ABSENT),
    (pending, SAME, PENDING, KEPT),
    (pending, FORGET, ABSENT, ABSENT),
    (kept, SAME, KEPT, KEPT),
    (kept, FORGET, ABSENT, ABSENT),
    (kept, (loss,), ABSENT, ABSENT),
]


@pytest.mark.parametrize(
    ("state", "event", "then", "finally_"),
    [
        pytest.param(state, event, then, last, id=f"{state.__name__}-{event.__name__}")
        for state, events, then, last in ROWS
        for event in events
    ],
)
async def test_an_event_in_a_state_of_a_key(
    scripted: Scripted, state: Event, event: Event, then: tuple[int, int], finally_: tuple[int, int]
) -> None:
    """The caller gets its reply in any case."""
    await scripted.serving()
    await state(scripted)
    await event(scripted)
    tracking = scripted.tracking
    assert (KEY in tracking.entries, tracking.pending) == then
    if state is pending:
        scripted.receive(PAIRS)
        assert await scripted.asked == FIELDS
    assert (KEY in tracking.entries, tracking.pending) == finally_
    assert scripted.look_up() is (finally_ == KEPT)


async def test_a_poisoned_read_makes_room_for_the_next(scripted: Scripted) -> None:
    """The reply of the first is not stored; that of the second, asked after the push, is."""
    await scripted.serving()
    first = scripted.ask()
    await turn()
    scripted.receive(invalidation(KEY))
    second = scripted.ask()
    await turn()
    scripted.receive(in_pairs(FIELDS | {b"status": b"old"}))
    assert not scripted.look_up()
    scripted.receive(PAIRS)
    assert (await first)[b"status"] == b"old"
    assert await second == FIELDS
    entry = scripted.tracking.lookup(KEY, BOUND)
    assert entry is not None
    assert entry.reply == FIELDS


async def test_a_change_between_the_reply_and_its_caller_is_seen(scripted: Scripted) -> None:
    """Reply and push come in one piece: the entry is stored and dropped before the caller runs."""
    await scripted.serving()
    asked = scripted.ask()
    await turn()
    scripted.receive(PAIRS + invalidation(KEY))
    assert await asked == FIELDS
    assert not scripted.look_up()


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"-NOPERM this user has no permissions to run the 'hrandfield' command\r\n", id="noperm"),
        pytest.param(b"-ERR unknown command 'HRANDFIELD', with args beginning with: 'x'\r\n", id="unknown"),
    ],
)
async def test_where_the_read_is_refused_all_read_plainly(scripted: Scripted, answer: bytes) -> None:
    """The caller gets its reply by a second command, and nothing is stored until the pause is over."""
    await scripted.serving()
    await scripted.keep(OTHER)
    await pending(scripted)
    scripted.receive(answer)
    assert scripted.state() == "refused"
    await turn()
    assert scripted.take() == [TRACKING_OFF, READ]
    scripted.receive(OK + RECORD)
    assert await scripted.asked == FIELDS
    assert (len(scripted.tracking.entries), scripted.tracking.pending) == (0, 0)
    assert not scripted.look_up(OTHER)
    again = scripted.ask()
    await turn()
    assert scripted.take() == [READ]
    scripted.receive(RECORD)
    assert await again == FIELDS


async def test_a_caller_that_gave_up_a_refused_read_reads_nothing(scripted: Scripted) -> None:
    """Its reply is not looked at: the next read finds out."""
    await scripted.serving()
    await pending(scripted)
    await caller_gives_up(scripted)
    scripted.receive(b"-NOPERM no\r\n")
    await turn()
    assert scripted.take() == []
    assert scripted.state() == "on"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"-ERR CLIENT CACHING can be called only when in tracking mode\r\n", id="lost"),
        pytest.param(b"-NOPERM this user has no permissions to run the 'client|caching' command\r\n", id="noperm"),
        pytest.param(b":1\r\n", id="odd"),
    ],
)
async def test_a_fence_over_a_connection_that_is_not_tracked_drops_everything(
    scripted: Scripted, answer: bytes
) -> None:
    """Though the connection is the same: what was read since the last fence may have changed unheard."""
    await scripted.serving()
    await scripted.keep()
    scripted.clock.move(BOUND * 0.6)
    assert scripted.look_up()
    await turn()
    scripted.receive(answer + server_time(5) + hello())
    assert scripted.state() == "refused"
    assert not scripted.look_up()


async def test_what_is_not_kept_is_not_tracked(scripted: Scripted) -> None:
    """Each script and each other read is in one pair with CLIENT CACHING NO. A command that reads nothing is alone.

    So is a CLIENT command: CLIENT CACHING NO would hold on after it, and the next read would be kept untracked.
    """
    await scripted.up()
    scripted.call(*READ, replay=Replay.READ)
    await turn()
    assert scripted.take() == [READ]
    scripted.receive(RECORD)
    await scripted.serving_from_here()
    script_ = [b"EVALSHA", b"0" * 40, b"1", KEY.encode()]
    name, time, unlink = [b"CLIENT", b"GETNAME"], [b"TIME"], [b"UNLINK", KEY.encode()]
    for command in (script_, READ, name, time):
        scripted.call(*command, replay=Replay.READ)
    scripted.call(*script_)
    scripted.call(*unlink)
    await turn()
    expected = [NOT_CACHING, script_, NOT_CACHING, READ, name, time, NOT_CACHING, script_, unlink]
    assert scripted.take() == expected


async def test_a_refused_read_leaves_nothing(scripted: Scripted) -> None:
    await scripted.serving()
    await pending(scripted)
    await error(scripted)
    with pytest.raises(ServerError, match="WRONGTYPE"):
        await scripted.asked
    assert scripted.tracking.pending == 0
    assert not scripted.look_up()


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"*0\r\n", id="absent"),
        pytest.param(in_pairs({b"alias": b"sess-1"}), id="alias"),
        pytest.param(in_pairs(FIELDS | {b"m:a": b"x" * 70_000}), id="large"),
        pytest.param(b"*2\r\n" + bulk(b"v") + bulk(b"1"), id="list"),
        pytest.param(
            b"*3\r\n" + b"".join(b"*2\r\n" + bulk(name) + b":1\r\n" for name in (b"a", b"b", b"v")), id="numbers"
        ),
        pytest.param(b"_\r\n", id="null"),
    ],
)
async def test_what_is_no_record_is_not_kept(scripted: Scripted, answer: bytes) -> None:
    await scripted.serving()
    await pending(scripted)
    scripted.receive(answer)
    await scripted.asked
    assert (len(scripted.tracking.entries), scripted.tracking.pending) == (0, 0)


async def test_a_reply_of_an_unknown_shape_is_an_error(scripted: Scripted) -> None:
    """As it is without a cache, and nothing is left of the read."""
    await scripted.serving()
    await pending(scripted)
    scripted.receive(b"*1\r\n*3\r\n" + bulk(b"a") * 3)
    with pytest.raises(ProviderError, match="HRANDFIELD has an unknown shape"):
        await scripted.asked
    assert (len(scripted.tracking.entries), scripted.tracking.pending) == (0, 0)


async def test_a_second_read_is_not_joined_and_not_cacheable(scripted: Scripted) -> None:
    await scripted.serving()
    first, second = scripted.ask(), scripted.ask()
    await turn()
    assert scripted.take() == [cacheable(), READ]
    scripted.receive(PAIRS + RECORD)
    assert await first == await second == FIELDS


@pytest.mark.parametrize("is_written", [False, True])
async def test_a_caller_that_gives_up_leaves_nothing(scripted: Scripted, is_written: bool) -> None:
    """Its reply is not stored; the next read of the key may be."""
    await scripted.serving()
    scripted.asked = scripted.ask()
    if is_written:
        await turn()
    await caller_gives_up(scripted)
    again = scripted.ask()
    await turn()
    assert scripted.take() == [cacheable()] * (1 + is_written)
    scripted.receive(in_pairs(FIELDS | {b"status": b"old"}) * is_written)
    assert (len(scripted.tracking.entries), scripted.tracking.pending) == (0, 1)
    scripted.receive(PAIRS)
    assert await again == FIELDS
    assert scripted.look_up()
    assert scripted.tracking.pending == 0


async def test_many_callers_that_give_up_leave_nothing(scripted: Scripted) -> None:
    await scripted.serving()
    asked = [scripted.ask(f"{KEY}{number}") for number in range(1000)]
    await turn()
    for each in asked:
        each.cancel()
    scripted.receive(PAIRS * 500)
    scripted.receive(PAIRS * 500)
    assert (len(scripted.tracking.entries), scripted.tracking.pending) == (0, 0)


async def called(it: Scripted) -> None:
    """And not even written."""
    it.asked = it.ask()


@pytest.mark.parametrize("state", [called, pending])
async def test_a_read_that_is_sent_again_is_not_stored(scripted: Scripted, state: Event) -> None:
    """It goes over a connection that is not armed."""
    await scripted.serving()
    await state(scripted)
    await loss(scripted)
    await turn()
    assert scripted.take() == [cacheable()]
    flat = b"*%d\r\n" % (2 * len(FIELDS)) + b"".join(bulk(part) for pair in FIELDS.items() for part in pair)
    scripted.receive(flat)
    assert as_dict(await scripted.asked, "HGETALL") == FIELDS
    assert (len(scripted.tracking.entries), scripted.tracking.pending) == (0, 0)
    assert scripted.state() == "new"


async def test_a_question_under_way_is_not_sent_again(scripted: Scripted) -> None:
    """Neither the written one nor the other: the next connection is asked anew."""
    await scripted.serving()
    await scripted.keep()
    scripted.clock.move(BOUND * 0.6)
    scripted.look_up()
    await scripted.lose()
    await turn()
    assert scripted.take() == []
    scripted.look_up()
    await scripted.lose()
    await turn()
    assert scripted.take() == []
    assert not scripted.look_up()
    await turn()
    assert scripted.take() == [[b"HELLO", b"3"], [b"CLIENT", b"TRACKING", b"ON", b"OPTOUT"]]


async def test_a_write_whose_caller_gave_up_is_told_by_a_push(scripted: Scripted) -> None:
    """It may take effect at any later time: what is read in between is dropped then."""
    await scripted.serving()
    await scripted.keep()
    scripted.call(b"UNLINK", KEY)
    await turn()
    scripted.called[-1].cancel()
    assert not scripted.look_up()
    asked = scripted.ask()
    await turn()
    scripted.receive(b":1\r\n" + PAIRS)
    assert await asked == FIELDS
    assert scripted.look_up()
    scripted.receive(invalidation(KEY))
    assert not scripted.look_up()


async def test_a_step_of_the_servers_clock_is_learnt_with_the_next_fence(scripted: Scripted) -> None:
    """Either way: the time that counts for deadlines is that of the last answer."""
    await scripted.serving()
    await scripted.keep()
    for told in (9_000, 4_000):
        scripted.clock.move(BOUND * 0.6)
        assert scripted.look_up()
        await turn()
        scripted.receive(OK + server_time(told) + hello())
        assert scripted.look_up()
        assert scripted.tracking.now == pytest.approx(told)


async def test_a_late_write_of_ours_is_seen_when_it_ends(scripted: Scripted) -> None:
    """A command with a large value uses another connection: what is read meanwhile is dropped before it has ended."""
    await scripted.serving()
    value = b"x" * (2 << 20)
    changed = scripted.node.call((b"EVALSHA", b"0" * 40, 1, KEY, value))
    asked = scripted.ask()
    await turn()
    assert scripted.take() == [cacheable()]
    scripted.receive(PAIRS)
    assert await asked == FIELDS
    assert scripted.look_up()
    await eventually(lambda: len(scripted.transports) == 2 and scripted.transports[-1].written)
    pending = scripted.ask(OTHER)
    scripted.receive(b":1\r\n")
    assert changed.done()
    assert not scripted.look_up()
    pending.cancel()


async def test_nothing_is_tracked_while_a_large_write_from_before_is_under_way(scripted: Scripted) -> None:
    """It was called when the node had no cache. So its end drops nothing, and a push may come after its reply."""
    await scripted.up()
    first = scripted.transports[0]
    changed = Node.call(scripted.node, (b"EVALSHA", b"0" * 40, 1, KEY, b"x" * (2 << 20)))
    assert not scripted.look_up()  # it waits to be written
    await eventually(lambda: len(scripted.transports) == 2 and scripted.transports[-1].written)
    assert not scripted.look_up()  # it is under way
    await turn()
    assert first.written == b""
    assert scripted.state() == "new"
    scripted.receive(b":1\r\n")
    assert await changed == 1
    assert not scripted.look_up()
    await turn()
    assert first.written.startswith(b"*2\r\n$5\r\nHELLO\r\n")
    assert scripted.state() == "arming"


# The stream

ALIAS = in_pairs({b"alias": b"sess"})
SECOND = in_pairs(FIELDS | {b"status": b"second"})
MESSAGE = b">2\r\n" + bulk(b"message") + bulk(b"x")
# Replies to reads of five keys, pushes, and the numbers of the keys that are kept at the end.
STREAMS: list[tuple[bytes, list[int]]] = [
    (
        PAIRS + (invalidation(OTHER) + SECOND) + (PAIRS + MESSAGE) + ALIAS + PAIRS + invalidation(f"{KEY}0", f"{KEY}4"),
        [1, 2],
    ),
    (PAIRS * 2 + ALL_KEYS + PAIRS + ALIAS + SECOND, []),
    (PAIRS + invalidation(f"{KEY}2") + SECOND + PAIRS + ALIAS + PAIRS, [0, 1, 4]),
]


async def _read_in_pieces(scripted: Scripted, stream: bytes, cuts: list[int]) -> tuple[list[object], list[int]]:
    await scripted.serving()
    asked = [scripted.ask(f"{KEY}{number}") for number in range(5)]
    await turn()
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        scripted.receive(stream[begin:end])
    replies = [await each for each in asked]
    return replies, [int(key.removeprefix(KEY)) for key in scripted.tracking.entries.names()]


@pytest.mark.parametrize(("stream", "kept_at_the_end"), STREAMS, ids=["keys", "all", "poisoned"])
async def test_the_stream_may_be_split_anywhere(stream: bytes, kept_at_the_end: list[int]) -> None:
    """At each byte, and at all of them: replies, permissions and pushes keep their places."""
    scripted = Scripted()
    try:
        expected = await _read_in_pieces(scripted, stream, [])
    finally:
        await scripted.close()
    assert expected[1] == kept_at_the_end
    assert sum(reply == FIELDS for reply in expected[0]) >= 2
    for cuts in (list(range(1, len(stream))), *([at] for at in range(1, len(stream)))):
        scripted = Scripted()
        try:
            assert await _read_in_pieces(scripted, stream, cuts) == expected
        finally:
            await scripted.close()
