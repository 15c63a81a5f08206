"""The life of a session: allocate, update, read, delete.

    python examples/quick_start.py

With ``SESSION_PROVIDER=redis`` and ``SESSION_REDIS_URL=redis://localhost:6379/0`` the same runs on Redis.
"""

from __future__ import annotations

import asyncio

from chuk_sessions import SessionManager


async def main() -> None:
    """Print what is known of a session while it lives, and that it has ended."""
    sessions = SessionManager(sandbox_id="shop")
    session_id = await sessions.allocate_session(user_id="alice", custom_metadata={"role": "editor"})

    await sessions.update_session_metadata(session_id, {"theme": "dark"})
    info = await sessions.get_session_info(session_id)
    assert info is not None
    print(info["user_id"], info["custom_metadata"])
    print(sessions.generate_artifact_key(session_id, "invoice.pdf"))

    await sessions.delete_session(session_id)
    print(await sessions.validate_session(session_id))


if __name__ == "__main__":
    asyncio.run(main())
