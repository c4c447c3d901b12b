"""Names that the other engine takes, and those that it cannot."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import sqlalchemy as sa

from datastore.backends.base import Backend
from datastore.inspection import FoundDatabase, FoundTable


def refused_names(found: FoundDatabase, target: Backend) -> Iterator[str]:
    """Say of each table and column why it cannot have its name in the target."""
    tables = [table.name for table in found.tables]
    yield from _refused("table", tables, target, of_column=False)
    for table in found.tables:
        columns = [column.name for column in table.columns]
        yield from _refused(f"table {table.name}: column", columns, target, of_column=True)


def _refused(what: str, names: Sequence[str], target: Backend, *, of_column: bool) -> Iterator[str]:
    for name in names:
        if not name:
            yield f"{what} without a name: {target.display_name} has no such names"
        elif not fits(name, target):
            yield (
                f"{what} {name}: its name has {len(name.encode())} bytes, and "
                f"{target.display_name} takes {target.name_bytes}"
            )
        elif target.is_reserved(name, of_column=of_column):
            yield f"{what} {name}: {target.display_name} keeps such names for itself"
    if target.folds_names:
        folded = Counter(name.lower() for name in names)
        for name in names:
            if folded[name.lower()] > 1:
                yield (
                    f"{what} {name}: another differs from it in case alone, which is the same "
                    f"name to {target.display_name}"
                )


def fits(name: str, target: Backend) -> bool:
    """Tell whether a name is short enough."""
    return target.name_bytes is None or len(name.encode()) <= target.name_bytes


def folded(name: str, target: Backend) -> str:
    """Return what is the same for all spellings of one name."""
    return name.lower() if target.folds_names else name


def given_names(found: FoundDatabase, target: Backend) -> Iterator[str]:
    """Yield the names of tables, and those that the target gives to keys and counters by itself."""
    for table in found.tables:
        yield table.name
        if target.names_constraints:
            yield from _names_by_default(table)


def _names_by_default(table: FoundTable) -> Iterator[str]:
    if table.primary_key is not None:
        yield f"{table.name}_pkey"
    for key in table.unique_keys:
        if key.name is None:
            yield f"{table.name}_{'_'.join(key.columns)}_key"
    for column in table.columns:
        if column.numbering is not None:
            yield f"{table.name}_{column.name}_seq"


def constraint_name(name: str, table: sa.Table, target: Backend) -> str:
    """Return the name, or one like it that no other constraint of the table has."""
    if not target.names_constraints:
        return name
    taken = [str(each.name) for each in table.constraints if each.name is not None]
    return FreeNames([f"{table.name}_pkey", *taken], target).take(name)


class FreeNames:
    """Hands out names of indexes and keys, which share one space with the tables'."""

    def __init__(self, taken: Iterable[str], target: Backend) -> None:
        self._target = target
        self._taken = {folded(name, target) for name in taken}

    def take(self, name: str) -> str:
        """Return the name, or one like it that is free and short enough."""
        chosen = name
        if not fits(name, self._target) or folded(name, self._target) in self._taken:
            mark = f"_{hashlib.sha256(name.encode()).hexdigest()[:8]}"
            room = (self._target.name_bytes or len(name.encode()) + len(mark)) - len(mark)
            chosen = name.encode()[:room].decode(errors="ignore") + mark
            while folded(chosen, self._target) in self._taken:
                chosen = chosen[:-1] + chr(ord("a") + len(self._taken) % 26)
                mark = hashlib.sha256(chosen.encode()).hexdigest()[:8]
                chosen = f"{chosen[:room]}_{mark}"[: self._target.name_bytes]
        self._taken.add(folded(chosen, self._target))
        return chosen
