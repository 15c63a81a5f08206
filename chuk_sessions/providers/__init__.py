"""The built-in providers. Each module has ``factory()``; import the one that is used."""
