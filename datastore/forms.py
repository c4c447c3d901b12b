"""The forms in which texts stand for values of other kinds.

Python's parsers take more than is meant by a value: weeks, digits of other scripts, underscores.
"""

from __future__ import annotations

import re

_DAY = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_CLOCK = r"(?:[01][0-9]|2[0-3]):[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?"
_ZONE = r"(?:[Zz]|[+-][0-9]{2}(?::?[0-9]{2})?)?"
_MOMENT = re.compile(f"{_DAY}(?:[ Tt]{_CLOCK}{_ZONE})?")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
#: By the name of the kind.
_FORMS = {
    "date": re.compile(_DAY),
    "time": re.compile(_CLOCK + _ZONE),
    "timestamp": _MOMENT,
    "instant": _MOMENT,
    "uuid": re.compile("[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[0-9a-fA-F]{32}"),
    "decimal": _NUMBER,
}


def is_written_as(text: str, kind: str) -> bool:
    """Tell whether a text has the form of a value of a kind, given by its name."""
    return _FORMS[kind].fullmatch(text) is not None
