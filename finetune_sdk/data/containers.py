"""Files to bytes: finding them, naming their container by its first bytes, undoing compression and byte order marks.

The suffix decides only where the bytes say nothing (CSV, TSV and text look alike).
"""

from __future__ import annotations

import bz2
import codecs
import difflib
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal, cast

from finetune_sdk.data.report import Fault
from finetune_sdk.errors import DataError

Container = Literal["jsonl", "json", "csv", "tsv", "text", "parquet"]

DATA_SUFFIXES = (".jsonl", ".json", ".ndjson", ".csv", ".tsv", ".txt", ".md", ".parquet")
_HEAD_BYTES = 65_536


def find_files(sources: str | Path | Sequence[str | Path]) -> list[Path]:
    """The files meant by paths, globs and folders, in a stable order. Raises `DataError` when one leads nowhere."""
    given = [sources] if isinstance(sources, str | Path) else list(sources)
    found: list[Path] = []
    for source in given:
        found += _find(str(source))
    return found


def _find(source: str) -> list[Path]:
    path = Path(source).expanduser()
    if path.is_dir():
        inside = sorted(file for file in path.rglob("*") if file.is_file() and _is_data(file))
        if not inside:
            raise DataError(f"{source}: the folder holds no data file ({', '.join(DATA_SUFFIXES)}).")
        return inside
    if path.exists():
        return [path]
    if any(sign in source for sign in "*?["):
        root = Path(path.anchor or ".")
        matches = sorted(match for match in root.glob(str(path.relative_to(path.anchor))) if match.is_file())
        if matches:
            return matches
        raise DataError(f"{source}: no file matches this pattern.")
    raise DataError(f"{source}: no such file.{_nearest(path)}")


def _is_data(path: Path) -> bool:
    if any(part.startswith(".") for part in path.parts):
        return False
    return path.suffix in DATA_SUFFIXES or (
        path.suffix in {".gz", ".bz2", ".xz"} and Path(path.stem).suffix in DATA_SUFFIXES
    )


