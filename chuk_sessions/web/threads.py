"""Threads of Python: where none can run, where greenlets are in their place, and where none can be started any more."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

__all__ = ["NoThreadError", "check_threads", "has_greenlets", "native", "native_lock", "start_thread"]

NO = ("", "0", "false", "no", "off", "none")


class NoThreadError(RuntimeError):
    """No thread can be started: there are too many, or the interpreter is exiting."""


def check_threads() -> None:
    """Raise RuntimeError, which says what to do, where the thread of the loop cannot run.

    That is in uWSGI without threads, and where eventlet has replaced threads.
    """
    uwsgi: Any = sys.modules.get("uwsgi")
    if uwsgi is not None and not _has_threads(uwsgi.opt):
        raise RuntimeError("uWSGI runs no threads of Python, which sessions need: start it with --enable-threads")
    patcher: Any = sys.modules.get("eventlet.patcher")
    if patcher is not None and patcher.is_monkey_patched("thread"):
        raise RuntimeError(
            "eventlet has replaced threads, which sessions need: use gevent or threads (gunicorn: --worker-class"
            " gevent or gthread), or eventlet.monkey_patch(thread=False)"
        )


def _has_threads(options: dict[str, Any]) -> bool:
    """Tell whether uWSGI runs threads of Python by these options. One thread of its own per worker needs none."""
    if _text_of(options.get("enable-threads")).lower() not in NO:
        return True
    threads = _text_of(options.get("threads"))
    return threads.isdecimal() and int(threads) > 1


def _text_of(option: Any) -> str:
    """Return an option of uWSGI, which is bytes, True, None, or a list of these if it is given several times."""
    if isinstance(option, list):
        option = option[-1]
    return option.decode() if isinstance(option, bytes) else str(option or "")


def has_greenlets() -> bool:
    """Tell whether gevent has replaced threads by greenlets."""
    monkey: Any = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


def native(module: str, name: str) -> Any:
    """Return what gevent has replaced."""
    from gevent.monkey import get_original

    return get_original(module, name)


def native_lock() -> Callable[[], Any]:
    """Return what makes locks for threads, also where gevent has replaced them."""
    return native("_thread", "allocate_lock") if has_greenlets() else threading.Lock


def start_thread(target: Callable[[], object], name: str) -> threading.Thread:
    """Start a daemon thread. Raises NoThreadError."""
    thread = threading.Thread(target=target, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError as exc:
        raise NoThreadError(str(exc)) from exc
    return thread
