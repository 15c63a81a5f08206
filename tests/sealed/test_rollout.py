"""Encryption begins, and keys change, while processes of two steps run side by side: nobody is logged out.

Each test has the processes of one step and of the next: every session of one is used in every way by the other.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions.cli.rotate import rotate
from chuk_sessions.redis_client.client import Client
from tests.sealed.places import keyring, sealed_with
from tests.sealed.worker import Process, StillThere, environment

if TYPE_CHECKING:
    from collections.abc import Iterable

pytest.importorskip("cryptography", reason="the extra `encryption` is not installed")
pytestmark = [pytest.mark.redis, pytest.mark.slow]

PLAIN_FIELDS = ("visits", "count:*")
METADATA = {"role": "canary-7f3a", "cart": [1, {"n": 2}], "visits": 1}

BEFORE = environment()
READS = environment("k1", write="none")
SEALS = environment("k1")
REFUSES = environment("k1", plaintext="refuse")
KNOWS_NEXT = environment("k1 k2")
SEALS_WITH_NEXT = environment("k2 k1")
ONLY_NEXT = environment("k2", plaintext="refuse")

# By the name of the step: the processes of the step before, those of the step, and what a change seals with.
STEPS: dict[str, tuple[dict[str, str], dict[str, str], tuple[str, str]]] = {
    "1 keys that only read": (BEFORE, READS, ("plain", "plain")),
    "2 one key seals": (READS, SEALS, ("plain", "k1")),
    "4 plain values are refused": (SEALS, REFUSES, ("k1", "k1")),
    "a new key that only reads": (SEALS, KNOWS_NEXT, ("k1", "k1")),
    "the new key seals": (KNOWS_NEXT, SEALS_WITH_NEXT, ("k1", "k2")),
    "the old key is gone": (environment("k2 k1", plaintext="refuse"), ONLY_NEXT, ("k2", "k2")),
}


def use(process: Process, session_id: str, metadata: dict[str, Any], round_: int) -> tuple[str, dict[str, Any]]:
    """Use a session that another process has made, in every way. Return its id and metadata now."""
    assert process.call("validate_session", session_id)
    assert process.call("get_session_info", session_id)["custom_metadata"] == metadata
    assert process.call("open_session", session_id)["custom_metadata"] == metadata
    assert process.call("update_session_metadata", session_id, {f"n{round_}": round_})
    assert process.call("increment_session_metadata", session_id, "visits") == metadata["visits"] + 1
    assert process.call("extend_session_ttl", session_id, 1)
    metadata = metadata | {f"n{round_}": round_, "visits": metadata["visits"] + 1}
    new_id = process.call("renew_session", session_id, 60)
    assert process.call("update_session_metadata", session_id, {"renewed": round_})  # under the old id
    metadata |= {"renewed": round_}
    assert process.call("get_session_info", new_id)["custom_metadata"] == metadata
    return new_id, metadata


def log_in(process: Process, session_id: str, metadata: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Give a session of nobody to a user."""
    new_id = process.call("renew_session", session_id, 60, user_id="alice", custom_metadata={"step": "in"})
    metadata = metadata | {"step": "in"}
    assert process.call("get_session_info", new_id)["custom_metadata"] == metadata
    return new_id, metadata


def processes(stack: ExitStack, url: str, *of: dict[str, str]) -> Iterable[Process]:
    return [stack.enter_context(Process(f"{url}?client_name=p{n}", each)) for n, each in enumerate(of)]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("place", ["redis_url", "cluster_url"])
async def test_processes_of_two_steps(request: pytest.FixtureRequest, place: str, step: str) -> None:
    """Whichever made the session, and whichever used it last."""
    url = request.getfixturevalue(place)
    before, after, (old, new) = STEPS[step]
    with ExitStack() as stack:
        one, other = processes(stack, url, before, after)
        for made_by, used_by, sealed in ((one, other, old), (other, one, new)):
            for user in (None, "alice"):
                session_id, metadata = made_by.call("allocate_session", None, user, None, METADATA), dict(METADATA)
                assert (await sealed_with(url, session_id))["role"] == sealed
                for round_, process in enumerate((used_by, made_by, used_by)):
                    session_id, metadata = use(process, session_id, metadata, round_)
                if user is None:
                    session_id, metadata = log_in(used_by, session_id, metadata)
                session_id, metadata = use(made_by, session_id, metadata, 9)
                assert (await sealed_with(url, session_id))["visits"] == "plain"
                listed = used_by.call("list_user_sessions", "alice")
                assert [info["custom_metadata"] for info in listed] == [metadata]
                assert used_by.call("delete_session", session_id)
                assert not made_by.call("validate_session", session_id)


@pytest.mark.parametrize("step", ["3 all is sealed", "all is sealed with the new key"])
async def test_rotation_beside_the_processes(redis_url: str, step: str) -> None:
    """Between two steps: what the processes of both have made is sealed, and used by both all the while."""
    first = step.startswith("3")
    before, after = (READS, SEALS) if first else (KNOWS_NEXT, SEALS_WITH_NEXT)
    ring = keyring("k1", ["k1"]) if first else keyring("k2")
    ring = keyring(ring.write, ring.names.values(), plain_fields=PLAIN_FIELDS)
    alone = REFUSES if first else ONLY_NEXT
    with ExitStack() as stack:
        one, other, last = processes(stack, redis_url, before, after, alone)
        ids = [each.call("allocate_session", None, "alice", None, METADATA) for each in (one, other)]
        with pytest.raises(StillThere, match=r"StorageError: .*(is not sealed|does not have)"):
            last.call("get_session_info", ids[0])
        assert last.call("validate_session", ids[0])  # and the session lives
        del one  # the processes of the step before have ended
        assert (await rotate(Client(redis_url), ring)).is_complete(dry_run=False)
        for session_id in ids:
            session_id, metadata = use(last, session_id, dict(METADATA), 0)
            session_id, metadata = use(other, session_id, metadata, 1)
            use(last, session_id, metadata, 2)


@pytest.mark.parametrize("variables", [BEFORE, environment("k2")], ids=["no keys", "another key"])
async def test_a_step_that_was_left_out(redis_url: str, variables: dict[str, str]) -> None:
    """A process that cannot open the values says so. It logs nobody out: calls without metadata go on."""
    with ExitStack() as stack:
        one, other = processes(stack, redis_url, SEALS, variables)
        session_id = one.call("allocate_session", None, "alice", None, METADATA)
        for name in ("get_session_info", "open_session", "get_session_metadata"):
            with pytest.raises(StillThere, match=r"StorageError: .*(has no keys|does not have)"):
                other.call(name, session_id)
        assert other.call("validate_session", session_id)
        assert other.call("extend_session_ttl", session_id, 1)
        assert one.call("get_session_info", session_id)["custom_metadata"] == METADATA
