"""Session ids, slot tags, storage keys and fingerprints."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import datetime
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from chuk_sessions import SessionManager
from chuk_sessions import ids as session_ids
from chuk_sessions.ids import (
    fingerprint,
    is_random,
    new_local_id,
    new_opaque_id,
    new_session_id,
    quote_part,
    renewed_id,
    session_key,
    slot_tag,
)

TEXT = st.text(st.characters(categories=None, exclude_categories=()))
OWN = r"sess-(?:([A-Za-z0-9]{1,8})-)?(\d+)-([0-9a-f]{32})([0-9a-f]{6})"
OPAQUE = r"sess-([0-9a-f]{32})([0-9a-f]{6})"


def counting_bytes(size: int) -> bytes:
    return bytes(range(size))


def parts_of(session_id: str) -> tuple[str | Any, ...]:
    match = re.fullmatch(OWN, session_id)
    assert match, session_id
    return match.groups()


def test_format() -> None:
    """User part, whole seconds, 32 random hex and the tag, exactly."""
    tag = slot_tag(new_session_id("box", "alice@example.com", 0))
    session_id = new_session_id("box", "alice@example.com", 1700000000.9, counting_bytes)
    assert session_id == f"sess-aliceexa-1700000000-{bytes(range(16)).hex()}{tag}"


def test_users_that_are_remembered_have_a_bound_and_are_renewed() -> None:
    """Whatever users came before, a user with session after session is remembered after some others."""
    for number in range(session_ids.MOST_REMEMBERED):  # as tests before this one may have done
        new_session_id("other", f"user-{number}", 0)
    expected = new_session_id("bound", "alice", 0)[-6:]
    for number in range(2 * session_ids.RENEW_REMEMBERED):
        new_session_id("bound", f"user-{number}", 0)
        assert new_session_id("bound", "alice", 0)[-6:] == expected
        assert sum(map(len, session_ids._parts.values())) <= session_ids.MOST_REMEMBERED
    new_session_id("bound", "alice", 0)  # once more: all may have been forgotten just now
    assert "alice" in session_ids._parts["bound"]


@pytest.mark.parametrize(
    "user_id", ["alice@example.com", "x@", "é", "\ud800", "", None, "x" * 300, "12345678é", "²²²²²²²²1"]
)
def test_an_id_in_memory(user_id: str | None) -> None:
    """Has the form of any other, and a random tag, also when its user is remembered."""
    usual = new_session_id("box", user_id, 1700000000.9)
    for _ in range(2):
        made = new_local_id("box", user_id, 1700000000.9, counting_bytes)
        assert made == usual[:-38] + bytes(range(19)).hex()
    assert len({slot_tag(new_local_id("box", user_id, 0)) for _ in range(20)}) > 1
    with pytest.raises(ValueError, match=r"^user_id must be at most"):
        new_local_id("box", "x" * 65_537, 0)


def test_format_without_a_user() -> None:
    """The user part is left out, and the tag is random too."""
    assert new_session_id("box", None, 1700000000.9, counting_bytes) == f"sess-1700000000-{bytes(range(19)).hex()}"
    assert len({slot_tag(new_session_id("box", None, 0)) for _ in range(20)}) == 20


@pytest.mark.parametrize(
    ("user_id", "part"),
    [
        ("alice", "alice"),
        ("a-b_c.d e/f", "abcdef"),
        ("claude_conversation_123", "claudeco"),
        ("12345678901", "12345678"),
        ("Ærøskøbing", "rskbing"),
        ("ключ", None),
        ("", None),
        ("{}*", None),
        ("١٢٣", None),
        ("\ud800a", "a"),
    ],
)
def test_user_part(user_id: str, part: str | None) -> None:
    """The first eight ASCII letters and digits; left out if there are none."""
    assert parts_of(new_session_id("box", user_id, 5))[:2] == (part, "5")


def test_the_second_is_that_of_the_call() -> None:
    """Whatever the last one was: the same, a later or an earlier one."""
    for unix_time in (7, 7.999, 8, 7.5, 0.5, 1e9, 0, 8.25):
        for user_id in (None, "alice"):
            assert f"-{int(unix_time)}-" in new_session_id("box", user_id, unix_time)


def test_what_is_remembered_of_users_is_bounded_and_never_mixed_up() -> None:
    """More users than it remembers, in two sandboxes, twice."""
    users = [f"user-{number}" for number in range(session_ids.MOST_REMEMBERED)]
    first, again = ([slot_tag(new_session_id(box, user, 0)) for box in ("a", "b") for user in users] for _ in range(2))
    assert first == again
    assert len(set(first)) > len(first) - 10
    assert sum(map(len, session_ids._parts.values())) <= session_ids.MOST_REMEMBERED


def test_the_longest_users_are_not_remembered() -> None:
    """Thousands of them would be hundreds of megabytes; their tags are what they would be."""
    users = [f"{number}-" + "x" * 65_000 for number in range(50)]
    made = [new_session_id("box", user, 0) for user in users]
    assert not session_ids._parts.get("box", {}).keys() & set(users)
    assert [slot_tag(each) for each in made] == [session_ids.user_tag("box", user) for user in users]
    assert len(set(map(slot_tag, made))) == len(users)


def test_an_opaque_id() -> None:
    """Random hex and the tag, which is that of the user's other ids; without a user it is random too."""
    tag = slot_tag(new_session_id("box", "alice", 0))
    assert new_opaque_id("box", "alice", 1700000000, counting_bytes) == f"sess-{bytes(range(16)).hex()}{tag}"
    assert new_opaque_id("box", None, 1700000000, counting_bytes) == f"sess-{bytes(range(19)).hex()}"
    for user_id in (None, "alice", "1234567890", "0" * 8):
        made = {new_opaque_id("box", user_id, 5) for _ in range(1000)}
        assert len({re.fullmatch(OPAQUE, each)[1] for each in made}) == 1000  # type: ignore[index]
        assert all(map(is_random, made))
    with pytest.raises(ValueError, match=r"^user_id must be at most"):
        new_opaque_id("box", "x" * 65_537, 0)


