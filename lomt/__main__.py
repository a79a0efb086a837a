"""``python -m lomt`` is ``lomt``."""

import sys

from lomt.cli import main

sys.exit(main())
