"""What is published: both archives have all that the package needs, and what the wheel installs works anywhere."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path, PurePosixPath

import hiredis
import orjson
import pytest
import redis

from benchmarks.measure.processes import ROOT
from chuk_sessions import __version__

NEEDED = (".py", ".lua", ".typed")
USE = """
import asyncio, importlib, pkgutil, sys
import chuk_sessions
from chuk_sessions import SessionManager
from chuk_sessions.providers import redis

async def main(url):
    async with SessionManager("box", redis.factory(url), strict=True) as manager:
        session_id = await manager.allocate_session(user_id="alice")
        assert await manager.validate_session(session_id)
        assert await manager.delete_session(session_id)
        assert not await manager.validate_session(session_id)

for module in pkgutil.walk_packages(chuk_sessions.__path__, "chuk_sessions."):
    importlib.import_module(module.name)
asyncio.run(main(sys.argv[1]))
print(chuk_sessions.__file__)
"""
TESTS_OF_A_STORE = """
import pytest
from chuk_sessions.providers import memory
from chuk_sessions.stores import StoreWrapper
from chuk_sessions.testing import StoreContract

class NeverReplaces(StoreWrapper):
    async def update(self, session_id, metadata, replace):
        return await super().update(session_id, metadata, False)

class TestMemory(StoreContract):
    @pytest.fixture
    def open_store(self):
        return memory.factory(memory.MemoryStore()).session_store

class TestBroken(StoreContract):
    @pytest.fixture
    def open_store(self):
        factory = memory.factory(memory.MemoryStore())
        return lambda sandbox_id: NeverReplaces(factory.session_store(sandbox_id))
"""


def run(*command: str | Path, cwd: Path, **variables: str) -> str:
    """The output of a program that must not fail; it finds no source of ours by itself."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | variables
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(kind: str, source: Path, folder: Path) -> Path:
    run(sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", folder, cwd=source)
    (made,) = folder.iterdir()
    return made


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of this tree."""
    return build("sdist", ROOT, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of what is in the sdist, as it is published."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (source,) = folder.iterdir()
    return build("wheel", source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a fresh environment with the wheel; what that requires is taken from ours."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=os.name != "nt")
    paths = {"base": str(folder), "platbase": str(folder)}
    python = Path(sysconfig.get_path("scripts", "venv", paths), "python")
    required = {str(Path(str(module.__file__)).parents[1]) for module in (hiredis, orjson, redis)}
    Path(sysconfig.get_path("purelib", "venv", paths), "required.pth").write_text("\n".join(required))
    quiet = ("--quiet", "--disable-pip-version-check", "--no-index", "--no-deps")
    run(sys.executable, "-m", "pip", "--python", python, "install", *quiet, wheel, cwd=folder)
    return python


def needed() -> set[str]:
    """The files of the package, by their paths in it."""
    files = (path for path in (ROOT / "chuk_sessions").rglob("*") if path.suffix in NEEDED)
    found = {path.relative_to(ROOT).as_posix() for path in files}
    assert {"chuk_sessions/py.typed", "chuk_sessions/providers/redis/lua/include/look.lua"} < found
    return found


def test_the_wheel_has_the_package_and_nothing_else(wheel: Path) -> None:
    """Every file of Lua and the marker of type hints too."""
    with zipfile.ZipFile(wheel) as archive:
        assert {name for name in archive.namelist() if ".dist-info/" not in name} == needed()


def test_the_sdist_has_the_package_and_what_tests_it(sdist: Path) -> None:
    """So that whoever has it can check it."""
    with tarfile.open(sdist) as archive:
        names = {str(PurePosixPath(*PurePosixPath(name).parts[1:])) for name in archive.getnames()}
    assert {name for name in names if name.startswith("chuk_sessions/")} == needed()
    assert {"pyproject.toml", "noxfile.py", "README.md", "LICENSE", "tests/package/test_wheel.py"} < names
    assert {"docs/extend/store.md", "examples/sqlite_store.py"} < names


def test_the_installed_wheel_serves_sessions(installed: Path, redis_url: str, tmp_path: Path) -> None:
    """In another folder, from the files that were installed; every module can be imported."""
    place = Path(run(installed, "-I", "-W", "error", "-c", USE, redis_url, cwd=tmp_path).strip())
    assert place.is_relative_to(installed.parents[1])


def test_the_installed_wheel_has_a_command(installed: Path, tmp_path: Path) -> None:
    """Beside ``python -m chuk_sessions``."""
    command = installed.with_name("chuk-sessions" + installed.suffix)
    assert run(command, "--version", cwd=tmp_path) == f"chuk-sessions {__version__}\n"


def test_the_tests_of_stores_run_from_the_installed_wheel(installed: Path, tmp_path: Path) -> None:
    """In a project of others, and a failure shows what was compared."""
    (tmp_path / "test_mine.py").write_text(TESTS_OF_A_STORE)
    command: list[str | Path] = [installed, "-I", "-m", "pytest", "-p", "no:cacheprovider", "-q", "-k", "test_replace"]
    run_of_tests = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert "1 failed, 1 passed" in run_of_tests.stdout, run_of_tests.stdout + run_of_tests.stderr
    assert "assert {'a': 1, 'b': 3} == {'b': 3}" in run_of_tests.stdout


def test_the_package_works_from_a_zip(wheel: Path, redis_url: str, tmp_path: Path) -> None:
    """A wheel is one; programs that bring their packages in an archive use it so."""
    place = Path(run(sys.executable, "-c", USE, redis_url, cwd=tmp_path, PYTHONPATH=str(wheel)).strip())
    assert place.is_relative_to(wheel)
