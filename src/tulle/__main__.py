"""``python -m tulle`` is ``tulle``."""

import sys

from tulle.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
