"""Which type a column is to have, by what it was declared as and by what it holds.

A column whose values are all of one type has that type. One that mixes types keeps the declared
one, and whoever reads its rows finds the values that are of another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.types import TypeEngine

from datastore.backends.sqlite.declared import Declared
from datastore.backends.sqlite.survey import Survey
from datastore.inspection import LongDecimal
from datastore.types import MAX_DIMENSIONS, JSONDocument, Text, Vector

#: By the storage class that all values have.
_BY_CLASS: dict[str, Callable[[], TypeEngine[Any]]] = {
    "integer": sa.BigInteger,
    "real": sa.Double,
    "text": Text,
    "blob": sa.LargeBinary,
}
_NAMES = {"integer": "integers", "real": "floats", "text": "text", "blob": "bytes"}
#: The storage classes in which a column may hold what it is meant for.
_OWN = {
    "boolean": {"integer"},
    "integer": {"integer"},
    "float": {"real", "integer"},
    "decimal": {"integer", "real", "text"},
    "text": {"text"},
    "bytes": {"blob"},
    "json": {"text", "integer", "real"},
    "vector": {"blob"},
}
#: The most digits of a decimal, and of those behind its point (PostgreSQL's documentation, 8.1.2).
MOST_DIGITS = 1000
#: The longest limit on the length of a text (the same, 8.3).
LONGEST = 10_485_760


@dataclass
class Held:
    """The type that was decided on, and what is to be said about it."""

    type: TypeEngine[Any] = field(default_factory=Text)
    notes: list[str] = field(default_factory=list)


def decide(declared: Declared, found: Survey) -> Held:
    """Decide on the type of a column."""
    held = Held()
    classes = set(found.classes)
    wanted = _OWN.get(declared.meaning, {"text"})
    if not classes:
        held.type = _empty(declared)
        if declared.text and declared.meaning == "any" and not declared.is_blob:
            held.notes.append(f"the type {declared.text} says nothing and no value is there: text")
    elif declared.meaning == "any":
        held.type = _of_any(declared, found, held)
    elif len(classes) == 1 and (not classes <= wanted or _is_other(declared, found)):
        only = classes.pop()
        held.type = _BY_CLASS[only]()
        held.notes.append(_all_of_one(declared, found, only))
    else:
        held.type = _as_declared(declared, found, held)
        if not classes <= wanted:
            held.notes.append(f"it mixes types: {_counts(found)}")
    return held


def _all_of_one(declared: Declared, found: Survey, only: str) -> str:
    if only in _OWN.get(declared.meaning, {"text"}):
        return f"declared as {declared.text}, and no value is one: {_NAMES[only]}"
    return f"declared as {declared.text}, and all values are {_NAMES[only]}, so it becomes that"


def _counts(found: Survey) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in found.classes.items())


def _is_other(declared: Declared, found: Survey) -> bool:
    """Tell whether the values, all of the storage class that is right, are something else."""
    match declared.meaning:
        case "boolean":
            return found.fitting < found.integers
        case "date" | "time" | "timestamp" | "instant" | "uuid" | "array":
            return found.fitting + found.stamps == 0
        case "json":
            return found.fitting == 0
        case "decimal":
            # Infinity is no decimal; text is one if it is written like one.
            return found.infinite > 0 or (found.texts > 0 and found.fitting < found.texts)
        case "vector":
            return found.beyond > 0
    return False


def _empty(declared: Declared) -> TypeEngine[Any]:
    if declared.meaning == "any":
        return sa.LargeBinary() if declared.is_blob else Text()
    return _as_declared(declared, Survey(), Held())


def _of_any(declared: Declared, found: Survey, held: Held) -> TypeEngine[Any]:
    classes = found.classes
    if set(classes) == {"integer", "real"} and not found.long:
        chosen = "real"
        held.notes.append("integers and floats: all become floats, which equal them")
    else:
        chosen = max(classes, key=lambda name: classes[name])
        if len(classes) > 1:
            held.notes.append(f"it mixes types: {_counts(found)}")
        elif (chosen != "blob") if declared.is_blob else declared.text.upper() != "":
            held.notes.append(
                f"declared as {declared.text}, and all values are {_NAMES[chosen]}, "
                "so it becomes that"
            )
    return _BY_CLASS[chosen]()


def _as_declared(declared: Declared, found: Survey, held: Held) -> TypeEngine[Any]:
    match declared.meaning:
        case "integer":
            return _integer(declared, found, held)
        case "decimal":
            return _decimal(declared, found, held)
        case "text":
            return _text(declared, found, held)
        case "date":
            return _date(found, held)
        case "timestamp":
            return _timestamp(found, held)
        case "vector" if declared.size and declared.size <= MAX_DIMENSIONS:
            return Vector(declared.size)
        case "array" if declared.item is not None:
            return sa.ARRAY(_as_declared(declared.item, Survey(), Held()))
    return _SIMPLE.get(declared.meaning, Text)()


_SIMPLE: dict[str, Callable[[], TypeEngine[Any]]] = {
    "boolean": sa.Boolean,
    "float": sa.Double,
    "bytes": sa.LargeBinary,
    "vector": sa.LargeBinary,
    "time": sa.Time,
    "instant": lambda: sa.DateTime(timezone=True),
    "uuid": sa.Uuid,
    "json": JSONDocument,
}


def _integer(declared: Declared, found: Survey, held: Held) -> TypeEngine[Any]:
    # SQLite's integers have 64 bits, whatever their type is called.
    if declared.bits == 64:
        return sa.BigInteger()
    if found.fitting < found.integers:
        held.notes.append(f"declared as {declared.text}, and some values need more bits: 64 bits")
        return sa.BigInteger()
    return sa.SmallInteger()


def _decimal(declared: Declared, found: Survey, held: Held) -> TypeEngine[Any]:
    if declared.text.upper().startswith("DECIMAL_TEXT"):
        return LongDecimal(declared.size, declared.scale)
    if declared.size is None:
        return sa.Numeric()
    scale = declared.scale or 0
    if found.beyond or declared.size > MOST_DIGITS or scale > declared.size:
        held.notes.append(
            f"declared as {declared.text}, and values have more digits: decimals of any size"
        )
        return sa.Numeric()
    return sa.Numeric(declared.size, scale)


def _text(declared: Declared, found: Survey, held: Held) -> TypeEngine[Any]:
    if declared.size is None or declared.size > LONGEST:
        return Text()
    if found.longest > declared.size:
        held.notes.append(
            f"declared as {declared.text}, and texts have up to {found.longest:,} characters: "
            "text of any length"
        )
        return Text()
    return sa.String(declared.size)


def _date(found: Survey, held: Held) -> TypeEngine[Any]:
    if not found.stamps:
        return sa.Date()
    held.notes.append("declared as a date, and values have times of day: a timestamp")
    return sa.DateTime()


def _timestamp(found: Survey, held: Held) -> TypeEngine[Any]:
    if not found.zoned:
        return sa.DateTime()
    if found.zoned == found.texts:
        held.notes.append("all values have a time zone: instants, in UTC")
        return sa.DateTime(timezone=True)
    held.notes.append(
        f"{found.zoned:,} of {found.texts:,} values have a time zone, and the others have none"
    )
    return sa.DateTime()
