"""The shop of examples/shop in a real browser: `nox -s browser`."""
