"""Complete programs; each runs by itself."""
