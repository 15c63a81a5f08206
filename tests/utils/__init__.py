"""Helpers under the names of 0.6.3."""
