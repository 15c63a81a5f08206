"""Sessions for web applications."""
