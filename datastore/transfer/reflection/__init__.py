"""Any database, not only one of ours: its tables as they are found, and as the target gets them.

A backend finds tables in its own catalog and says what their types mean (`Backend.inspect`); here
that becomes tables for the target, and a note for everything that cannot be in them as it was.
"""

from datastore.inspection import Note
from datastore.transfer.reflection.creating import create_tables, finish_tables
from datastore.transfer.reflection.reflected import ReflectedDatabase, reflect
from datastore.transfer.reflection.schema import FoundSchema

__all__ = ["FoundSchema", "Note", "ReflectedDatabase", "create_tables", "finish_tables", "reflect"]
