"""This library beside others from PyPI, each in an environment of its own: ``nox -s compare`` installs and runs all."""
