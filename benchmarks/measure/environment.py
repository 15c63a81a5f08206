"""What a reader needs to judge the figures: the machine, the versions, the commit, the date."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.measure.processes import ROOT
from benchmarks.measure.timing import timer_floor
from benchmarks.worker import versions

LIBRARIES = ("redis", "hiredis", "orjson", "uvloop", "pytest", "pytest-benchmark")
CPU_FIELDS = ("model name", "Hardware", "Model")


def environment() -> dict[str, Any]:
    """Everything but the servers, which describe themselves."""
    from chuk_sessions import __version__

    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "HEAD") or "unknown",
        "dirty": bool(_git("status", "--porcelain", "--", ".", ":!results", ":!README.md", ":!docs/performance.md")),
        "machine": machine(),
        "python": f"{platform.python_implementation()} {platform.python_version()} ({platform.python_compiler()})",
        "versions": {"chuk-sessions": __version__, **versions(LIBRARIES)},
        "timer_floor_ns": timer_floor(),
        "load": load(),
    }


def machine() -> dict[str, Any]:
    """Processor, cores, memory and system."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(_memory() / 2**30, 1),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


def load() -> float | None:
    """Runnable processes over the last minute, where the system tells."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        fields = dict(line.split(":", 1) for line in cpuinfo.read_text().splitlines() if ":" in line)
        named = {name.strip(): value.strip() for name, value in fields.items()}
        return next((named[field] for field in CPU_FIELDS if field in named), platform.machine())
    return _run("sysctl", "-n", "machdep.cpu.brand_string") or platform.processor() or platform.machine()


def _memory() -> int:
    names = getattr(os, "sysconf_names", {})
    if "SC_PHYS_PAGES" not in names:
        return 0
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _git(*arguments: str) -> str:
    return _run("git", *arguments)


def _run(*command: str) -> str:
    if not shutil.which(command[0]):
        return ""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() if not done.returncode else ""