def _nearest(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f" The folder {str(folder)!r} does not exist."
    names = [file.name for file in folder.iterdir()]
    close = difflib.get_close_matches(path.name, names, n=1, cutoff=0.5)
    if close:
        return f" Did you mean {str(folder / close[0])!r}?"
    data = sorted(name for name in names if Path(name).suffix in DATA_SUFFIXES)[:5]
    return f" The folder holds: {', '.join(data)}." if data else ""


@dataclass(frozen=True, slots=True)
class Compression:
    """One way of compressing a file: its first bytes, and how to undo it as a stream."""

    name: str
    magic: bytes
    open: Callable[[BinaryIO], BinaryIO]


def _gunzip(raw: BinaryIO) -> BinaryIO:
    return cast(BinaryIO, gzip.GzipFile(fileobj=raw, mode="rb"))


def _bunzip2(raw: BinaryIO) -> BinaryIO:
    return cast(BinaryIO, bz2.BZ2File(raw, "rb"))


def _unxz(raw: BinaryIO) -> BinaryIO:
    return cast(BinaryIO, lzma.LZMAFile(raw, "rb"))


COMPRESSIONS: tuple[Compression, ...] = (
    Compression("gzip", b"\x1f\x8b", _gunzip),
    Compression("bzip2", b"BZh", _bunzip2),
    Compression("xz", b"\xfd7zXZ\x00", _unxz),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A file's contents as plain UTF-8 bytes (or Parquet), and what was undone on the way."""

    stream: BinaryIO
    container: Container
    compression: str | None = None
    repairs: tuple[tuple[str, str], ...] = ()
    """(rule, what was done), such as a byte order mark removed."""
    evidence: str = ""
    head: bytes = field(default=b"", repr=False)


@contextmanager
def open_file(path: Path) -> Generator[Opened]:
    """Open a data file for one pass. Raises `Fault` where its bytes are no data at all."""
    try:
        raw = path.open("rb")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from error
    with raw:
        yield _unwrap(raw, path)


def _unwrap(raw: BinaryIO, path: Path) -> Opened:
    stream = io.BufferedReader(cast(io.RawIOBase, raw), _HEAD_BYTES) if not hasattr(raw, "peek") else raw
    magic = _peek(stream, 8)
    compression: Compression | None = next((kind for kind in COMPRESSIONS if magic.startswith(kind.magic)), None)
    if compression is not None:
        stream = io.BufferedReader(cast(io.RawIOBase, _Checked(compression.open(stream), compression.name)), 1 << 19)
    head = _peek(stream, _HEAD_BYTES)
    repairs: list[tuple[str, str]] = []
    if head.startswith(codecs.BOM_UTF8):
        stream.read(3)
        head = head[3:]
        repairs.append(("byte-order-mark", "the UTF-8 byte order mark was removed"))
    _refuse_non_data(head)
    container, evidence = name_container(head, path)
    return Opened(
        stream=stream,
        container=container,
        compression=compression.name if compression else None,
        repairs=tuple(repairs),
        evidence=evidence,
        head=head,
    )


def _peek(stream: BinaryIO, size: int) -> bytes:
    return cast(io.BufferedReader, stream).peek(size)[:size]


class _Checked(io.RawIOBase):
    """A decompressed stream whose failures are `Fault`s, so a file cut short is never a shorter file."""

    def __init__(self, inner: BinaryIO, name: str) -> None:
        self._inner = inner
        self._name = name
        self._read = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast(bytearray, buffer))
        try:
            data = self._inner.read(len(view))
        except EOFError:
            raise Fault(
                "container-truncated",
                None,
                f"the {self._name} stream ends early, after {self._read:,} bytes of data",
                "Fetch or write the file again.",
                fatal=True,
            ) from None
        except (OSError, zlib.error, lzma.LZMAError) as error:
            raise Fault(
                "container-damaged",
                None,
                f"the {self._name} stream is damaged after {self._read:,} bytes of data: {error}",
                "Fetch or write the file again.",
                fatal=True,
            ) from None
        view[: len(data)] = data
        self._read += len(data)
        return len(data)


def _refuse_non_data(head: bytes) -> None:
    start = head[:300].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html")):
        raise Fault("container-html", None, "this is an HTML page, not data", "Download the file itself.", fatal=True)
    if start.startswith(b"version https://git-lfs"):
        raise Fault(
            "container-lfs-pointer", None, "this is a Git LFS pointer, not the file", "Run `git lfs pull`.", fatal=True
        )
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise Fault(
            "container-encoding",
            None,
            "the file is UTF-16 or UTF-32, not UTF-8",
            "Convert it: `iconv -f utf-16 -t utf-8 IN > OUT`.",
            fatal=True,
        )


def name_container(head: bytes, path: Path) -> tuple[Container, str]:
    """The container and why, from the first bytes; the suffix decides between CSV, TSV and text."""
    if head.startswith(b"PAR1"):
        return "parquet", "starts with PAR1"
    suffixes = [suffix.lower() for suffix in path.suffixes]
    text_like = next((suffix for suffix in reversed(suffixes) if suffix in _TEXT_LIKE), None)
    if text_like is not None:
        return _TEXT_LIKE[text_like], f"named {text_like}"
    start = head.lstrip()
    if start.startswith(b"["):
        return "json", "starts with [: a JSON array"
    if start.startswith(b"{"):
        return ("json", "objects span lines") if _spans_lines(start) else ("jsonl", "one object per line")
    if set(suffixes) & {".jsonl", ".ndjson", ".json"} or not start:
        return "jsonl", "named " + "".join(suffixes) if suffixes else "empty"
    return _table_or_text(start.split(b"\n", 1)[0])


_TEXT_LIKE: dict[str, Container] = {".csv": "csv", ".tsv": "tsv", ".txt": "text", ".md": "text"}


def _table_or_text(first: bytes) -> tuple[Container, str]:
    if b"\t" in first:
        return "tsv", "the first line has tabs"
    return ("csv", "the first line has commas") if b"," in first else ("text", "neither JSON nor a table")


def _spans_lines(start: bytes) -> bool:
    """Whether the first object goes on after its line: pretty-printed, not JSONL."""
    if b"\n" not in start and b"}\r{" in start:  # line ends of old Macs
        return True
    first, _, rest = start.partition(b"\n")
    if not rest.strip():
        return False
    if first.strip() in (b"{", b"{}{"):
        return True
    return not first.rstrip().endswith(b"}") and not rest.lstrip().startswith(b"{")
