"""The memory provider: the expiring map, its sweeper, and threads."""
