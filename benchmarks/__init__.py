"""Benchmarks: the published tables measured anew, this library beside others, and what keeps it fast.

``workloads.py`` is the one registry of what is measured; ``bodies.py`` and ``manager_bodies.py`` hold the timed
loops, ``adapters/`` says how each library under test is opened, ``timing.py`` how a block is timed. Everything else
runs these:

* ``python -m benchmarks`` (``nox -s bench``): the published tables, in ``test_published.py`` by pytest-benchmark, and
  the speed to reach, in ``peers.py`` and ``goals.py``; ``churn.py`` and ``*footprint.py`` measure memory.
* ``compare/``: libraries from PyPI, each in its own environment. ``latency/``: percentiles, closed and open loop.
* ``gate/``: is this version slower than its base? ``count/``: does it need more instructions?
* ``publications.py`` says which pages, plots and parts of the README are made of which results; ``report.py`` writes
  and checks them, with ``tables.py``, ``markdown.py`` and ``plots/``.

``worker.py`` is a fresh process that measures something. What it needs imports nothing but the standard library
until a library under test is opened, so that it runs in an environment that holds only that library.

A new workload is a line in the registry. A new kind of server is a name in ``case.py`` and its start in
``servers.py``; a new library an adapter and a line in ``compare/sides.py``; a new goal a line in ``goals.py``.
"""
