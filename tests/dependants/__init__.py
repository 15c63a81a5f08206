"""The libraries on PyPI that require chuk-sessions, driven on this one: `nox -s dependants`."""
