"""Debian's unstable distribution in a folder, with what the suite needs.

Why the packages come from where they do: hiredis, uvloop and most others have wheels for each Python soon, so pip
installs them, as everywhere. orjson has none for a new Python for months, and building it takes a Rust compiler and
minutes. Debian builds python3-orjson for each Python that it has; the environment in which the suite runs sees it
(`--system-site-packages`), and for pip the requirement is then met.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.newest.machine import apt_settings, download_environment, lent_environment, lent_files, mirror

__all__ = ["Distribution", "Unavailable"]

ROOT = Path(__file__).parents[2]
SUITE = "/suite"
PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
PACKAGES = ("ca-certificates", "git", "python3-orjson")  # some tests of the benchmarks make commits
LAST_LINES = 15
NO_SERVICES = "#!/bin/sh\nexit 101\n"  # for policy-rc.d: only the servers that tests start may run
IN_GIT = ("git", "-c", f"safe.directory={ROOT}", "-C", str(ROOT), "ls-files", "-z", "-co", "--exclude-standard")
MAKE_REPOSITORY = "git init -q && git add -A && git -c user.name=n -c user.email=e@example.org commit -qm 'The tree'"


class Unavailable(Exception):
    """The distribution or something of it cannot be had now; the message says what, and shows the last lines."""


class Distribution:
    """The distribution in an empty folder; in a mount namespace, or its mounts are left behind.

    The folder becomes a file system in memory (some 700 MB): installing waits for no disk, and it needs no cleaning.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._log = folder / "install.log"

    def install(self, servers: Sequence[str], pythons: Sequence[str]) -> None:
        """Put those servers and Pythons there, and the tree that is tested. Raises Unavailable."""
        self._do("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(self.folder))
        self._do("debootstrap", "--variant=minbase", "unstable", str(self.folder), mirror() or "")
        self._do("mount", "-t", "proc", "proc", str(self.folder / "proc"))
        self._write("etc/apt/apt.conf.d/99lent", apt_settings())
        self._write("usr/sbin/policy-rc.d", NO_SERVICES).chmod(0o755)
        self._at(Path.home()).mkdir(parents=True, exist_ok=True)
        self._lend()
        packages = [*PACKAGES, *servers, *(f"python{python}-venv" for python in pythons)]
        self._do("apt-get", "update", "-q", inside=True)
        self._do("apt-get", "install", "-q", "-y", "--no-install-recommends", *packages, inside=True)
        self._lend()  # again, as installing may have written what was lent
        self._copy_tree()

    def prepare(self, python: str) -> bool:
        """Make an environment on that Python with the package and all that its tests need; False if pip fails."""
        environment = f"/venv-{python}"
        make = [f"python{python}", "-m", "venv", "--system-site-packages", environment]
        install = [f"{environment}/bin/python", "-m", "pip", "install", "-q", "--prefer-binary", "-e", ".[dev,uvloop]"]
        return self.run(make) == 0 and self.run(install) == 0

    def run_suite(self, server: str, python: str, arguments: Sequence[str]) -> int:
        """The exit status of pytest on that server and Python."""
        more = {"PATH": f"/venv-{python}/bin:{PATH}", "CHUK_TEST_REDIS_SERVER": server}
        program = "pytest" if arguments else "tests"  # the whole suite uses all cores
        return self.run(["python", "-m", program, "--redis", *arguments], more)

    def run(self, command: Sequence[str], more: Mapping[str, str] | None = None) -> int:
        """Run a command in the folder of the suite; its exit status."""
        inside = ["chroot", str(self.folder), "env", "-C", SUITE, *command]
        return subprocess.run(inside, env=_environment() | dict(more or {}), check=False).returncode

    def _do(self, *command: str, inside: bool = False) -> None:
        environment = _environment() if inside else download_environment()
        whole = ["chroot", str(self.folder), *command] if inside else list(command)
        done = subprocess.run(
            whole, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        if done.returncode:
            last = "\n".join(done.stdout.splitlines()[-LAST_LINES:])
            raise Unavailable(f"{' '.join(command)} failed:\n{last}")

    def _write(self, name: str, text: str) -> Path:
        file = self.folder / name
        file.write_text(text, encoding="utf-8")
        return file

    def _at(self, place: Path) -> Path:
        """That place of the distribution, seen from here."""
        return self.folder / place.relative_to("/")

    def _lend(self) -> None:
        """Copy what is lent, and mount folders, which may be large, unless the distribution has one of that name."""
        for place in lent_files():
            target = self._at(place)
            if place.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.unlink(missing_ok=True)
                shutil.copy(place, target)
            elif not target.exists():
                target.mkdir(parents=True)
                self._do("mount", "--bind", "-o", "ro", str(place), str(target))

    def _copy_tree(self) -> None:
        """The files that git knows or would add, as a repository of one commit, which some tests compare with."""
        names = subprocess.run(IN_GIT, capture_output=True, text=True, check=True).stdout.split("\0")
        for name in filter(None, names):
            target = Path(f"{self.folder}{SUITE}", name)
            if (ROOT / name).is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, target)
        self.run(["sh", "-c", MAKE_REPOSITORY])


def _environment() -> dict[str, str]:
    base = {"PATH": PATH, "HOME": str(Path.home()), "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1"}
    base |= {"DEBIAN_FRONTEND": "noninteractive", "PIP_ROOT_USER_ACTION": "ignore"}
    return base | lent_environment() | {name: os.environ[name] for name in ("CI",) if name in os.environ}
