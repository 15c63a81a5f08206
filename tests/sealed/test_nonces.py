"""The nonces of sealed values: many are made at once, and no two values get the same."""

from __future__ import annotations

import ctypes
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from chuk_sessions import nonces
from chuk_sessions.nonces import MANY, NONCE_BYTES, new_nonce

SEVERAL = 3 * MANY + 1  # so that they are made anew several times


def taken(count: int) -> list[bytes]:
    return [new_nonce() for _ in range(count)]


def test_no_nonce_comes_twice() -> None:
    """Each has the length that the cipher takes."""
    found = taken(SEVERAL)
    assert len(set(found)) == SEVERAL
    assert {len(nonce) for nonce in found} == {NONCE_BYTES}


def test_threads_share_none() -> None:
    """All of them take from the same ones."""
    with ThreadPoolExecutor(8) as pool:
        found = [nonce for some in pool.map(taken, [SEVERAL] * 16) for nonce in some]
    assert len(set(found)) == 16 * SEVERAL


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # of the tests before it
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize(
    ("of_c", "same_id"), [(False, False), (True, False), (False, True)], ids=["fork of Python", "fork of C", "same id"]
)
def test_a_forked_process_has_none_of_its_parent(of_c: bool, same_id: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that were made and not used yet would otherwise seal a value in each of the two.

    A server written in C, such as uWSGI, runs no hooks of Python when it forks. A process in a container of its own may
    have the id of its parent, and a grandchild that of a process which has ended.
    """
    if same_id:
        monkeypatch.setattr(nonces, "getpid", lambda: nonces._owner[0])
    new_nonce()
    reader, writer = os.pipe()
    pid = ctypes.PyDLL(None).fork() if of_c else os.fork()
    if pid == 0:
        try:
            os.write(writer, b"".join(taken(MANY)))
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as pipe:
        told = pipe.read()
    os.waitpid(pid, 0)
    of_child = {told[start : start + NONCE_BYTES] for start in range(0, len(told), NONCE_BYTES)}
    assert len(of_child) == MANY
    assert of_child.isdisjoint(taken(MANY))
