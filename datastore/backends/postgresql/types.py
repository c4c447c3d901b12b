"""How the portable types are stored by PostgreSQL, and how vectors travel: binary, both ways."""

from __future__ import annotations

import json
import re
import struct
from typing import Any, TypeAlias

import numpy as np
import sqlalchemy as sa
from pgvector.sqlalchemy import VECTOR
from psycopg import BaseConnection, pq
from psycopg.adapt import Buffer, Dumper, Loader
from psycopg.types import TypeInfo
from sqlalchemy import event
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Engine
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.types import UserDefinedType

from datastore.backends.postgresql.arrays import (
    REAL_ARRAY,
    RealArrayDumper,
    RealArrayLoader,
    to_array_literal,
)
from datastore.backends.postgresql.fallback import ARRAY_TYPE, uses_pgvector
from datastore.backends.substrings import substrings
from datastore.textquery import TRIGRAM, TextQuery, TextQueryType, fold_case
from datastore.types import (
    FloatVector,
    JSONDocument,
    Text,
    TextArray,
    Vector,
    register_dialect_type,
)

#: More ways than these in which a term overlaps itself are not looked for one by one.
MOST_OVERLAPS = 4

# A function of one value; the protocols that SQLAlchemy declares for them are private.
Processor: TypeAlias = Any


class PgVector(VECTOR):
    """pgvector's type, for its name and reflection; values pass through as arrays, untouched.

    pgvector's own processors turn every vector into text, at a twentieth of the speed. In a
    database without pgvector it is the domain over `real[]`. Nothing here that SQLAlchemy keeps
    depends on which of the two it is.
    """

    cache_ok = True

    def bind_processor(self, dialect: Any) -> Processor:
        """Wrap the array for the dumper."""
        return lambda value: None if value is None else VectorValue(value)

    def result_processor(self, dialect: Any, coltype: Any) -> Processor:
        """Take what the loader made, which for a type that it was not made for is no array yet."""
        return _received

    def literal_processor(self, dialect: Any) -> Processor:
        """Render a text literal with its type."""
        return lambda value: _literal(value, uses_pgvector(dialect))


@compiles(PgVector, "postgresql")
def _column_type(type_: PgVector, compiler: Any, **_: Any) -> str:
    return type_.get_col_spec() if uses_pgvector(compiler.dialect) else ARRAY_TYPE


def _literal(value: FloatVector, native: bool) -> str:
    return f"'{_to_text(value)}'::vector" if native else f"'{to_array_literal(value)}'::real[]"


def _received(value: Any) -> FloatVector | None:
    if value is None or isinstance(value, np.ndarray):
        return value
    if isinstance(value, list):
        return _read_only(np.array(value, dtype="<f4"))
    # pgvector's, on a connection that was opened before it came.
    return vector_from_wire(value) if isinstance(value, bytes) else _from_text(value.encode())


class VectorValue:
    """An array on its way to the server."""

    __slots__ = ("array",)

    def __init__(self, array: FloatVector) -> None:
        self.array = array


