"""How long a single operation takes, and how long a caller waits for it: percentiles. ``nox -s latency`` runs it.

``loops.py`` is what is timed, ``run.py`` what a fresh process does, ``page.py`` the tables.
"""
