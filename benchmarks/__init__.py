"""Benchmarks: the published tables measured anew, this library beside others, and what keeps it fast.

``workloads/`` is what is measured, ``adapters/`` the libraries under test, ``measure/`` how, ``pages/`` how it is
shown. ``bench/``, ``compare/``, ``latency/``, ``gate/`` and ``count/`` are the programs, each for the nox session of
its name.

``worker.py`` is a fresh process that measures something. What it needs imports nothing but the standard library
until a library under test is opened, so that it runs in an environment that holds only that library.

A new workload is a line in ``workloads/registry.py``. A new kind of server is a name in ``workloads/case.py`` and its
start in ``measure/servers.py``; a new library an adapter and a line in ``compare/sides.py``; a new goal a line in
``bench/goals.py``.
"""