class TermsDocument(UserDefinedType[TextQuery]):
    """The terms of a query as a JSON array; the server makes lexemes of their words."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """Name the type."""
        return "TEXT"

    def bind_processor(self, dialect: Any) -> Processor:
        """Send text."""
        return terms_document

    def literal_processor(self, dialect: Any) -> Processor:
        """Render a text literal."""
        quoted = _text_literal(dialect)
        return lambda value: quoted(terms_document(value))


def terms_document(query: TextQuery) -> str:
    """Render the terms; words hold letters and digits only."""
    terms = [
        {"words": " ".join(term.words), "occur": term.occur.value, "prefix": term.prefix}
        for term in query.terms
    ]
    return json.dumps(terms, ensure_ascii=False)


class SubstringsDocument(TermsDocument):
    """The substrings of a query as a JSON array, each with what finds it; the server folds them."""

    cache_ok = True

    def bind_processor(self, dialect: Any) -> Processor:
        """Send text."""
        return substrings_document

    def literal_processor(self, dialect: Any) -> Processor:
        """Render a text literal."""
        quoted = _text_literal(dialect)
        return lambda value: quoted(substrings_document(value))


def substrings_document(query: TextQuery) -> str:
    """Render the substrings, with patterns for LIKE and a regular expression that looks ahead."""
    given = substrings(query)
    for row in given:
        term = row["term"]
        row["indexed"] = len(term) >= TRIGRAM
        row["pattern"] = _anywhere(term)
        row["doubled"] = _doubled(term)
        row["regex"] = "(?=" + re.sub(r"[!-/:-@\[-`{-~]", r"\\\g<0>", term) + ")"
    return json.dumps(given, ensure_ascii=False)


def _doubled(term: str) -> list[str]:
    """Return patterns of the texts in which a term overlaps itself, or of all, were they many."""
    folded = fold_case(term)
    found = [n for n in range(1, len(term)) if folded.endswith(folded[:n])]
    return ["%"] if len(found) > MOST_OVERLAPS else [_anywhere(term + term[n:]) for n in found]


def _anywhere(text: str) -> str:
    return "%" + re.sub(r"[\\%_]", r"\\\g<0>", text) + "%"


class BinaryText(UserDefinedType[str]):
    """TEXT whose columns are compared and sorted by code point.

    The collation belongs to a column: in a cast, as of every parameter, it is no valid syntax
    everywhere.
    """

    cache_ok = True
    render_bind_cast = True

    def get_col_spec(self, type_expression: Any = None, **_: Any) -> str:
        """Name the type, with the collation where a column is defined."""
        return "TEXT" if type_expression is None else 'TEXT COLLATE "C"'

    def literal_processor(self, dialect: Any) -> Processor:
        """Render a text literal."""
        return _text_literal(dialect)


class TextList(UserDefinedType[list[str]]):
    """TEXT[], which psycopg takes and gives as a list."""

    cache_ok = True
    render_bind_cast = True

    def get_col_spec(self, **_: Any) -> str:
        """Name the type."""
        return "TEXT[]"

    def literal_processor(self, dialect: Any) -> Processor:
        """Render an array literal, with its type: an empty one has none by itself."""
        quoted = _text_literal(dialect)
        return lambda value: f"ARRAY[{', '.join(map(quoted, value))}]::TEXT[]"


def _text_literal(dialect: Any) -> Processor:
    processor: Processor = sa.Text().dialect_impl(dialect).literal_processor(dialect)
    return processor


def _to_text(array: FloatVector) -> str:
    return "[" + ",".join(map(repr, array.tolist())) + "]"


_HEADER = struct.Struct(">HH")
_BIG_ENDIAN = np.dtype(">f4")


class VectorBinaryDumper(Dumper):
    """The wire format of pgvector's `vector_send`: dimensions, zero, big-endian floats."""

    format = pq.Format.BINARY

    def dump(self, obj: VectorValue) -> Buffer:
        """Return the wire bytes."""
        array = obj.array
        return b"".join((_HEADER.pack(array.size, 0), array.astype(_BIG_ENDIAN).data))


class VectorTextDumper(Dumper):
    """For a connection that does not know the type's number (yet): the server infers it."""

    def dump(self, obj: VectorValue) -> Buffer:
        """Return the text form, exact to the bit."""
        return _to_text(obj.array).encode()


class VectorBinaryLoader(Loader):
    """Reads what `vector_send` wrote."""

    format = pq.Format.BINARY

    def load(self, data: Buffer) -> FloatVector:
        """Return a float32 array."""
        return vector_from_wire(data)


class VectorTextLoader(Loader):
    """Reads the text form."""

    def load(self, data: Buffer) -> FloatVector:
        """Return a float32 array."""
        return _from_text(bytes(data))


def vector_from_wire(data: Buffer) -> FloatVector:
    """Read what `vector_send` wrote."""
    return _read_only(np.frombuffer(data, dtype=">f4", offset=4).astype("<f4"))


