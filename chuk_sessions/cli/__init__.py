"""What ``chuk-sessions`` and ``python -m chuk_sessions`` do: see ``main``. Nothing else imports this."""
