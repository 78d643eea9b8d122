"""`python -m sc_lab` is the command `sc-lab`."""

from __future__ import annotations

import sys

from sc_lab.cli import main

if __name__ == "__main__":
    sys.exit(main())