def _from_text(data: bytes) -> FloatVector:
    return _read_only(np.array(data[1:-1].split(b","), dtype=np.float64).astype("<f4"))


def _read_only(array: FloatVector) -> FloatVector:
    array.flags.writeable = False
    return array


def register_vectors(connection: BaseConnection[Any]) -> bool:
    """Teach one connection of psycopg the vector type; False where the server has none."""
    connection.adapters.register_dumper(VectorValue, VectorTextDumper)
    info = TypeInfo.fetch(connection, "vector")  # type: ignore[call-overload]
    if info is None:
        return False
    info.register(connection)
    dumper = type("VectorDumper", (VectorBinaryDumper,), {"oid": info.oid})
    connection.adapters.register_dumper(VectorValue, dumper)
    connection.adapters.register_loader(info.oid, VectorBinaryLoader)
    connection.adapters.register_loader(info.oid, VectorTextLoader)
    return True


def register_arrays(connection: BaseConnection[Any]) -> bool:
    """Let one connection of psycopg send vectors as arrays, which every server knows."""
    connection.adapters.register_dumper(VectorValue, RealArrayDumper)
    return True


# Columns that psycopg reads from the binary format as it does from text. A type that it does not
# know would come back as bytes, so a statement with any other column is read as text.
_READ_BINARY = (
    sa.Boolean,
    sa.Integer,
    sa.Float,
    sa.String,
    sa.LargeBinary,
    sa.DateTime,
    sa.Date,
    postgresql.JSONB,
    BinaryText,
    TextList,
    PgVector,
)
# Strings by their class, and types of the database's own that psycopg does not know.
_READ_TEXT = (sa.Enum, postgresql.CITEXT)


def read_vectors_as_binary(engine: Engine) -> None:
    """Ask for binary results where a statement selects vectors: text takes twenty times as long."""

    # An event of the dialect: one of the engine would have SQLAlchemy prepare all events anew for
    # each connection that is handed out.
    @event.listens_for(engine, "do_execute")
    def choose_format(cursor: Any, _sql: str, _parameters: Any, context: Any) -> None:
        compiled = getattr(context, "compiled", None)
        if compiled is None:
            return
        binary, lists = _formats(compiled, context.dialect)
        if binary:
            cursor.format = pq.Format.BINARY
        if binary and not lists and not uses_pgvector(context.dialect):
            cursor.adapters.register_loader(REAL_ARRAY, RealArrayLoader)


def _formats(compiled: Any, dialect: Any) -> tuple[bool, bool]:
    """Tell whether a statement is read as binary, and whether it selects arrays of the host's."""
    found: tuple[bool, bool] | None = compiled.__dict__.get("_datastore_formats")
    if found is None:
        columns = getattr(compiled, "_result_columns", None) or ()
        types = [column.type.dialect_impl(dialect) for column in columns]
        halves = [getattr(type_, "impl_instance", type_) for type_ in types]
        vectors = any(isinstance(half, PgVector) for half in halves)
        lists = any(isinstance(half, postgresql.ARRAY) for half in halves)
        found = compiled.__dict__["_datastore_formats"] = (
            vectors and all(map(_reads_binary, halves)),
            lists,
        )
    return found


def _reads_binary(half: Any) -> bool:
    if isinstance(half, postgresql.ARRAY):
        return _reads_binary(half.item_type)
    return isinstance(half, _READ_BINARY) and not isinstance(half, _READ_TEXT)


register_dialect_type(Text, "postgresql", lambda _: BinaryText())
register_dialect_type(TextArray, "postgresql", lambda _: TextList())
register_dialect_type(JSONDocument, "postgresql", lambda _: postgresql.JSONB(none_as_null=True))
register_dialect_type(Vector, "postgresql", lambda vector: PgVector(vector.dimensions))
register_dialect_type(
    TextQueryType,
    "postgresql",
    lambda query: SubstringsDocument() if query.tokenizer == "trigram" else TermsDocument(),
)
