"""An MCP server whose tools work on something over several calls: each gets a handle that only its user can use.

The specification of 2026-07-28 has no sessions of the protocol any more. A server gives out handles of its own, and
looks at each call whether the handle is the caller's: ``open_session(handle, owner=user)`` does both in one round trip
to Redis, so that any process of the server can go on.

    pip install . 'mcp>=2'
    SESSION_PROVIDER=redis python -m examples.mcp_handles
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mcp.server import MCPServer
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.mcpserver.exceptions import ToolError

from chuk_sessions import SessionManager


def user_of_token() -> str:
    """Tell who calls, by the access token that the server has verified."""
    token = get_access_token()
    if token is None or token.subject is None:
        raise ToolError("log in first")
    return token.subject


def create_server(
    manager: SessionManager | None = None, current_user: Callable[[], str] = user_of_token, **options: Any
) -> MCPServer:
    """Make the server; ``options`` are those of ``MCPServer``, such as ``auth`` and ``token_verifier``."""
    handles = manager or SessionManager("reports", default_ttl_hours=1, strict=True, opaque_ids=True)
    server = MCPServer("reports", **options)

    async def opened(handle: str) -> dict[str, Any]:
        found = await handles.open_session(handle, owner=current_user()) if len(handle) <= 100 else None
        if found is None:  # it has ended, never was, or is another user's: the caller learns no difference
            raise ToolError("unknown handle")
        data: dict[str, Any] = found["custom_metadata"]
        return data

    @server.tool()
    async def start_report(topic: str) -> str:
        """Start a report; gives the handle for the other tools."""
        return await handles.allocate_session(user_id=current_user(), custom_metadata={"topic": topic})

    @server.tool()
    async def add_line(handle: str, text: str) -> int:
        """Add a line to a report; gives how many it has. Calls at the same time all count."""
        await opened(handle)
        number = await handles.increment_session_metadata(handle, "lines")
        if number is None or not await handles.update_session_metadata(handle, {f"line {number:06d}": text}):
            raise ToolError("unknown handle")
        return number

    @server.tool()
    async def finish_report(handle: str) -> str:
        """Give the whole report; its handle is worth nothing after that."""
        data = await opened(handle)
        await handles.delete_session(handle)
        return "\n".join([data["topic"], *(data[key] for key in sorted(data) if key.startswith("line "))])

    return server


if __name__ == "__main__":
    create_server(current_user=lambda: "you").run()
