"""``python -m mscnn``: the command line."""

from __future__ import annotations

from mscnn.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
