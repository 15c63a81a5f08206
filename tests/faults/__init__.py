"""Faults that take longer than a few seconds, under load: `nox -s faults`."""