def test_a_renewed_id() -> None:
    """Of the same form and tag, unless an opaque one is asked for; of an id that was chosen, with the tag of that."""
    for session_id in (new_session_id("box", "alice", 5), new_session_id("box", None, 5), "chosen", "sess-chosen"):
        new_id = renewed_id(session_id, 7)
        assert parts_of(new_id)[:2] == (parts_of(session_id)[0] if is_random(session_id) else None, "7")
        assert slot_tag(new_id) == slot_tag(session_id)
        new_id = renewed_id(session_id, 7, opaque=True)
        assert re.fullmatch(OPAQUE, new_id)
        assert slot_tag(new_id) == slot_tag(session_id)
    for user_id in ("alice", None):
        session_id = new_opaque_id("box", user_id, 5)
        for opaque in (True, False):
            new_id = renewed_id(session_id, 7, opaque=opaque)
            assert re.fullmatch(OPAQUE, new_id)
            assert new_id != session_id
            assert slot_tag(new_id) == slot_tag(session_id)


def test_ids_differ() -> None:
    """128 random bits, for a user too."""
    for user_id in (None, "alice"):
        assert len({parts_of(new_session_id("box", user_id, 5))[2] for _ in range(1000)}) == 1000


async def test_the_manager_makes_such_ids() -> None:
    """With the time of the allocation."""
    manager = SessionManager("box")
    session_id = await manager.allocate_session(user_id="alice")
    user_part, seconds, _, tag = parts_of(session_id)
    info = await manager.get_session_info(session_id)
    assert info is not None
    assert user_part == "alice"
    assert tag != slot_tag(await manager.allocate_session(user_id="alice"))
    assert abs(int(seconds) - datetime.fromisoformat(info["created_at"]).timestamp()) <= 1


@given(sandbox=TEXT, user=TEXT)
@example(sandbox="a", user="")
def test_all_sessions_of_a_user_share_a_tag(sandbox: str, user: str) -> None:
    tags = {slot_tag(new_session_id(sandbox, user, seconds)) for seconds in (0, 1e9)}
    assert len(tags) == 1


def test_tags_differ_between_users_and_between_sandboxes() -> None:
    """Also where names would run together."""
    pairs = [("a", "b"), ("a", "c"), ("b", "a"), ("ab", ""), ("", "ab"), ("a", "bc"), ("ab", "c")]
    assert len({slot_tag(new_session_id(*pair, 0)) for pair in pairs}) == len(pairs)


def test_tags_spread() -> None:
    """Over users, nearly all of six hex digits are used: 2,000 users rarely meet."""
    assert len({slot_tag(new_session_id("box", f"user-{n}", 0)) for n in range(2000)}) > 1990


