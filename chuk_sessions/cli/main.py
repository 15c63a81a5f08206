"""The command line: it takes arguments and returns an exit code.

0: the command is done; 1: something is left to do; 2: the command could not be carried out.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import logging
import os
import signal
import sys
import traceback
from contextlib import suppress
from dataclasses import asdict
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from chuk_sessions import __version__, grid
from chuk_sessions.cli import top
from chuk_sessions.cli.check import Level, check
from chuk_sessions.cli.inspect import LISTED, as_json, as_text, survey
from chuk_sessions.cli.keys import KEYS_HELP, keyring_for, keyring_of_application
from chuk_sessions.cli.migrate import BATCH, Counts, migrate
from chuk_sessions.cli.progress import show_progress
from chuk_sessions.cli.reindex import reindex
from chuk_sessions.cli.rotate import rotate
from chuk_sessions.cli.stored import count_keys
from chuk_sessions.cli.targets import ProviderTarget
from chuk_sessions.environment import variable
from chuk_sessions.exceptions import ProviderError
from chuk_sessions.provider_factory import BUILT_IN, factory_named
from chuk_sessions.redis_client.client import Client

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

__all__ = ["main"]

SCRIPT = "chuk-sessions"  # of pyproject.toml
QUIET = logging.NullHandler()
INTERRUPTED = 130
OUTPUT_CLOSED = 141  # the exit code that a shell reports for a program which SIGPIPE ended
SHOWN_PROBLEMS = 20
SHOWN_SANDBOXES = 20
URL_HELP = (
    "redis://, rediss:// or unix:// URL; env:NAME reads it from the variable NAME, which keeps a password out of `ps`"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Return the exit code."""
    logging.getLogger("chuk_sessions.redis_client.node").addHandler(QUIET)  # the printed error says the same
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # characters that the terminal's encoding lacks are no error
    try:
        try:
            return _run(arguments)
        finally:
            print(end="", flush=True)  # an error of this flush can be caught here, but not at the interpreter's exit
    except BrokenPipeError:
        _discard_output()
        return OUTPUT_CLOSED


def _run(arguments: Sequence[str] | None) -> int:
    options = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], Awaitable[int]] = options.run
    try:
        return asyncio.run(_to_end(run(options)))
    except (ProviderError, ValueError) as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except Exception:  # for instance in a provider's module; uncaught it would end with 1, which means "left to do"
        traceback.print_exc()
        return 2


