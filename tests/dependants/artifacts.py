"""chuk-artifacts: a store whose artifacts belong to sessions, some with an id that the application chose."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from chuk_artifacts import ArtifactStore

from chuk_sessions.session_manager import SessionManager

if TYPE_CHECKING:
    from tests.dependants.expect import Steps

SANDBOX = "dependants-artifacts"


async def drive(steps: Steps) -> None:
    """Store, read, list, sessions of both kinds, statistics, clean-up."""
    provider = os.environ.get("SESSION_PROVIDER", "memory")
    async with ArtifactStore(storage_provider="memory", session_provider=provider, sandbox_id=SANDBOX) as store:
        await chosen_session(store, steps)
        await own_session(store, steps)
        await files_and_batches(store, steps)
        await administration(store, steps)


async def chosen_session(store: ArtifactStore, steps: Steps) -> None:
    """An id of the application's: made by the first artifact, kept by the second."""
    artifact = {"mime": "text/plain", "summary": "a note", "session_id": "conversation-1", "user_id": "alice"}
    first = await store.store(b"one", filename="one.txt", **artifact)
    steps.expect("the session lives under the chosen id", await store.validate_session("conversation-1"))
    before = await store.get_session_info("conversation-1")
    second = await store.store(b"two", filename="two.txt", **artifact)
    after = await store.get_session_info("conversation-1")
    steps.expect("the second artifact joined it", (before.created_at, before.user_id) == (after.created_at, "alice"))
    steps.expect("artifacts read back", [await store.retrieve(first), await store.retrieve(second)] == [b"one", b"two"])
    metadata = await store.metadata(first)
    steps.expect("metadata names the session", metadata.session_id == "conversation-1")
    listed = {each.artifact_id for each in await store.list_by_session("conversation-1")}
    steps.expect("both are listed", listed == {first, second})
    other = SessionManager(sandbox_id=SANDBOX)
    steps.expect("another manager of the sandbox sees it", await other.validate_session("conversation-1"))
    steps.expect("another sandbox does not", not await SessionManager("elsewhere").validate_session("conversation-1"))
    steps.expect("an artifact is deleted", await store.delete(first) and not await store.exists(first))


async def own_session(store: ArtifactStore, steps: Steps) -> None:
    """A session of the store's: its whole life."""
    session_id = await store.create_session(user_id="bob", ttl_hours=2, custom_metadata={"a": 1})
    steps.expect("the id is ours", session_id.startswith("sess-bob-"))
    steps.expect("metadata updates", await store.update_session_metadata(session_id, {"b": 2}))
    before = await store.get_session_info(session_id)
    steps.expect("it is extended", await store.extend_session_ttl(session_id, 3))
    steps.expect("to a later end", (await store.get_session_info(session_id)).expires_at > before.expires_at)
    prefix = store.get_canonical_prefix(session_id)
    steps.expect("its paths name the session", prefix.startswith(f"grid/{SANDBOX}/") and session_id in prefix)
    steps.expect("it is deleted", await store.delete_session(session_id))
    steps.expect("and gone", not await store.validate_session(session_id))
    steps.expect("and unknown", await store.get_session_info(session_id) is None)
    steps.expect("an artifact without a session gets one", await store.store(b"x", mime="text/plain", summary="x"))


async def files_and_batches(store: ArtifactStore, steps: Steps) -> None:
    """What goes through allocate_session by other ways."""
    await store.write_file(content="text", filename="notes/a.txt", session_id="conversation-2", user_id="alice")
    steps.expect("a file makes its session", await store.validate_session("conversation-2"))
    items = [{"data": b"1", "mime": "text/plain", "summary": str(number)} for number in range(3)]
    stored = await store.store_batch(items, session_id="conversation-3")
    steps.expect("a batch is stored", len(stored) == 3 and all(stored))
    steps.expect("in its session", len(await store.list_by_session("conversation-3")) == 3)


async def administration(store: ArtifactStore, steps: Steps) -> None:
    """The checks and statistics that it asks us for."""
    configuration = await store.validate_configuration()
    steps.expect("it finds its sessions in order", configuration.session_manager["status"] == "ok")
    stats = await store.get_stats()
    steps.expect("statistics name the sandbox", stats.session_manager is not None and stats.sandbox_id == SANDBOX)
    info = await store.get_sandbox_info()
    steps.expect("the sandbox is told", info.sandbox_id == SANDBOX)
    steps.expect("clean-up counts", isinstance(await store.cleanup_expired_sessions(), int))
