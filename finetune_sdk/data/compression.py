"""Undoing compression as a stream: gzip, bzip2, xz, zstd, zip. A stream cut short is a fault, never a shorter file."""

from __future__ import annotations

import bz2
import gzip
import importlib
import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, BinaryIO, cast

from finetune_sdk.data.report import Fault
from finetune_sdk.errors import DataError

MAX_RATIO = 200
"""Times the compressed size that a file may expand to; text compresses to a fifth or a tenth."""
_FREE_BYTES = 64 << 20  # up to here any ratio is harmless


@dataclass(frozen=True, slots=True)
class Compression:
    """One way of compressing a file: its first bytes, and how to undo it as a stream."""

    name: str
    magic: bytes
    open: Callable[[BinaryIO], BinaryIO]


def _gunzip(raw: BinaryIO) -> BinaryIO:
    """isal's reader where it is installed, about three times as fast; the standard library's otherwise."""
    try:
        library: Any = importlib.import_module("isal.igzip")
    except ImportError:
        return cast(BinaryIO, gzip.GzipFile(fileobj=raw, mode="rb"))
    return cast(BinaryIO, _Isal(library.GzipFile(fileobj=raw, mode="rb"), raw))


class _Isal:
    """isal's gzip reader. What is wrong with a file it cannot read, the standard library says more exactly."""

    def __init__(self, inner: Any, raw: BinaryIO) -> None:
        self._inner = inner
        self._raw = raw
        self._error: type[Exception] = importlib.import_module("isal.isal_zlib").error

    def read(self, size: int) -> bytes:
        try:
            data: bytes = self._inner.read(size)
        except (EOFError, self._error) as error:
            self._explain()
            raise OSError(str(error)) from None
        return data

    def _explain(self) -> None:
        if self._raw.seekable():
            self._raw.seek(0)
            again = gzip.GzipFile(fileobj=self._raw, mode="rb")
            while again.read(1 << 19):
                pass


def _bunzip2(raw: BinaryIO) -> BinaryIO:
    return cast(BinaryIO, _Streams(raw, bz2.BZ2Decompressor, b"BZh", padding=b"\0"))


def _unxz(raw: BinaryIO) -> BinaryIO:
    return cast(BinaryIO, _Streams(raw, lzma.LZMADecompressor, b"\xfd7zXZ\0", padding=b"\0"))


class _Trailing(OSError):
    """What follows a compressed stream is not another one."""


class _Streams:
    """Streams of bzip2 or xz, one after another; the standard library's files end where one of them is damaged."""

    def __init__(self, raw: BinaryIO, new: Callable[[], Any], magic: bytes, *, padding: bytes) -> None:
        self._raw = raw
        self._new = new
        self._magic = magic
        self._padding = padding
        """What may stand between two streams."""
        self._inner: Any = new()
        self._input = b""
        self._foreign = False
        """Whether what follows a stream does not begin like one."""

    def read(self, size: int) -> bytes:
        while True:
            inner: Any = self._inner or self._begin()
            if inner is None:
                return b""
            if inner.needs_input and not self._input:
                self._input = self._raw.read(io.DEFAULT_BUFFER_SIZE)
                if not self._input:
                    raise EOFError
            data = self._decompressed(inner, size)
            if inner.eof:
                self._input, self._inner = inner.unused_data.lstrip(self._padding), None
            if data:
                return data

    def _begin(self) -> Any:
        """The next stream; None at the end."""
        while not self._input:
            self._input = self._raw.read(io.DEFAULT_BUFFER_SIZE)
            if not self._input:
                return None
            self._input = self._input.lstrip(self._padding)
        self._foreign = not self._input.startswith(self._magic[: len(self._input)])
        self._inner = self._new()
        return self._inner

    def _decompressed(self, inner: Any, size: int) -> bytes:
        given, self._input = self._input, b""
        try:
            data: bytes = inner.decompress(given, size)
        except (OSError, lzma.LZMAError) as error:
            if self._foreign:
                raise _Trailing from None
            raise OSError(str(error)) from None
        return data


def _unzstd(raw: BinaryIO) -> BinaryIO:
    try:
        zstandard = importlib.import_module("zstandard")
    except ImportError as error:
        raise DataError(
            "Reading zstd needs zstandard, which is not installed: `pip install 'finetune-sdk[data]'`."
        ) from error
    return cast(BinaryIO, _Zstd(raw, zstandard))


_ABOUT = ("readme", "license", "licence", "changelog", "notice", "citation", "requirements")


def is_about(name: str) -> bool:
    """Whether a file of that name is a text about the data, and none of it."""
    return PurePosixPath(name).stem.lower() in _ABOUT


