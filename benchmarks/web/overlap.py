"""How many of 50 requests of one session that overlap keep the key that each of them sets.

``python -m benchmarks.web.overlap django_chuk_wsgi redis://...`` runs in the environment of the library: the name is a
function of ``applications`` that makes an application of WSGI. All requests have read the session before the first of
them goes on, as when a page asks for much at once.
"""

from __future__ import annotations

import argparse
import asyncio
import threading

from benchmarks.web import applications
from benchmarks.web.driven import Client

COUNT = 50
SECONDS = 60.0
KEY = "key-"
_all_have_read = threading.Barrier(COUNT)


def wait_for_all() -> None:
    """Go on once all requests have come here. Raises BrokenBarrierError if one does not come."""
    _all_have_read.wait(SECONDS)


def kept(library: str, url: str | None) -> int:
    """Send the requests, a thread each; the number of keys that the session has after that."""
    app = getattr(applications, library)(url)
    first = Client(app)
    asyncio.run(first.checked("/fill", b"x"))
    asyncio.run(first.checked("/read", b"alice"))
    failed: list[BaseException] = []

    def send(number: int) -> None:
        client = Client(app)
        client.headers = first.headers
        try:
            asyncio.run(client.checked(f"/keep/{number}", b"x"))
        except BaseException as error:
            failed.append(error)
            _all_have_read.abort()

    threads = [threading.Thread(target=send, args=(number,)) for number in range(COUNT)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    asyncio.run(first.get("/kept"))
    return int(first.body)


def main() -> None:
    """Print the number."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.web.overlap", description=__doc__)
    parser.add_argument("library", help="a function of benchmarks.web.applications")
    parser.add_argument("url", nargs="?", help="of a Redis server; without it in memory")
    options = parser.parse_args()
    print(f"{options.library}: {kept(options.library, options.url)} of {COUNT}")


if __name__ == "__main__":
    main()
