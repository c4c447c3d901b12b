"""Metadata with the types of what is stored, past those that show a host other values.

A host's own `TypeDecorator`, or an enumeration, makes other Python values of what is stored,
perhaps the same for different ones. Rows are moved and compared as they are stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

from datastore.errors import ConfigurationError
from datastore.kinds import Kind, kind_of
from datastore.types import PortableType

#: Kinds that one engine keeps what has a type of its own on another.
_PLAIN = ("text", "bytes", "integer")


def as_stored(metadata: sa.MetaData, dialects: Sequence[Dialect] = ()) -> sa.MetaData:
    """Return metadata whose columns have the types of what the first of `dialects` stores.

    A decorator that stores one thing there and another by the second dialect stays where that is
    what it takes to write the values of `common_kind`.
    """
    found = {
        (table.key, column.key): type_
        for table in metadata.tables.values()
        for column in table.c
        if (type_ := _stored(column.type, dialects)) is not column.type
    }
    if not found:
        return metadata
    stored = sa.MetaData()
    for table in metadata.tables.values():
        table.to_metadata(stored)
    for (table_key, column_key), type_ in found.items():
        stored.tables[table_key].c[column_key].type = type_
    return stored


def common_kind(type_: TypeEngine[Any], dialects: Iterable[Dialect]) -> Kind[Any]:
    """Return the kind of a column's values, where dialects may store them as different ones."""
    kinds = [kind_of(_stored(type_, [dialect])) for dialect in dialects]
    if not kinds:
        return kind_of(_stored(type_, ()))
    return next((kind for kind in kinds if kind.name not in _PLAIN), kinds[0])


def _stored(type_: Any, dialects: Sequence[Dialect]) -> Any:
    if isinstance(type_, PortableType):
        return type_
    if isinstance(type_, sa.Interval):
        return type_ if type_.native else sa.DateTime()
    if isinstance(type_, TypeDecorator):
        return _undecorated(type_, dialects)
    if isinstance(type_, sa.Enum):
        return _labels(type_)
    if isinstance(type_, sa.JSON) and not type_.none_as_null:
        documents = type_.copy()
        documents.none_as_null = True  # what is no document is NULL, not JSON's null
        return documents
    if isinstance(type_, sa.Uuid) and not type_.as_uuid:
        return sa.Uuid(native_uuid=type_.native_uuid)
    return type_


def _undecorated(type_: TypeDecorator[Any], dialects: Sequence[Dialect]) -> Any:
    if not dialects:
        return _stored(type_.impl_instance, ())
    own, *others = [_stored(type_.load_dialect_impl(each), [each]) for each in dialects]
    try:
        own_kind, other_kinds = kind_of(own).name, [kind_of(each).name for each in others]
    except ConfigurationError:
        return own
    differs = any(kind not in _PLAIN for kind in other_kinds if kind != own_kind)
    return type_ if own_kind in _PLAIN and differs else own


def _labels(type_: sa.Enum) -> TypeEngine[Any]:
    """Return an enumeration of the texts that are stored."""
    return sa.Enum(
        *type_.enums,
        name=type_.name,
        schema=type_.schema,
        native_enum=type_.native_enum,
        length=type_.length,
        create_constraint=False,
    )
