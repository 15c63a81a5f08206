"""Legacy sessions, which 0.2 to 0.6 stored on Redis: their format, and the store that takes them over."""
