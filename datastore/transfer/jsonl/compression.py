"""Files that are compressed: gzip by the standard library, zstd by a module that may be missing."""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal, TypeAlias

from datastore.errors import CapabilityError, InvalidValueError

Compression: TypeAlias = Literal["none", "gzip", "zstd"]

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_ENDINGS: dict[str, Compression] = {".gz": "gzip", ".zst": "zstd"}
_FOREIGN = {".xz", ".lzma", ".bz2", ".zip", ".7z", ".lz4", ".br", ".rar", ".z", ".tgz"}
#: Vectors are compressed hardly better by higher levels, in twice the time.
_GZIP_LEVEL = 6
_ZSTD_LEVEL = 3
#: The memory that a zstd file may ask for: what RFC 8878 (3.1.1.1.2) has every reader support.
_WINDOW_LOG = 23
_BUFFER = 2**16


def compression_of(path: Path) -> Compression:
    """Return the compression that the ending of a file's name asks for.

    Raises `InvalidValueError` for one that there is not: plain text would not be looked for there.
    """
    ending = path.suffix.lower()
    if ending in _FOREIGN:
        raise InvalidValueError(
            f"{ending} names a compression that an export has not: expected .gz, .zst or another "
            "ending; the compression none (--compress none) writes it plain"
        )
    return _ENDINGS.get(ending, "none")


@contextmanager
def compressing(stream: IO[bytes], compression: Compression) -> Iterator[IO[bytes]]:
    """Give what compresses into `stream`, which stays open."""
    if compression == "none":
        yield stream
        return
    with _writer(stream, compression) as writer:
        yield writer


def decompressing(stream: IO[bytes]) -> io.BufferedIOBase:
    """Return what reads a stream, decompressed if its first bytes say that it is compressed."""
    head = b""
    while len(head) < len(_ZSTD) and (more := stream.read(len(_ZSTD) - len(head))):
        head += more
    whole = io.BufferedReader(_Rejoined(head, stream), _BUFFER)
    if head.startswith(_GZIP):
        return gzip.GzipFile(fileobj=whole)
    return _zstd_reader(whole) if head == _ZSTD else whole


def damage() -> tuple[type[Exception], ...]:
    """Return the classes of what reading raises where data were cut off or changed."""
    return (EOFError, OSError, zlib.error, *_zstd_errors())


class _Rejoined(io.RawIOBase):
    """A stream whose first bytes were read already, to see what they are."""

    def __init__(self, head: bytes, rest: IO[bytes]) -> None:
        self._head, self._rest = head, rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._head or self._rest.read(len(buffer))
        self._head = b""
        buffer[: len(data)] = data
        return len(data)


def _writer(stream: IO[bytes], compression: Compression) -> Any:
    # gzip gets neither a name nor a time: the same rows make the same file.
    if compression == "gzip":
        return gzip.GzipFile("", "wb", _GZIP_LEVEL, stream, mtime=0)
    return _zstd_writer(stream)


if sys.version_info >= (3, 14):
    from compression import zstd

    def _zstd_reader(stream: Any) -> io.BufferedIOBase:
        return zstd.ZstdFile(
            stream, options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}
        )

    def _zstd_writer(stream: IO[bytes]) -> IO[bytes]:
        level, checksum = (
            zstd.CompressionParameter.compression_level,
            zstd.CompressionParameter.checksum_flag,
        )
        return zstd.ZstdFile(stream, "w", options={level: _ZSTD_LEVEL, checksum: 1})

    def _zstd_errors() -> tuple[type[Exception], ...]:
        return (zstd.ZstdError,)

else:

    def _zstandard() -> Any:
        try:
            import zstandard
        except ImportError as error:
            raise CapabilityError(
                "zstd",
                found=f"Python {sys.version_info.major}.{sys.version_info.minor} without it",
                needed="the package zstandard",
                remedy="run `pip install 'datastore[zstd]'`, or use gzip",
            ) from error
        return zstandard

    def _zstd_reader(stream: Any) -> io.BufferedIOBase:
        decompressor = _zstandard().ZstdDecompressor(max_window_size=2**_WINDOW_LOG)
        reader = decompressor.stream_reader(stream, read_across_frames=True)
        return io.BufferedReader(reader, _BUFFER)

    def _zstd_writer(stream: IO[bytes]) -> IO[bytes]:
        compressor = _zstandard().ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True)
        writer: IO[bytes] = compressor.stream_writer(stream, closefd=False)
        return writer

    def _zstd_errors() -> tuple[type[Exception], ...]:
        try:
            return (_zstandard().ZstdError,)
        except CapabilityError:
            return ()
