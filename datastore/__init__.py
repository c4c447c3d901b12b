"""One data layer, two engines, the same answers."""

from datastore.backends.base import Capability
from datastore.errors import DatastoreError
from datastore.results import DatabaseSchema, RunResult, SearchHit, SearchResult
from datastore.schema import FullTextIndex, VectorIndex
from datastore.settings import Settings
from datastore.sql import each, hybrid, matching, nearest, one_of, upsert
from datastore.store import Datastore, Transaction
from datastore.types import JSONDocument, RowKey, Text, TextArray, UTCDateTime, Vector

__all__ = [
    "Capability",
    "DatabaseSchema",
    "Datastore",
    "DatastoreError",
    "FullTextIndex",
    "JSONDocument",
    "RowKey",
    "RunResult",
    "SearchHit",
    "SearchResult",
    "Settings",
    "Text",
    "TextArray",
    "Transaction",
    "UTCDateTime",
    "Vector",
    "VectorIndex",
    "each",
    "hybrid",
    "matching",
    "nearest",
    "one_of",
    "upsert",
]
