"""Instructions per operation, by valgrind's callgrind: exact where a clock is not. ``nox -s count`` compares two trees.

``counted.py`` is the program that is counted, ``callgrind.py`` counts it, ``changes.py`` judges and shows.
"""