@given(TEXT)
@example("sess-alice-1234567890-abcd1234")
@example("sess-" + "x" * 9 + "-1-" + "0" * 38)
@example("SESS-alice-1-" + "0" * 38)
@example("sess-alice-1-" + "0" * 37)
@example("sess-alice-" + "0" * 38)
@example("sess-" + "0" * 37)
@example("sess-" + "0" * 39)
@example("sess-" + "A" * 38)
@example("sess--" + "0" * 38)
@example("sess-alice-1-" + "0" * 39)
@example("sess-alice-1-" + "0" * 38 + "\n")
@example("sess-alice-\u0661-" + "0" * 38)
@example("sess-alice-1-" + "A" * 38)
def test_the_tag_of_a_foreign_id_is_a_hash_of_it(session_id: str) -> None:
    """Six hex digits; not cut out of an id that only looks like one of ours."""
    assume(not re.fullmatch(f"{OWN}|{OPAQUE}", session_id, re.ASCII))
    tag = slot_tag(session_id)
    assert re.fullmatch("[0-9a-f]{6}", tag)
    assert tag != session_id[-6:]
    assert slot_tag(session_id + "x") != tag
    assert session_key("box", session_id).startswith(f"session:{{{tag}}}:box:")


def test_keys() -> None:
    """As documented: tag in braces, sandbox, id; each part encoded where it must be."""
    own = new_session_id("box", "alice", 5)
    assert session_key("box", own) == f"session:{{{own[-6:]}}}:box:{own}"
    opaque = new_opaque_id("box", "alice", 5)
    assert session_key("box", opaque) == f"session:{{{own[-6:]}}}:box:{opaque}"
    assert session_key(quote_part("a:b"), "x:{y}/*") == f"session:{{{slot_tag('x:{y}/*')}}}:a%3Ab:x%3A%7By%7D%2F%2A"


@pytest.mark.parametrize(
    ("part", "quoted"),
    [
        ("AZaz09._~@-", "AZaz09._~@-"),
        ("a b", "a%20b"),
        ("%3A", "%253A"),
        ("ключ", "%D0%BA%D0%BB%D1%8E%D1%87"),
        ("\ud800", "%ED%A0%80"),
        ("\0\n", "%00%0A"),
        ("[]^$?!'()+,;=&#\\\"<>|`", None),
        ("", ""),
    ],
)
def test_quoting(part: str, quoted: str | None) -> None:
    """Everything but `[A-Za-z0-9._~@-]` is percent-encoded."""
    result = quote_part(part)
    assert re.fullmatch(r"(?:[A-Za-z0-9._~@-]|%[0-9A-F]{2})*", result)
    assert quoted is None or result == quoted


PAIRS = st.tuples(TEXT, TEXT)
CLOSE = st.tuples(st.text("ab:%{}3A", max_size=4), st.text("ab:%{}3A", max_size=4))


@given(st.one_of(st.lists(PAIRS, min_size=2, max_size=2), st.lists(CLOSE, min_size=2, max_size=2)))
def test_no_two_pairs_share_a_key(pairs: list[tuple[str, str]]) -> None:
    keys = {session_key(quote_part(sandbox), session_id) for sandbox, session_id in pairs}
    assert len(keys) == len(set(pairs))


@given(sandbox=TEXT, session_id=TEXT)
def test_nothing_can_be_injected(sandbox: str, session_id: str) -> None:
    """One hash tag, ours; two further colons; nothing that a pattern or an ACL would take for a wildcard."""
    key = session_key(quote_part(sandbox), session_id)
    assert re.fullmatch(r"session:\{[0-9a-f]{6}\}:[A-Za-z0-9._~@%-]*:[A-Za-z0-9._~@%-]*", key)


@given(TEXT, TEXT)
def test_fingerprints(one: str, other: str) -> None:
    """Eight hex digits that follow from the id and do not show it."""
    assert re.fullmatch("[0-9a-f]{8}", fingerprint(one))
    assert fingerprint(one) == fingerprint(one)
    assert (fingerprint(one) == fingerprint(other)) is (one == other)
    assert not one or len(one) < 3 or one not in fingerprint(one) or re.fullmatch("[0-9a-f]{3,8}", one)


def test_fingerprints_and_tags_are_the_same_in_every_process() -> None:
    """A log of one process can be read against that of another, and a key found by both."""
    values = "fingerprint('a'), slot_tag('a'), slot_tag(new_session_id('b', 'c', 0))"
    code = f"from chuk_sessions.ids import *; print({values})"
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert output.split() == [fingerprint("a"), slot_tag("a"), slot_tag(new_session_id("b", "c", 0))]


def test_the_fingerprint_of_what_is_no_text() -> None:
    assert fingerprint(None) == fingerprint("None")
