"""Errors of SQLAlchemy and of the drivers become ours, at the one place where they pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import exc
from sqlalchemy.engine import ExceptionContext

from datastore.backends.base import Backend
from datastore.backends.prose import note_statement
from datastore.errors import (
    CapabilityError,
    DatastoreError,
    InvalidValueError,
    TransientError,
    UnknownNameError,
)


@contextmanager
def translated(backend: Backend) -> Iterator[None]:
    """Turn errors of SQLAlchemy and of the driver into ours, the cause kept and no value told."""
    try:
        yield
    except exc.DBAPIError as error:
        raise _translate(error, backend) from error.orig
    except exc.TimeoutError as error:
        raise TransientError("every connection of the pool stayed in use; enlarge it") from error
    except exc.StatementError as error:
        raise _of_statement(error) from None
    except exc.CompileError as error:
        raise _of_compilation(error) from error
    except exc.ResourceClosedError as error:
        raise InvalidValueError("the statement returns no rows: use `execute`") from error
    except exc.ArgumentError as error:
        _forget(error)
        raise InvalidValueError(
            "expected SQL text or a statement, and mappings for its parameters"
        ) from None
    except (OverflowError, UnicodeError) as error:
        _forget(error)
        raise InvalidValueError(f"a value cannot be stored ({type(error).__name__})") from None


def refuse_incapable(context: ExceptionContext, backend: Backend) -> None:
    """Raise the `CapabilityError` of a statement that needs what the server lacks.

    A listener for an engine, so that `create_all()` raises it too.
    """
    if isinstance(context.sqlalchemy_exception, exc.DBAPIError):
        note_statement(context.original_exception, context.statement)
        translation = backend.translate(context.original_exception)
        if isinstance(translation, CapabilityError):
            backend.scrub(context.original_exception)
            raise translation from context.original_exception


def _translate(error: exc.DBAPIError, backend: Backend) -> DatastoreError:
    original: Any = error.orig
    note_statement(original, error.statement)
    translation = backend.translate(original)
    backend.scrub(original)
    _forget(error, str(original))
    return translation or InvalidValueError(type(original).__name__)


def _of_statement(error: exc.StatementError) -> DatastoreError:
    # Raised while parameters were made ready, before the database saw anything.
    original = error.orig
    name = type(original).__name__
    _forget(error, name)
    if isinstance(original, DatastoreError):
        return original
    if isinstance(original, exc.InvalidRequestError) and "bind parameter" in str(original):
        return InvalidValueError(_first_line(original))
    if original is not None:
        _forget(original)
    return InvalidValueError(f"a value does not fit its column ({name})")


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0].partition(" (Background")[0]


def _forget(error: BaseException, message: str | None = None) -> None:
    """Leave no value in an error that stays visible behind ours."""
    error.args = (message or type(error).__name__,)
    if isinstance(error, exc.StatementError):
        error.hide_parameters, error.params = True, None
    if isinstance(error, UnicodeEncodeError | UnicodeDecodeError):
        exposed: Any = error
        exposed.object = type(error.object)()


def _of_compilation(error: exc.CompileError) -> DatastoreError:
    message = _first_line(error)
    if "literal value" in message:
        _forget(error)
        return InvalidValueError("a value cannot be written as a literal of its type")
    if message.startswith("Unconsumed column names"):
        return UnknownNameError(message[0].lower() + message[1:])
    return InvalidValueError(message)
