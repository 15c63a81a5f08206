"""Stores that break one promise each, over the memory store, and which tests of `StoreContract` must find it.

`tests/stores/test_store_contract.py` runs `run.py`, where each of them has a class of tests.
"""
