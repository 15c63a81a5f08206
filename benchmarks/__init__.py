"""Benchmarks: the published tables measured anew, and this library beside its peers.

``python -m benchmarks`` runs everything in this order (``nox -s bench`` installs what it needs first):

* ``workloads.py`` is the one registry of what is measured; ``bodies.py`` holds the timed loops, ``adapters/`` says how
  each library under test is opened, ``timing.py`` how a block is timed.
* ``test_published.py`` are the pytest-benchmark cases of the published tables; ``worker.py`` is a fresh process that
  times the same workloads for a comparison of peers, ``churn.py`` and ``footprint.py`` what it does about memory.
* ``goals.py``, ``tables.py`` and ``markdown.py`` turn ``results/bench.json`` into tables; ``report.py`` puts them into
  the README.

The modules a worker needs import nothing but the standard library until a library under test is opened, so that they
run in an environment that holds only that library.
"""
