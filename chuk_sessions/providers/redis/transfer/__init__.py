"""Putting a session that exists elsewhere into our layout, and taking it from where it was."""
