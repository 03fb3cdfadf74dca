"""`python -m sockwave`: the same as the command `sockwave`."""

import sys

from sockwave.cli import main

if __name__ == "__main__":
    sys.exit(main())
