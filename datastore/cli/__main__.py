"""`python -m datastore.cli`: the command line of a source tree that is not installed."""

import sys

from datastore.cli.program import main

sys.exit(main())
