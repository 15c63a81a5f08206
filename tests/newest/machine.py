"""Whether this machine can install the distribution beside its own, and what it lends to it.

No host and no folder of a certain machine stands here: the mirror is the one that apt uses, the index of packages the
one that pip uses, with their proxies and certificates. Folders that pip is to look into are lent at the same place.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.newest.namespace import namespaces_are_allowed

__all__ = ["apt_settings", "download_environment", "lent_environment", "lent_files", "mirror", "places_in", "why_not"]

CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
LENT_VARIABLE = re.compile(r"PIP_\w+|SSL_CERT_FILE|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|(?:https?|no|all)_proxy", re.I)
# An absolute path that is a value or a part of one, alone or as a file: URL; a path of another URL is none.
PLACE = re.compile(r"""(?:^|(?<=[\s="',]))(file://)?(/[^\s"',;]+)""", re.MULTILINE)
# How apt is to fetch, without what it is to fetch (the distribution has its own wishes) and how it is to keep it.
APT_SETTING = re.compile(r"Acquire::(?!IndexTargets|Languages|Changelogs|CompressionTypes|GzipIndexes|cdrom)\w")


def why_not() -> str | None:
    """What this machine lacks, as a sentence; None if it has all."""
    if sys.platform != "linux":
        return "only Linux can run a Linux distribution in a folder"
    if os.geteuid() != 0:
        return "only root may install a distribution in a folder"
    system = _system()
    if system != "debian":
        return f"the distribution comes from a mirror of Debian, and apt has none on {system}"
    if mirror() is None:
        return "apt has no mirror of Debian that debootstrap can use"
    if not namespaces_are_allowed():
        return "root may not mount anything here (in a container: docker run --privileged)"
    if not _has_debootstrap():
        return "debootstrap is not here, and apt-get cannot install it"
    return None


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["ID"]
    except OSError:
        return "this system"


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return ""


def mirror() -> str | None:
    """The mirror of Debian that apt uses; None if there is none, or none that debootstrap understands."""
    lines = _output("apt-get", "indextargets", "--format", "$(RELEASE) $(REPO_URI)", "Created-By: Packages")
    sources = (line.split(maxsplit=1) for line in lines.splitlines() if line)
    usable = (address for release, address in sources if "security" not in release)
    return next((address for address in usable if re.match(r"(?:https?|file|copy):", address)), None)


def _has_debootstrap() -> bool:
    if shutil.which("debootstrap") is None:
        print("==> apt-get install debootstrap", flush=True)
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        for step in (["update", "-q"], ["install", "-q", "-y", "--no-install-recommends", "debootstrap"]):
            subprocess.run(["apt-get", *step], env=environment, stdout=subprocess.DEVNULL, check=False)
    return shutil.which("debootstrap") is not None


def apt_settings() -> str:
    """How apt fetches here, as lines of apt.conf: its proxy, its certificates, whether it checks dates."""
    return "".join(f"{line}\n" for line in _output("apt-config", "dump").splitlines() if APT_SETTING.match(line))


def download_environment() -> dict[str, str]:
    """The environment for debootstrap, which does not read apt's proxy by itself."""
    proxy = re.search(r'^Acquire::http::Proxy "(.+)";$', apt_settings(), re.MULTILINE)
    return os.environ | ({"http_proxy": proxy[1]} if proxy and "http_proxy" not in os.environ else {})


def lent_environment(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables that tell pip where packages are and whom to trust."""
    lent = {name: value for name, value in environment.items() if LENT_VARIABLE.fullmatch(name)}
    return {"SSL_CERT_FILE": CERTIFICATES} | lent


def lent_files() -> Iterator[Path]:
    """What pip and apt read here, files and folders, each to be found at the same place in the distribution."""
    settings = list(_pip_settings())
    texts = [apt_settings(), *lent_environment().values(), *(file.read_text(encoding="utf-8") for file in settings)]
    yield from (file for file in [Path("/etc/resolv.conf"), *settings] if file.is_file())
    for text in texts:
        yield from places_in(text)


def _pip_settings() -> Iterator[Path]:
    home, user = Path.home(), os.environ.get("XDG_CONFIG_HOME", "~/.config")
    folders = [*os.environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":"), user]
    named = ["/etc/pip.conf", *(f"{folder}/pip/pip.conf" for folder in folders), f"{home}/.pip/pip.conf"]
    for name in [*named, os.environ.get("PIP_CONFIG_FILE", "")]:
        file = Path(name).expanduser()
        if name and file.is_file():
            yield file


def places_in(text: str) -> list[Path]:
    """The files and folders that a text of settings names, as far as they exist.

    Of an index of packages in a folder, that is the folder around it: an index points to files beside it.
    """
    named = [Path(name).parent if url else Path(name) for url, name in PLACE.findall(text)]
    return [place for place in named if place.exists() and place != Path("/")]
