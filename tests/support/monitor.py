"""What the scripts on a server do there: with which keys each was called, and which commands it ran."""

from __future__ import annotations

import re
from hashlib import sha1
from os import urandom
from typing import TYPE_CHECKING, NamedTuple, Self

from tests.support.servers import _encode

if TYPE_CHECKING:
    from tests.support.servers import Server

LINE = re.compile(r"\+\S+ \[\d+ (\S+)\] (.*)\r\n")
WORD = re.compile(r'"((?:[^"\\]|\\.)*)"')


class Run(NamedTuple):
    """One run of a script; text is as MONITOR writes it, where what is not printable has a backslash."""

    sha: str
    keys: frozenset[str]
    commands: list[list[str]]


class Monitor:
    """Listens to a server while it is open."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def __enter__(self) -> Self:
        self._sock = self._server._connect(5)
        self._stream = self._sock.makefile("rb")
        for line in (*self._server._greeting(), ("MONITOR",)):
            self._sock.sendall(_encode(line))
            assert self._stream.readline() == b"+OK\r\n"
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
        self._sock.close()

    def runs(self) -> list[Run]:
        """Those since the last call. A run of a script whose source the server did not have did nothing."""
        token, found = urandom(8).hex(), list[Run]()
        self._server.command("ECHO", token)
        while token not in (line := self._stream.readline().decode("latin-1")):
            match = LINE.fullmatch(line)
            assert match is not None, line
            words = WORD.findall(match[2])
            if words[0].upper() in ("EVAL", "EVALSHA"):
                keys = frozenset(words[3 : 3 + int(words[2])])
                found.append(Run(words[1] if words[0].upper() == "EVALSHA" else _sha(words[1]), keys, []))
            elif ":" not in match[1]:  # a script, in the place of an address
                found[-1].commands.append(words)
        return found


def _sha(source: str) -> str:
    text = source.encode().decode("unicode_escape")
    return sha1(text.encode(), usedforsecurity=False).hexdigest()
