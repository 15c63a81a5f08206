"""SESSION_LEGACY_READ: sessions of published versions are taken over."""
