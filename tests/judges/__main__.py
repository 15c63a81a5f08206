"""`python -m tests.judges FOLDER`: Django's own tests, in the `tests` folder of its source, with our sessions.

They run once with sessions in memory and once on a Redis server of our own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.servers import RedisServer

HERE = Path(__file__).parent
SUITES = ("sessions_tests", "auth_tests", "messages_tests", "test_client", "test_client_regress", "csrf_tests")
SECONDS = 600.0


def judge(folder: Path, url: str) -> bool:
    """Run the suites with sessions at that URL; whether all of them passed."""
    program = ["runtests.py", "--settings", "django_sessions", "--parallel", str(min(4, os.cpu_count() or 1))]
    path = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": path, "CHUK_JUDGED_URL": url}
    command = [sys.executable, *program, "--verbosity", "0", *SUITES]
    return subprocess.run(command, cwd=folder, env=environment, timeout=SECONDS, check=False).returncode == 0


def main(folder: Path) -> int:
    """Both runs; 1 if one of them failed, or if nothing arrived on the server."""
    in_memory = judge(folder, "memory://")
    with RedisServer() as server:
        on_redis = judge(folder, server.url) and bool(server.info("commandstats").get("cmdstat_hgetall"))
    print(f"Django's tests pass in memory: {in_memory}, on Redis: {on_redis}")
    return 0 if in_memory and on_redis else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
