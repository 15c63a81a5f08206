"""One table of calls, run against the published versions and this one: `nox -s compat`."""
