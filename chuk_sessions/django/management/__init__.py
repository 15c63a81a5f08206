"""The management commands of ``chuk_sessions.django``."""
