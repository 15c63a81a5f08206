"""Renews the login of a connection before it ends, as servers close a connection whose token has expired.

Rules this file keeps:

* Only a connection whose login ends has a ``Renewal``. It has one timer, and no part in sending commands.
* After ``BEGIN`` of the time, less some jitter, the application's function is asked, in a task. AUTH then goes out
  between the commands of callers, in the order of the pipeline, and nothing waits for its answer.
* If the function raises or is too slow, or the server refuses the login, the connection keeps the login that it has.
  The log gets one line, and the function is asked again after a pause, which is longer each time.
* After ``END`` of the time the connection is finished: no more commands are written, those in flight get their replies,
  and the owner makes another connection. So the server has nothing to cut when the login ends.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable

from chuk_sessions.exceptions import ProviderError, ServerError
from chuk_sessions.redis_client.config import RedisConfig
from chuk_sessions.redis_client.connection import Connection
from chuk_sessions.redis_client.limited_log import LimitedLog
from chuk_sessions.redis_client.login import ask_for_login

__all__ = ["BEGIN", "END", "Renewal"]

BEGIN, END = 0.8, 0.95  # parts of the time until the login must be renewed
SPREAD = 0.1  # the part of ``BEGIN`` that chance may take away, so that not all connections ask at once
SOON = 1.0  # seconds until the renewal of a login that should have been renewed already
FIRST_PAUSE, MAX_PAUSE = 1.0, 60.0  # seconds between two attempts, if the time allows for several


class Renewal:
    """Renews the login of ``connection``, which must be done ``renew_in`` seconds after it was given.

    ``on_question`` is called when an AUTH is on its way, ``on_renewed`` when the server has taken one.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        connection: Connection,
        renew_in: float,
        config: RedisConfig,
        on_question: Callable[[], None],
        on_renewed: Callable[[], None],
        log: LimitedLog,
        jitter: Callable[[], float],
    ) -> None:
        self._loop = loop
        self._connection = connection
        self._config = config
        self._on_question = on_question
        self._on_renewed = on_renewed
        self._log = log
        self._jitter = jitter
        self._context = contextvars.Context()  # empty: a task must not keep the first caller's variables alive
        self._task: asyncio.Task[None] | None = None
        self._stopped = False  # also if the function, and so the task, ignores its cancellation
        self._wait(connection.login_since, renew_in)

    def stop(self) -> None:
        """Stop renewing. Called when the connection has ended, or must end."""
        self._stopped = True
        self._timer.cancel()
        if self._task is not None and not self._task.cancelling():
            self._task.cancel()

    async def ended(self) -> None:
        """Wait, after ``stop``, until the function is not asked any more."""
        if self._task is not None:
            await asyncio.wait([self._task])

    def _wait(self, since: float, renew_in: float) -> None:
        self._seconds = renew_in if renew_in > 0 else SOON
        self._end = since + END * self._seconds
        begin = since + BEGIN * self._seconds * (1 - SPREAD * self._jitter())
        self._timer = self._loop.call_at(begin, self._begin, context=self._context)

    def _begin(self) -> None:
        try:
            self._timer = self._loop.call_at(self._end, self._finish, context=self._context)  # whatever follows
        except BaseException:  # no timer would come any more
            self._finish()
            raise
        self._task = self._context.copy().run(self._loop.create_task, self._renew())

    def _finish(self) -> None:
        self.stop()
        self._connection.finish("its login was not renewed in time")

    async def _renew(self) -> None:
        """Ask for logins until the server has taken one. The timer ends this."""
        pause, most = 0.0, min(MAX_PAUSE, (END - BEGIN) / 4 * self._seconds)
        while (reason := await self._try()) is not None and not self._stopped:
            if not pause:
                self._tell(f"could not be renewed ({reason}); trying again for {self._end - self._loop.time():.0f} s")
            pause = min(max(FIRST_PAUSE, 2 * pause), most)
            await asyncio.sleep(pause * (1 - self._jitter() / 2))
        if pause and not self._stopped:
            self._tell("is renewed")

    def _tell(self, what: str) -> None:
        self._log.line(logging.WARNING, f"the login at Redis at {self._config.address} {what}")

    async def _try(self) -> str | None:
        """Renew the login, and set the timer for the next time. Return the reason if that failed, without secrets."""
        try:
            await self._log_in()
        except ServerError as exc:  # its text is not ours: it may quote the password
            return f"the server refuses it: {exc.code or 'ERR'}"
        except ProviderError as exc:
            return str(exc)
        except Exception as exc:
            return type(exc).__name__
        return None

    async def _log_in(self) -> None:
        config, seconds = self._config, self._config.connect_timeout
        assert config.credentials is not None
        try:
            async with asyncio.timeout(seconds):
                login = await ask_for_login(config.credentials)
        except TimeoutError:
            raise ProviderError(f"the credentials callable did not answer within {seconds:g} s") from None
        since = self._loop.time()
        if self._stopped:
            return
        user = () if login.user is None else (login.user,)
        answer = self._connection.request(b"AUTH", *user, login.password)
        self._on_question()
        await answer
        of_old = self._timer
        if login.renew_in is not None:
            self._wait(since, login.renew_in)
        of_old.cancel()
        self._on_renewed()
