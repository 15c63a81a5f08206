"""The parts of `nox -s newest` that can be looked at without installing a distribution."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.newest import machine
from tests.newest.__main__ import Suite, main, split, wait_for
from tests.newest.namespace import namespaces_are_allowed

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
# Calls a program in namespaces that mounts something, starts a process in a session of its own, says so, and waits.
CALLER = """
import sys
from tests.newest.namespace import end_with_the_parent, run_in_namespaces
end_with_the_parent()
script = 'mount -t tmpfs tmpfs "$1" && touch "$1/file" && (setsid sleep 1000 & echo ready; sleep 1000)'
run_in_namespaces(["sh", "-c", script, "sh", sys.argv[1]])
"""
PARENT = "import subprocess, sys; subprocess.run([sys.executable, '-c', *sys.argv[1:]])"


def allowed() -> bool:
    return sys.platform == "linux" and namespaces_are_allowed()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("whose", ["the program", "its parent"])
@pytest.mark.skipif(not allowed(), reason="this user may not make namespaces")
def test_nothing_is_left_however_it_ends(tmp_path: Path, number: signal.Signals, whose: str) -> None:
    """No process, which would hold the pipe open, no mount, and nothing of what was in it."""
    started = [CALLER, str(tmp_path)] if whose == "the program" else [PARENT, CALLER, str(tmp_path)]
    with subprocess.Popen([sys.executable, "-c", *started], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.communicate(timeout=60)[0] == ""
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text(encoding="utf-8")
    assert list(tmp_path.iterdir()) == []


def test_pairs_and_arguments_of_pytest() -> None:
    """What follows a pair is for that one, what stands before all of them for each; without one, CI's are run."""
    assert split(["--strict", "redis-server@3.14", "-k", "check", "valkey-server@3.16", "-x"]) == [
        Suite("redis-server", "3.14", ["--strict", "-k", "check"]),
        Suite("valkey-server", "3.16", ["--strict", "-x"]),
    ]
    for arguments in ([], ["tests/redis", "user@3.14"]):
        assert split(arguments) == [
            Suite("valkey-server", "3.15", arguments),
            Suite("redis-server", "3.14", arguments),
        ]


@pytest.fixture
def put_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Puts a shell script on the PATH, which holds nothing else."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def put(name: str, script: str) -> None:
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        program.chmod(0o755)

    return put


class TestReasons:
    """Each is one sentence, given before anything is done."""

    @pytest.fixture(autouse=True)
    def _debian(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A machine on which nothing is missing."""
        monkeypatch.setattr(sys, "platform", "linux")
        monkeypatch.setattr(os, "geteuid", lambda: 0, raising=False)
        for name, value in (("_system", "debian"), ("mirror", "http://host"), ("_has_debootstrap", True)):
            monkeypatch.setattr(machine, name, lambda value=value: value)
        monkeypatch.setattr(machine, "namespaces_are_allowed", lambda: True)

    def test_none(self) -> None:
        assert machine.why_not() is None

    @pytest.mark.parametrize(
        ("place", "name", "value", "reason"),
        [
            (sys, "platform", "darwin", "only Linux"),
            (os, "geteuid", lambda: 1000, "only root"),
            (machine, "_system", lambda: "ubuntu", "none on ubuntu"),
            (machine, "mirror", lambda: None, "no mirror"),
            (machine, "namespaces_are_allowed", lambda: False, "--privileged"),
            (machine, "_has_debootstrap", lambda: False, "debootstrap"),
        ],
    )
    def test_what_is_missing(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: object, name: str, value: object, reason: str
    ) -> None:
        """It is told to nox, for which that is no failure."""
        monkeypatch.setattr(place, name, value, raising=False)
        assert main(["--why-not", str(tmp_path / "told")]) == 0
        assert reason in (tmp_path / "told").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        (
            "bookworm-security http://one/\nbookworm http://two/debian/\nbookworm-updates http://three/",
            "http://two/debian/",
        ),
        ("trixie mirror+file:/etc/apt/mirrors/debian.list\ntrixie https://four/", "https://four/"),
        ("trixie cdrom:[Debian]/", None),
        ("", None),
    ],
)
def test_the_mirror_is_the_one_of_apt(
    put_program: Callable[[str, str], None], listed: str, expected: str | None
) -> None:
    """That of the distribution itself, if debootstrap can read it."""
    put_program("apt-get", f"printf '{listed}\n'")
    assert machine.mirror() == expected


def test_without_apt_there_is_no_mirror(put_program: Callable[[str, str], None]) -> None:
    assert machine.mirror() is None


def test_settings_of_apt_that_say_how_to_fetch(
    put_program: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They hold in the distribution too; debootstrap gets the proxy in its own way."""
    monkeypatch.delenv("http_proxy", raising=False)
    fetching = [
        'Acquire::http::Proxy "http://proxy:3142";',
        'Acquire::Check-Valid-Until "false";',
        'Acquire::https::CAInfo "/etc/our.crt";',
    ]
    others = ['Acquire::Languages:: "none";', 'Acquire::IndexTargets::deb::Packages::MetaKey "x";', 'Dir::Log "x";']
    lines = "\n".join([*others, *fetching])
    put_program("apt-config", f"echo '{lines}'")
    assert machine.apt_settings().splitlines() == fetching
    assert machine.download_environment()["http_proxy"] == "http://proxy:3142"


def test_places_that_settings_name(tmp_path: Path) -> None:
    """As a path, or as a URL of an index in a folder; other URLs have paths as well, of another machine."""
    for name in ("wheels", "index/simple", "ca.crt"):
        (tmp_path / name).mkdir(parents=True)
    text = (
        f"[global]\nfind-links = {tmp_path}/wheels\nextra-index-url = https://host{tmp_path}/wheels"
        f'\n    file://{tmp_path}/index/simple\ncert={tmp_path}/gone\nCAInfo "{tmp_path}/ca.crt";\n'
    )
    assert machine.places_in(text) == [tmp_path / name for name in ("wheels", "index", "ca.crt")]
    assert machine.places_in(str(tmp_path)) == [tmp_path]
    assert machine.places_in("index-url = file:///simple") == []


def test_variables_that_are_lent() -> None:
    """Where packages are and whom to trust, and nothing else of what an environment may hold."""
    environment = {"PIP_INDEX_URL": "u", "https_proxy": "p", "NO_PROXY": "n", "REQUESTS_CA_BUNDLE": "/c", "TOKEN": "t"}
    lent = machine.lent_environment(environment)
    assert lent == {"SSL_CERT_FILE": machine.CERTIFICATES} | {k: v for k, v in environment.items() if k != "TOKEN"}


def test_the_suites_wait_for_a_file(tmp_path: Path) -> None:
    """Whoever makes it can see when everything is installed."""
    go = tmp_path / "go"
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wait_for, go)
        ready = tmp_path / "go.ready"
        while not ready.exists():
            assert not waiting.done()
        go.touch()
        waiting.result(60)
