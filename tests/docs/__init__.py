"""The documentation keeps its word: its examples run, its tables are true."""
