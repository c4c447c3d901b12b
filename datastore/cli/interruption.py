"""What Ctrl-C leaves behind in the midst of a load."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from datastore.cli.invocation import Invocation
from datastore.transfer import LoadOptions
from datastore.transfer.progress import Progress as Done


class Watched:
    """Passes progress on, and remembers which step was the last."""

    def __init__(self) -> None:
        self.step = ""
        self.tell: Callable[[Done], None] | None = None

    def __call__(self, done: Done) -> None:
        """Take note of a step."""
        self.step = done.step
        if self.tell is not None:
            self.tell(done)


@contextmanager
def explained(invocation: Invocation, options: LoadOptions) -> Iterator[Watched]:
    """Say after Ctrl-C, once all is undone that was begun, what there is in the target."""
    watched = Watched()
    try:
        yield watched
    except KeyboardInterrupt:
        invocation.aside(f"interrupted; {_left(options, watched.step)}")
        raise


def _left(options: LoadOptions, step: str) -> str:
    if step == "optimize":  # which comes after the commit
        return "all rows are in the target, and `datastore optimize` is to be run again"
    if options.dry_run:
        return "nothing was written"
    if options.resume:
        return "what was committed stays, and --resume goes on from there"
    return "the target is as it was"