def _discard_output() -> None:
    """Send the buffered output to nowhere: the reading program has closed the pipe (``| head``)."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


async def _to_end(run: Awaitable[int]) -> int:
    return await run


def _program() -> str:
    """Return the command that started this program, for usage texts."""
    return SCRIPT if PurePath(sys.argv[0]).stem == SCRIPT else "python -m chuk_sessions"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=_program(), description="Tools for sessions on Redis.")
    parser.add_argument("--version", action="version", version=f"chuk-sessions {__version__}")
    commands = parser.add_subparsers(required=True, metavar="{migrate,inspect,check,reindex,rotate,top}")
    _add_migrate(commands)
    _add_inspect(commands)
    _add_check(commands)
    _add_reindex(commands)
    _add_rotate(commands)
    _add_top(commands)
    return parser


def client(text: str) -> Client:
    """Make the client of a URL argument. Raises ValueError if the argument names a variable that is not set."""
    name = text.removeprefix("env:")
    if name == text:
        return Client(text)
    if not name.isidentifier():  # perhaps a URL, with a password in it
        raise ValueError("env: must name a variable, as in env:REDIS_URL")
    url = variable(name)
    if not url:
        raise ValueError(f"the variable {name} is not set")
    return Client(url)


def _target(text: str) -> Client | ProviderTarget:
    """Return the target that ``--to`` names.

    Raises ValueError as ``client`` does, or if the text is neither a URL nor the path of a module; UnknownProvider if
    there is no such module.
    """
    if "://" in text or text.startswith("env:"):
        return client(text)
    if not all(map(str.isidentifier, text.split("."))):  # perhaps a mistyped URL, with a password in it
        raise ValueError("--to is neither a URL (redis://...) nor the dotted path of a module")
    if text.lower() in BUILT_IN:
        raise ValueError("--to needs the URL of a Redis server; sessions in memory would end with this process")
    return ProviderTarget(factory_named(text, "--to"))


def _add_extent(parser: argparse.ArgumentParser) -> None:
    """Add what commands have in common that go through all sessions and write."""
    parser.add_argument("--sandbox", action="append", default=[], help="only this sandbox; may be given several times")
    parser.add_argument("--dry-run", action="store_true", help="only count")
    parser.add_argument("--batch", type=_batch, default=BATCH, metavar="N", help=f"sessions at a time ({BATCH})")


def _add_migrate(commands: Any) -> None:
    parser = commands.add_parser(
        "migrate",
        help="move sessions to another server, or from the layout of 0.2 to 0.6 into that of this version",
        description="Move all sessions from one database to another. With the same URL twice, move the sessions of 0.2"
        " to 0.6 into the layout of this version. The run may be interrupted and started again, also while applications"
        " use both databases.",
    )
    parser.add_argument("--from", dest="source", required=True, metavar="URL", help=URL_HELP)
    parser.add_argument(
        "--to", dest="target", required=True, metavar="URL", help="such a URL, or the module of your own provider"
    )
    parser.add_argument("--into", type=_sandbox, metavar="SANDBOX", help="move the sessions into this sandbox")
    parser.add_argument("--keys", metavar="env:NAME", help=f"for sealed values with --into; {KEYS_HELP}")
    parser.add_argument("--show-ids", action="store_true", help="show keys that are left in place, ids included")
    _add_extent(parser)
    parser.set_defaults(run=_migrate)


def _add_inspect(commands: Any) -> None:
    parser = commands.add_parser(
        "inspect",
        help="count and list sessions",
        description="Show for each sandbox the number of sessions, their memory, the age of the oldest and when the"
        " next expires. List the sessions that expire first.",
    )
    parser.add_argument("url", metavar="URL", help=URL_HELP)
    parser.add_argument("--sandbox", action="append", default=[], help="only this sandbox; may be given several times")
    parser.add_argument("--user", help="only sessions of this user")
    parser.add_argument("--list", type=_batch, default=LISTED, metavar="N", help=f"sessions in the list ({LISTED})")
    parser.add_argument(
        "--show-ids", action="store_true", help="ids instead of fingerprints; an id is enough to use a session"
    )
    parser.add_argument("--keys", metavar="env:NAME", help=f"names the keys of sealed values; {KEYS_HELP}")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=_inspect)


def _add_check(commands: Any) -> None:
    parser = commands.add_parser(
        "check",
        help="compare a server with the production checklist",
        description="Print one line for each point of the checklist, with advice. Makes a session and removes it.",
    )
    parser.add_argument("url", metavar="URL", help=URL_HELP)
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=_check)


def _add_reindex(commands: Any) -> None:
    parser = commands.add_parser(
        "reindex",
        help="rebuild the index of users from the sessions",
        description="Put back the index entries of sessions that are missing in the index of their user, for instance"
        " after the server has evicted keys. The run may be interrupted and started again, also while applications use"
        " the server.",
    )
    parser.add_argument("url", metavar="URL", help=URL_HELP)
    _add_extent(parser)
    parser.set_defaults(run=_reindex)


def _add_rotate(commands: Any) -> None:
    parser = commands.add_parser(
        "rotate",
        help="seal the metadata of all sessions with the first key",
        description="Seal each value of metadata that is plain or sealed with another key. No session is touched, and"
        " no deadline moves. The run may be interrupted and started again, also while applications use the server.",
    )
    parser.add_argument("url", metavar="URL", help=URL_HELP)
    parser.add_argument("--keys", required=True, metavar="env:NAME", help=KEYS_HELP)
    parser.add_argument(
        "--plain-field",
        action="append",
        default=[],
        metavar="NAME",
        help="a key of metadata that is never sealed, as in plain_fields of the application; may be given several times"
        " (SESSION_ENCRYPTION_PLAIN_FIELDS)",
    )
    parser.add_argument("--show-ids", action="store_true", help="show keys of sessions that are left, ids included")
    _add_extent(parser)
    parser.set_defaults(run=_rotate)


def _add_top(commands: Any) -> None:
    parser = commands.add_parser(
        "top",
        help="watch what is going on",
        description="Show sessions per sandbox, counted every minute; memory and round trip of each server, and what it"
        " counts, a second: commands, and keys created, read, removed and expired; with --metrics also what the"
        " application does. Ctrl-C ends it.",
    )
    parser.add_argument("url", metavar="URL", help=URL_HELP)
    parser.add_argument("--metrics", metavar="URL", help="http:// URL of the application's metrics for Prometheus")
    parser.add_argument("--interval", type=_seconds, default=2.0, metavar="SECONDS", help="between two looks (2)")
    parser.add_argument("--once", action="store_true", help="two looks, and the result as text")
    parser.add_argument("--json", action="store_true", help="with --once, for programs")
    parser.set_defaults(run=_top)


def _seconds(text: str) -> float:
    with suppress(ValueError):
        if 0.1 <= float(text) <= 3600:
            return float(text)
    raise argparse.ArgumentTypeError("must be a number of seconds from 0.1 to 3600")


def _sandbox(text: str) -> str:
    try:
        return grid.check_segment("a sandbox", text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc


def _batch(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 10_000:
        raise argparse.ArgumentTypeError("must be a whole number from 1 to 10000")
    return int(text)


async def _inspect(options: argparse.Namespace) -> int:
    found = await survey(
        client(options.url),
        sandboxes=options.sandbox,
        user_id=options.user,
        listed=options.list,
        show_ids=options.show_ids,
        names=keyring_for(options.keys).names if options.keys else {},
    )
    print(json.dumps(as_json(found), indent=2) if options.json else as_text(found))
    return 0


async def _check(options: argparse.Namespace) -> int:
    findings = await check(client(options.url), keyring_of_application())
    if options.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        print("\n".join(map(str, findings)))
    return 1 if {Level.WARN, Level.FAIL} & {finding.level for finding in findings} else 0


async def _migrate(options: argparse.Namespace) -> int:
    source = client(options.source)
    target = source if options.target == options.source else _target(options.target)
    keyring = keyring_for(options.keys) if options.keys else None
    stopped = _stop_at_signal()
    total = await count_keys(source)
    with show_progress(total) as progress:
        counts = await migrate(
            source,
            target,
            sandboxes=options.sandbox,
            into=options.into,
            dry_run=options.dry_run,
            batch=options.batch,
            progress=progress,
            stop=stopped.is_set,
            keyring=keyring,
        )
    print(_report(counts, options.dry_run, options.show_ids))
    if stopped.is_set():
        print("interrupted: run it again to go on")
        return INTERRUPTED
    return 1 if counts.left_behind else 0


async def _reindex(options: argparse.Namespace) -> int:
    server, stopped = client(options.url), _stop_at_signal()
    with show_progress(await count_keys(server)) as progress:
        found = await reindex(
            server,
            sandboxes=options.sandbox,
            dry_run=options.dry_run,
            batch=options.batch,
            progress=progress,
            stop=stopped.is_set,
        )
    done = "would be put back" if options.dry_run else "were put back"
    print(f"{found.missing} entries {done}, of {found.sessions} sessions")
    if stopped.is_set():
        print("interrupted: run it again for the rest")
        return INTERRUPTED
    return 1 if options.dry_run and found.missing else 0


async def _rotate(options: argparse.Namespace) -> int:
    server, keyring = client(options.url), keyring_for(options.keys, options.plain_field)
    stopped = _stop_at_signal()
    with show_progress(await count_keys(server)) as progress:
        found = await rotate(
            server,
            keyring,
            sandboxes=options.sandbox,
            dry_run=options.dry_run,
            batch=options.batch,
            progress=progress,
            stop=stopped.is_set,
        )
    print(found.report(options.dry_run, options.show_ids))
    if stopped.is_set():
        print("interrupted: run it again for the rest")
        return INTERRUPTED
    return 0 if found.is_complete(options.dry_run) else 1


async def _top(options: argparse.Namespace) -> int:
    server = client(options.url)
    if options.once:
        view = await top.once(server, options.metrics, options.interval)
        print(json.dumps(top.as_json(view), indent=2) if options.json else top.as_text(view))
    elif options.json:
        raise ValueError("--json goes with --once")
    else:
        await top.watch(server, options.metrics, options.interval, _stop_at_signal())
    return 0


def _stop_at_signal() -> asyncio.Event:
    """Return an event that the first Ctrl-C or SIGTERM sets; the run then finishes its batch.

    The second signal ends the process at once.
    """
    stopped, loop = asyncio.Event(), asyncio.get_running_loop()

    def stop(number: int) -> None:
        stopped.set()
        loop.remove_signal_handler(number)

    with suppress(NotImplementedError, RuntimeError, ValueError):  # Windows, or not in the main thread
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop, number)
    return stopped


def _report(counts: Counts, dry_run: bool, show_ids: bool) -> str:
    """Return the counts in words, and the sessions that were left in place."""
    lines = [f"{'to move' if dry_run else 'moved':>14}: {counts.moved}"]
    by_sandbox = counts.to_move.most_common()
    lines += [f"{'':>14}  {number} of sandbox {name!r}" for name, number in by_sandbox[:SHOWN_SANDBOXES]]
    if len(by_sandbox) > SHOWN_SANDBOXES:
        lines.append(f"{'':>14}  and {len(by_sandbox) - SHOWN_SANDBOXES} sandboxes more")
    more = {
        "of them merged": counts.merged,
        "old ids": counts.aliases,
        "in our layout": counts.here,
        "other sandbox": counts.other_sandbox,
        "ended": counts.ended,
        "left in place": counts.left_behind,
    }
    lines += [f"{name:>14}: {number}" for name, number in more.items() if number]
    shown = counts.problems[:SHOWN_PROBLEMS]
    lines += [f"  {problem.with_key() if show_ids else problem}" for problem in shown]
    if counts.left_behind > SHOWN_PROBLEMS:
        lines.append(f"  and {counts.left_behind - SHOWN_PROBLEMS} more")
    return "\n".join(lines)
