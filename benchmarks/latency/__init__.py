"""How long a single operation takes, and how long a caller waits for it: percentiles. ``nox -s latency`` runs it."""
