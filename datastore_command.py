"""Where the installed command begins: Ctrl-C is quiet while the library is still being imported.

It stands beside the packages, since importing anything inside one imports the library first.
"""

import sys

INTERRUPTED = 130


def main() -> int:
    """Run the command line and return the code to exit with."""
    try:
        from datastore.cli import main as run
    except KeyboardInterrupt:
        return INTERRUPTED
    return run()


if __name__ == "__main__":
    sys.exit(main())
