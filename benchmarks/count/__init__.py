"""Instructions per operation of two versions, by callgrind: exact where a clock is not. ``nox -s count`` runs it."""
