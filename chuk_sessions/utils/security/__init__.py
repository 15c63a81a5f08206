"""CSRF tokens (``csrf``) and session ids for protocols (``session_ids``), under the names of 0.6.3."""
