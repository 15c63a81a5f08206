"""The near cache: what it may answer, and when it must not."""
