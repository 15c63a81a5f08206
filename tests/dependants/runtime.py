"""chuk-mcp-runtime: its session manager, and the helpers around the current session."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from chuk_mcp_runtime.session import (
    MCPSessionManager,
    SessionContext,
    SessionError,
    SessionMetadata,
    SessionNotFoundError,
    SessionStatus,
    SessionValidationError,
    create_mcp_session_manager,
    get_session_or_none,
    get_user_or_none,
    require_session,
    require_user,
    session_optional,
    session_required,
    with_session_auto_inject,
)

import chuk_sessions

if TYPE_CHECKING:
    from tests.dependants.expect import Steps

SANDBOX = "dependants-runtime"


async def drive(steps: Steps) -> None:
    """Life of a session, the context, tools, and what is made from a configuration."""
    steps.expect("its types are ours", SessionMetadata is chuk_sessions.SessionMetadata)
    steps.expect("its status too", SessionStatus is chuk_sessions.SessionStatus)
    manager = MCPSessionManager(sandbox_id=SANDBOX, default_ttl_hours=2)
    await life(manager, steps)
    await context(manager, steps)
    await tools(manager, steps)
    await extension(steps)
    os.environ["CHUK_SANDBOX_ID"] = SANDBOX
    made = create_mcp_session_manager({"sessions": {"sandbox_id": SANDBOX, "default_ttl_hours": 3}})
    steps.expect("a configuration makes one", (made.sandbox_id, made.default_ttl_hours) == (SANDBOX, 3))


async def life(manager: MCPSessionManager, steps: Steps) -> None:
    """Create, read in both forms, update, extend, delete."""
    session_id = await manager.create_session(user_id="alice", metadata={"a": 1})
    steps.expect("it is valid", await manager.validate_session(session_id))
    info = await manager.get_session_info(session_id)
    steps.expect("info has the metadata", info["custom_metadata"] == {"a": 1})
    metadata = await manager.get_session_metadata(session_id)
    steps.expect("the typed form is ours", isinstance(metadata, SessionMetadata))
    steps.expect("and says the same", (metadata.user_id, metadata.status) == ("alice", SessionStatus.ACTIVE))
    steps.expect("its dump is the info", metadata.model_dump() == info)
    steps.expect("it updates", await manager.update_session_metadata(session_id, {"b": 2}))
    steps.expect("it extends", await manager.extend_session(session_id, 1))
    later = await manager.get_session_info(session_id)
    steps.expect("to a later end", later["expires_at"] > info["expires_at"])
    steps.expect("with both keys", later["custom_metadata"] == {"a": 1, "b": 2})
    steps.expect("it is deleted", await manager.delete_session(session_id))
    steps.expect("once", not await manager.delete_session(session_id))
    await steps.expect_raises("and not found", SessionNotFoundError, manager.get_session_info(session_id))
    await steps.expect_raises("in either form", SessionNotFoundError, manager.get_session_metadata(session_id))
    steps.expect("statistics name the sandbox", manager.get_cache_stats()["sandbox_id"] == SANDBOX)
    active = await manager.list_active_sessions()
    steps.expect("so does the list", active["sandbox_id"] == SANDBOX)
    steps.expect("clean-up counts", isinstance(await manager.cleanup_expired_sessions(), int))


async def context(manager: MCPSessionManager, steps: Steps) -> None:
    """The current session: made, nested, required, refused."""
    manager.clear_context()
    steps.expect("there is none at first", get_session_or_none() is None and get_user_or_none() is None)
    for helper in (require_session, require_user):
        await steps.expect_raises("it is required", SessionError, _call(helper))
    async with SessionContext(manager, user_id="alice") as outer:
        steps.expect("one is made", require_session() == outer and require_user() == "alice")
        inner_id = await manager.create_session(user_id="bob")
        async with SessionContext(manager, session_id=inner_id, user_id="bob"):
            steps.expect("one within another", (require_session(), require_user()) == (inner_id, "bob"))
        steps.expect("the outer one is back", require_session() == outer)
        steps.expect("and is used again", await manager.auto_create_session_if_needed("alice") == outer)
    await manager.delete_session(outer)
    replaced = await manager.auto_create_session_if_needed("alice")
    steps.expect("a deleted one is replaced", replaced != outer and await manager.validate_session(replaced))
    refused = SessionContext(manager, session_id=outer).__aenter__()
    await steps.expect_raises("a deleted one is refused", SessionValidationError, refused)


async def tools(manager: MCPSessionManager, steps: Steps) -> None:
    """Decorators, and what is done before a tool is called."""

    async def needs() -> str:
        return str(require_session())

    async def may_have() -> object:
        return get_session_or_none()

    needs_one, may_have_one = session_required(needs), session_optional(may_have)
    manager.clear_context()
    await steps.expect_raises("a tool needs one", SessionError, needs_one())
    steps.expect("another does not", await may_have_one() is None)
    arguments = await with_session_auto_inject(manager, "some_tool", {"x": 1})
    steps.expect("its arguments are kept", arguments["x"] == 1)
    steps.expect("and there is a session now", await needs_one() == await may_have_one())
    given = await manager.create_session(user_id="carol")
    await with_session_auto_inject(manager, "some_tool", {"session_id": given})
    steps.expect("one in the arguments becomes current", require_session() == given)


async def extension(steps: Steps) -> None:
    """One that is used is extended before it ends."""
    manager = MCPSessionManager(sandbox_id=SANDBOX, default_ttl_hours=2, auto_extend_threshold=1.1)
    manager.clear_context()
    session_id = await manager.auto_create_session_if_needed("alice")
    before = await manager.get_session_info(session_id)
    steps.expect("it is the current one", await manager.auto_create_session_if_needed("alice") == session_id)
    after = await manager.get_session_info(session_id)
    steps.expect("and ends later", after["expires_at"] > before["expires_at"])


async def _call(helper: Any) -> Any:
    return helper()
