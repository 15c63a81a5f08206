"""An entry of an index: short for ids made here, exact for any id; scripts and client make the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chuk_sessions import ProviderError, SessionManager
from chuk_sessions.ids import new_opaque_id, new_session_id, renewed_id, session_key, slot_tag, user_tag
from chuk_sessions.providers import redis
from chuk_sessions.providers.redis.entries import form_of, mark_of, parse_member, raw_member
from chuk_sessions.providers.redis.keys import index_key
from chuk_sessions.providers.redis.record import to_bytes
from tests.support.places import entry_of, sessions_in, texts
from tests.support.servers import as_bytes

if TYPE_CHECKING:
    from tests.support.servers import Server

MOST = 64  # bytes of an entry in the compact form of a sorted set, by the server's default settings
TEXT = st.text(st.characters(codec=None), max_size=20)
TIME = st.integers(0, 2**53)  # as scripts know it exactly
NOW = 1767225600.123456
TWINS = ("user-2934", "user-3367")  # their tags are equal in the sandbox "box", and so they share an index
# Chosen ids whose tag is the user's: plain, as one without a user and a time, and as one with both.
ALIKE = {
    "chosen-1104": ("user-4008", b":"),
    "sess-mine-1758947bf3f1f": ("user-0", b"."),
    "sess-x28229867-1767225600-00000000000000000000000001aec0ebbf3f1f": ("user-0", b"-"),
}


def there_and_back(session_id: str, user: str, incarnation: bytes) -> bytes:
    """The entry, in the index of the session's own slot; it tells what it was made of."""
    key = session_key("box", session_id)
    index = index_key("box", slot_tag(session_id))
    raw = raw_member(index, key, to_bytes(user), incarnation)
    member = parse_member(index, raw)
    assert (member.session_id, member.incarnation, member.raw) == (session_id, incarnation, raw)
    assert raw.startswith(mark_of(to_bytes(user)))
    return raw


@given(TEXT, TEXT, TIME)
def test_any_id(session_id: str, user: str, created: int) -> None:
    """Whatever it looks like."""
    entries = {there_and_back(each, user, b"%d." % created) for each in (session_id, f"sess-{session_id}")}
    assert len(entries) == 2


@given(TEXT, TEXT, TIME, st.from_regex(rb"[0-9a-f]{16}(\.[0-9]{16})?", fullmatch=True))
def test_a_session_in_another_slot(session_id: str, user: str, created: int, digits: bytes) -> None:
    """Its incarnation has more than the time, and its id may look like one of the index's slot."""
    for name in (session_id, f"sess-{session_id}{slot_tag(session_id)}"):
        there_and_back(name, user, b"%d.%b" % (created, digits))


