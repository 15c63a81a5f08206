"""``python -m chuk_sessions``: see ``chuk_sessions.tools``."""

from __future__ import annotations

import sys

from chuk_sessions.tools.cli import main

if __name__ == "__main__":
    sys.exit(main())
