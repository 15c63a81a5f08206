"""Tests of chuk_sessions; a package, so that tests and benchmarks can import `tests.support.servers`."""
