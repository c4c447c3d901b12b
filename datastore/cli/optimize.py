"""`datastore optimize`: what searches need, built or refreshed."""

from __future__ import annotations

from datastore.cli.invocation import Invocation, location


def optimize(invocation: Invocation) -> None:
    """Build or refresh what searches need, after many changes. Readers may go on meanwhile."""
    with invocation.open(create=False) as store:
        store.optimize()
        invocation.answer({"database": location(store), "optimized": True}, "optimized")