@given(TEXT, st.text(st.characters(codec=None), max_size=70_000 // 4), st.integers(10**9, 10**10 - 1))
def test_ids_made_here_are_short_for_any_user(sandbox_id: str, user: str, second: int) -> None:
    """New, opaque and renewed; up to the year 2286."""
    made = new_session_id(sandbox_id, user, second)
    for session_id in (made, new_opaque_id(sandbox_id, user, second), renewed_id(made, second)):
        assert len(there_and_back(session_id, user, b"%d." % 10**16)) <= MOST


def test_entries_of_one_deadline_stand_in_the_order_of_their_sessions() -> None:
    """A sorted set compares bytes then."""
    ids = [new_session_id("box", "alice", NOW) for _ in range(100)]
    entries = [there_and_back(each, "alice", b"%d." % (255 * number)) for number, each in enumerate(ids)]
    assert entries == sorted(entries)


@pytest.mark.parametrize("raw", [b"", b"x" * 16, b"x" * 8 + b"?" + b"x" * 20, b"x" * 17, b"x" * 8 + b"+" + b"x" * 20])
def test_what_is_no_entry(raw: bytes) -> None:
    with pytest.raises(ProviderError):
        parse_member("user:{abcdef}:box", raw)


@pytest.mark.redis
async def test_scripts_make_the_entries_that_the_client_makes(redis_server: Server, redis_url: str) -> None:
    """For each form of an id, and after each call that moves it."""
    manager = SessionManager("box", redis.factory(redis_url), strict=True)
    opaque = SessionManager("box", redis.factory(redis_url), strict=True, opaque_ids=True)
    for session_id, (user, form) in ALIKE.items():
        assert form_of(session_key("box", session_id)) == form
        assert slot_tag(session_id) == user_tag("box", user)
        await manager.allocate_session(session_id, user)
    ids = [await each.allocate_session(user_id=user) for each in (manager, opaque) for user in ("alice", "", "\ud800")]
    ids += [*ALIKE, await manager.allocate_session("elsewhere", "alice")]
    assert sessions_in(redis_server) == len(ids)
    for session_id in ids:
        assert await manager.extend_session_ttl(session_id, 1)
        assert await manager.set_session_ttl(session_id, 5)
    assert sessions_in(redis_server) == len(ids)
    renewed = [str(await manager.renew_session(each)) for each in ids]
    visitors = [await manager.allocate_session(), await manager.allocate_session("visitor")]
    renewed += [str(await each.renew_session(visitors.pop(), user_id="alice")) for each in (manager, opaque)]
    assert sessions_in(redis_server) == len(renewed)
    for session_id in renewed:
        assert await manager.set_session_ttl(session_id, 2)
        assert await manager.delete_session(session_id)
    assert redis_server.command("DBSIZE") == 0


@pytest.mark.redis
async def test_what_was_chosen_is_ended_for_a_new_session(redis_server: Server, redis_url: str) -> None:
    """A script that makes room knows the session by its entry, however the id looks."""
    manager = SessionManager("box", redis.factory(redis_url), strict=True, max_sessions_per_user=1)
    for session_id, (user, _) in ALIKE.items():
        await manager.allocate_session(session_id, user)
        await manager.allocate_session(user_id=user)
        assert not await manager.validate_session(session_id)
        assert await manager.delete_user_sessions(user) == 1
    assert redis_server.command("DBSIZE") == 0


@pytest.mark.redis
async def test_users_who_share_an_index_are_apart(redis_server: Server, redis_url: str) -> None:
    """They are listed, limited and ended each for themselves."""
    one, other = TWINS
    assert user_tag("box", one) == user_tag("box", other)
    manager = SessionManager("box", redis.factory(redis_url), strict=True, max_sessions_per_user=2)
    made = {user: [await manager.allocate_session(user_id=user) for _ in range(4)][2:] for user in TWINS}
    (index,) = texts(redis_server, "KEYS", "user:*")
    assert redis_server.command("ZCARD", index) == 4
    for user in TWINS:
        assert [info["session_id"] for info in await manager.list_user_sessions(user)] == made[user]
    assert await manager.delete_user_sessions(one) == 2
    assert [info["session_id"] for info in await manager.list_user_sessions(other)] == made[other]


@pytest.mark.redis
async def test_a_head_that_is_none_stops_no_deletion(redis_server: Server, redis_url: str) -> None:
    """Somebody wrote it; the session ends all the same, and so does one whose creation time is none."""
    manager = SessionManager("box", redis.factory(redis_url), strict=True)
    for head, created in (("", "1"), ("12345678-", "1"), ("12345678.", "yesterday"), ("12345678:", "9" * 400)):
        session_id = await manager.allocate_session("chosen" if head == "12345678-" else None)
        key = session_key("box", session_id)
        redis_server.command("HSET", key, "user", "alice", "head", head, "created", created)
        assert await manager.delete_session(session_id)
    assert redis_server.command("DBSIZE") == 0


@pytest.mark.redis
async def test_an_entry_is_binary(redis_server: Server, redis_url: str) -> None:
    """The record tells all that it is made of."""
    manager = SessionManager("box", redis.factory(redis_url), strict=True)
    key = session_key("box", await manager.allocate_session(user_id="alice"))
    index, raw = entry_of(redis_server, key)
    assert [as_bytes(each) for each in texts(redis_server, "ZRANGE", index, "0", "-1")] == [raw]
    assert raw.startswith(as_bytes(str(redis_server.command("HGET", key, "head"))))
