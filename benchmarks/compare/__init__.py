"""This library beside others from PyPI, each in an environment of its own. ``nox -s compare`` installs and runs them.

``sides.py`` says who is compared on what, ``run.py`` lets them take turns, ``page.py`` shows it. What a library is
called and how is in ``benchmarks/adapters``, a small file each.
"""
