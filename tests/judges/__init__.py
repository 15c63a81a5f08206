"""Other projects' own tests, with this package in the place of theirs: `nox -s judges`, which downloads them."""
