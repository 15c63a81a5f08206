"""Metadata that is encrypted at rest."""
