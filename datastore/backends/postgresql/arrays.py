"""The wire format of one-dimensional arrays of `real`: what vectors travel as without pgvector."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from psycopg import pq
from psycopg.adapt import Buffer, Dumper, Loader
from psycopg.postgres import types as postgres_types

from datastore.types import FloatVector

REAL = postgres_types["float4"].oid
REAL_ARRAY = postgres_types["float4"].array_oid
# `array_send`: dimensions, whether there are NULLs, the type of the elements; then for the one
# dimension its length and its lower bound. Each element comes with its length.
_HEADER = struct.Struct(">iiIii")
_ELEMENT = np.dtype([("length", ">i4"), ("value", ">f4")])


def to_array(vector: FloatVector) -> bytes:
    """Return the wire bytes of a vector."""
    elements = np.empty(vector.size, dtype=_ELEMENT)
    elements["length"] = 4
    elements["value"] = vector
    return _HEADER.pack(1, 0, REAL, vector.size, 1) + elements.tobytes()


def to_array_literal(vector: FloatVector) -> str:
    """Return the text form, exact to the bit."""
    return "{" + ",".join(map(repr, vector.tolist())) + "}"


class RealArrayDumper(Dumper):
    """For values with the attribute `array`."""

    format = pq.Format.BINARY
    oid = REAL_ARRAY

    def dump(self, obj: Any) -> Buffer:
        """Return the wire bytes."""
        return to_array(obj.array)


class RealArrayLoader(Loader):
    """Reads a vector, which has one dimension and no NULL."""

    format = pq.Format.BINARY

    def load(self, data: Buffer) -> FloatVector:
        """Return a float32 array that cannot be written to."""
        array = np.frombuffer(data, dtype=_ELEMENT, offset=_HEADER.size)["value"].astype("<f4")
        array.flags.writeable = False
        return array
