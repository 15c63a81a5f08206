"""Handles of an MCP server, on the official SDK: one user's are worth nothing to another."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from chuk_sessions import SessionManager

pytest.importorskip("mcp", reason="the SDK is installed on Pythons before 3.14 only: see the dev extra")

from mcp import Client

from examples.mcp_handles import create_server


async def ask(client: Client, tool: str, **arguments: Any) -> tuple[bool, str]:
    """Whether it went well, and the text of the answer."""
    result: Any = await client.call_tool(tool, arguments)
    return not result.is_error, result.content[0].text


async def test_handles(web_manager: SessionManager) -> None:
    """Alice starts a report and goes on with it in another process; Bob cannot, and nothing of hers changes."""
    user = ["alice"]
    async with Client(create_server(web_manager, lambda: user[0])) as one:
        _, handle = await ask(one, "start_report", topic="Sales")
        assert await ask(one, "add_line", handle=handle, text="up") == (True, "1")
    async with Client(create_server(web_manager, lambda: user[0])) as other:
        user[0] = "bob"
        for tool, more in (("add_line", {"text": "down"}), ("finish_report", {})):
            for each in (handle, "made up", "x" * 5000, "sess-" + "0" * 38):
                good, text = await ask(other, tool, handle=each, **more)
                assert not good
                assert "unknown handle" in text
        user[0] = "alice"
        await asyncio.gather(*(ask(other, "add_line", handle=handle, text=f"line {n}") for n in range(5)))
        good, report = await ask(other, "finish_report", handle=handle)
        assert good
        first, *lines = report.splitlines()
        assert (first, sorted(lines)) == ("Sales", sorted(["up", *(f"line {n}" for n in range(5))]))
        assert not (await ask(other, "add_line", handle=handle, text="late"))[0]


async def test_without_a_token_nobody_is_served(web_manager: SessionManager) -> None:
    """By default the user is the subject of the token."""
    async with Client(create_server(web_manager)) as client:
        good, text = await ask(client, "start_report", topic="x")
        assert not good
        assert "log in first" in text
    assert await web_manager.count_sessions() == 0
