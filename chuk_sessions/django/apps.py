"""The application ``chuk_sessions.django`` of a Django project: its management command."""

from __future__ import annotations

from django.apps import AppConfig

__all__ = ["ChukSessionsConfig"]


class ChukSessionsConfig(AppConfig):
    """Has no models; the label is not "django"."""

    name = "chuk_sessions.django"
    label = "chuk_sessions"
    verbose_name = "Sessions"
