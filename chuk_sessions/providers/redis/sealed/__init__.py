"""Sessions whose metadata is encrypted at rest: loaded only with a ``Keyring``."""
