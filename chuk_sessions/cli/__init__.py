"""What ``python -m chuk_sessions`` does: ``migrate``, ``inspect`` and ``check``. Nothing else imports this."""
