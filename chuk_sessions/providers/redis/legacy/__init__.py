"""Sessions that 0.2 to 0.6 stored on Redis: how they look, and reading them while they are taken over."""