def _unzip(raw: BinaryIO) -> BinaryIO:
    try:
        archive = zipfile.ZipFile(raw)
        listed = [info for info in archive.infolist() if not info.is_dir()]
    except _BROKEN as error:
        raise _no_zip(error) from None
    listed = [info for info in listed if not info.filename.startswith("__MACOSX")]
    members = [info for info in listed if not is_about(info.filename)] if len(listed) > 1 else listed
    names = ", ".join(info.filename for info in members[:5]) or "none"
    if len(members) != 1:
        raise Fault(
            "container-zip-members",
            None,
            f"the zip holds {len(members)} files ({names}), not one",
            "Unpack it, and give the folder.",
            fatal=True,
        )
    if ".." in members[0].filename.split("/") or members[0].filename.startswith("/"):
        raise Fault(
            "container-zip-path",
            None,
            f"the file in the zip is named {members[0].filename!r}: it would be unpacked outside its folder",
            "Write the zip again, with plain names.",
            fatal=True,
        )
    if members[0].flag_bits & 1:
        raise Fault("container-encrypted", None, "the zip is encrypted", "Unpack it first.", fatal=True)
    if members[0].file_size > max(_FREE_BYTES, members[0].compress_size * MAX_RATIO):  # it says so itself
        what = f"the zip says that it expands to {members[0].file_size:,} bytes, more than {MAX_RATIO} times its size"
        raise Fault("container-bomb", None, what, "Unpack it yourself if you trust it.", fatal=True)
    try:
        return cast(BinaryIO, archive.open(members[0]))
    except _BROKEN as error:
        raise _no_zip(error) from None


_BROKEN = (
    *(OSError, EOFError, ValueError, NotImplementedError, RuntimeError, struct.error, OverflowError, LookupError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)
"""What the standard library's decompressors raise over damaged bytes."""


def _no_zip(error: Exception) -> Fault:
    return Fault(
        "container-damaged", None, f"not a readable zip: {error}", "Fetch or write the file again.", fatal=True
    )


_ZSTD_INPUT = 2048
"""Bytes fed at once: what comes out of them is not bounded by the library, but 4 bytes make 128 KiB at most."""


class _Zstd:
    """Zstandard frames, one after another; the library's own reader does not notice a frame cut short."""

    def __init__(self, raw: BinaryIO, zstandard: Any) -> None:
        self._raw = raw
        self._library = zstandard
        self._inner: Any = None
        self._input = b""
        self._ready = b""

    def read(self, size: int) -> bytes:
        while not self._ready:
            if not self._input:
                self._input = self._raw.read(_ZSTD_INPUT)
            if not self._input:
                if self._inner is not None:
                    raise EOFError
                return b""
            self._feed()
        data, self._ready = self._ready[:size], self._ready[size:]
        return data

    def _feed(self) -> None:
        if self._inner is None:
            self._inner = self._library.ZstdDecompressor().decompressobj()
        try:
            self._ready = self._inner.decompress(self._input)
        except self._library.ZstdError as error:
            raise OSError(str(error)) from None
        if self._inner.eof:
            self._input = self._inner.unused_data
            self._inner = None
        else:
            self._input = b""


COMPRESSIONS: tuple[Compression, ...] = (
    Compression("gzip", b"\x1f\x8b", _gunzip),
    Compression("bzip2", b"BZh", _bunzip2),
    Compression("xz", b"\xfd7zXZ\x00", _unxz),
    Compression("zstd", b"\x28\xb5\x2f\xfd", _unzstd),
    Compression("zip", b"PK\x03\x04", _unzip),
    Compression("zip", b"PK\x05\x06", _unzip),  # holds no file
)


class Decompressed(io.RawIOBase):
    """A decompressed stream whose failures are `Fault`s. Refuses to expand without bound."""

    def __init__(self, raw: BinaryIO, kind: Compression, size: int | None) -> None:
        self._inner = kind.open(raw)
        self._name = kind.name
        self._limit = None if size is None else max(_FREE_BYTES, size * MAX_RATIO)
        self._read = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast(bytearray, buffer))
        try:
            data = self._inner.read(len(view))
        except EOFError:
            raise self._fault("container-truncated", "ends early") from None
        except _Trailing:
            raise self._fault("container-damaged", "is followed by other data") from None
        except gzip.BadGzipFile as error:
            trailing = str(error).startswith("Not a gzipped file")
            what = "is followed by other data" if trailing else f"is damaged ({error})"
            raise self._fault("container-damaged", what) from None
        except _BROKEN as error:
            raise self._fault("container-damaged", f"is damaged ({error})") from None
        view[: len(data)] = data
        self._read += len(data)
        if self._limit is not None and self._read > self._limit:
            raise self._fault("container-bomb", f"expands to more than {MAX_RATIO} times its size; stopped")
        return len(data)

    def _fault(self, rule: str, what: str) -> Fault:
        fix = "Unpack it yourself if you trust it." if rule == "container-bomb" else "Fetch or write the file again."
        after = f" after {self._read:,} bytes of data" if self._read else ""
        return Fault(rule, None, f"the {self._name} stream {what}{after}", fix, fatal=True)


class Recoded(io.RawIOBase):
    """A text stream of another encoding as UTF-8 bytes."""

    def __init__(self, inner: BinaryIO, encoding: str) -> None:
        self._text = io.TextIOWrapper(inner, encoding=encoding, newline="")
        self._encoding = encoding
        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast(bytearray, buffer))
        if not self._ready:
            try:
                self._ready = self._text.read(1 << 16).encode()
            except UnicodeError as error:
                raise Fault(
                    "container-encoding",
                    None,
                    f"not valid {self._encoding}: {error}",
                    "Convert it to UTF-8.",
                    fatal=True,
                ) from None
        size = min(len(view), len(self._ready))
        view[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size
