"""``manage.py chuk_sessions``: count, list and end sessions."""

from __future__ import annotations

import argparse
from contextlib import aclosing
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError

from chuk_sessions.django.settings import get_manager
from chuk_sessions.exceptions import SessionError
from chuk_sessions.ids import fingerprint
from chuk_sessions.web.blocking import run

__all__ = ["Command"]

LISTED = 20
NOBODY = "-"


class Command(BaseCommand):
    """Counts the sessions of the project, lists them, or ends those of a user. It never prints a session key."""

    help = "Count, list and end the sessions of chuk_sessions.django; a session is shown by a hash of its key."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the three actions."""
        actions = parser.add_subparsers(dest="action", required=True)
        actions.add_parser("count", help="how many sessions live")
        listing = actions.add_parser("list", help="sessions, of a user or of everybody")
        _add_user(listing, required=False)
        listing.add_argument("--limit", type=int, default=LISTED, help="at most so many (default: %(default)s)")
        _add_user(actions.add_parser("end", help="end all sessions of a user, as a logout everywhere"), required=True)

    def handle(self, *args: Any, **options: Any) -> None:
        """Run one action. Raises CommandError for an unknown user, and if the storage fails."""
        user = _user_of(options)
        try:
            if options["action"] == "count":
                self.stdout.write(str(run(get_manager().count_sessions())))
            elif options["action"] == "list":
                self._list(run(_some(user, options["limit"])))
            else:
                ended = run(get_manager().delete_user_sessions(str(user)))
                self.stdout.write(f"{ended} sessions of user {user} have ended")
        except SessionError as exc:
            raise CommandError(str(exc)) from exc

    def _list(self, found: list[dict[str, Any]]) -> None:
        for info in found:
            times = "  ".join(f"{name} {info[name][:19]}" for name in ("created_at", "last_accessed", "expires_at"))
            self.stdout.write(f"{fingerprint(info['session_id'])}  user {info['user_id'] or NOBODY}  {times}")


def _add_user(parser: argparse.ArgumentParser, required: bool) -> None:
    group = parser.add_mutually_exclusive_group(required=required)
    group.add_argument("--user", metavar="ID", help="the primary key of the user")
    group.add_argument("--username", metavar="NAME", help="the name with which the user logs in")


def _user_of(options: dict[str, Any]) -> str | None:
    """Return the primary key that the options ask for, as a text; None if they ask for no user."""
    name = options.get("username")
    if name is None:
        return options.get("user")
    model = get_user_model()
    try:
        user = model._default_manager.get_by_natural_key(name)
    except model.DoesNotExist:
        raise CommandError(f"there is no user {name!r}") from None
    return str(user._meta.pk.value_to_string(user))


async def _some(user: str | None, limit: int) -> list[dict[str, Any]]:
    """Return the info of sessions, at most so many: those of a user, or any."""
    manager = get_manager()
    infos: Any = manager.iter_sessions() if user is None else manager.iter_user_sessions(user)
    found: list[dict[str, Any]] = []
    async with aclosing(infos):
        async for info in infos:
            if len(found) >= limit:
                break
            found.append(info)
    return found
