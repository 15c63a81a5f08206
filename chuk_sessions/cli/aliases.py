"""Old ids of renewed sessions, which ``migrate`` takes along: a request that has one still finds its session.

An alias is put at the target when it is met, whether its session is there by then or not: one that leads nowhere does
no harm. It stays at the source too for as long as its session is there, as a logout may come through it. Those that are
left when all sessions have been moved are looked for once more then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chuk_sessions.exceptions import WrongTypeError
from chuk_sessions.providers.redis.keys import quote_part, session_key, unquote_part
from chuk_sessions.providers.redis.scripts import DROP
from chuk_sessions.redis_client.commands import Replay

if TYPE_CHECKING:
    from chuk_sessions.cli.stored import Alias
    from chuk_sessions.providers.redis.transfer.crossing import Target
    from chuk_sessions.redis_client.client import Client

__all__ = ["Aliases"]


class Aliases:
    """Those of one run, from its source to its target."""

    def __init__(self, source: Client, target: Target) -> None:
        self._source = source
        self._target = target
        self.some_wait = False  # for their sessions, which are still at the source

    async def move(self, alias: Alias, sandbox_id: str) -> bool:
        """Take one along, into that sandbox; whether it has left the source. Raises as ``Client.call``."""
        if not await self._target.lead(sandbox_id, alias.session_id, alias.current_id, alias.left):
            return False
        if await self._leads_to_a_session(alias):
            self.some_wait = True
            return False
        return bool(await DROP.run(self._source, (alias.key,), (quote_part(alias.current_id),)))

    async def _leads_to_a_session(self, alias: Alias) -> bool:
        """Whether it does at the source, perhaps through more aliases."""
        sandbox, session_id, passed = quote_part(alias.sandbox_id), alias.current_id, {alias.session_id}
        while session_id not in passed:  # as it is in no alias that this package has written
            passed.add(session_id)
            try:
                key = session_key(sandbox, session_id)
                version, name = await self._source.call(b"HMGET", key, b"v", b"alias", replay=Replay.READ)
            except WrongTypeError:
                return False
            if version is not None or name is None:
                return version is not None
            session_id = unquote_part(name.decode())
        return False
