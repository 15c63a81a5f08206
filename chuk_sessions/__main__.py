"""``python -m chuk_sessions``: see ``chuk_sessions.cli``."""

from __future__ import annotations

import sys

from chuk_sessions.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
