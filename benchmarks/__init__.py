"""Benchmarks: the published tables measured anew, this library beside others, and what keeps it fast.

``README.md`` says what is where and how to add to it.
"""
