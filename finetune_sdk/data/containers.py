"""Files to bytes: finding them, naming their container by its first bytes, undoing compression and byte order marks.

The suffix decides only where the bytes say nothing (CSV, TSV and text look alike).
"""

from __future__ import annotations

import atexit
import codecs
import difflib
import functools
import io
import json
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal, cast

from finetune_sdk.data.compression import COMPRESSIONS, Compression, Decompressed, Recoded, is_about
from finetune_sdk.data.jsonvalue import as_list, as_object
from finetune_sdk.data.progress import reading
from finetune_sdk.data.remote import fetched, is_remote
from finetune_sdk.data.report import Fault
from finetune_sdk.errors import DataError

Container = Literal["jsonl", "json", "csv", "tsv", "text", "parquet", "arrow", "excel"]

DATA_SUFFIXES = (".jsonl", ".json", ".ndjson", ".csv", ".tsv", ".txt", ".md", ".parquet", ".arrow", ".xlsx")
_HEAD_BYTES = 65_536


def find_files(sources: str | Path | Sequence[str | Path]) -> list[Path]:
    """The files meant by paths, globs and folders, in a stable order. Raises `DataError` when one leads nowhere."""
    given = [sources] if isinstance(sources, str | Path) else list(sources)
    if not given:
        raise DataError("no file was given: the list of files is empty.")
    found: list[Path] = []
    for source in given:
        if source == "":
            raise DataError("an empty name names no file; for the folder you are in write '.'.")
        found += _find(str(source))
    return found


def _find(source: str) -> list[Path]:
    if source == "-":
        return [Path(source)]
    if is_remote(source):
        return fetched(source, _is_data)
    path = Path(source).expanduser()
    if path.is_dir():
        _refuse_splits(path)
        inside = sorted(file for file in path.rglob("*") if file.is_file() and _is_data(file))
        if not inside:
            raise DataError(f"{source}: the folder holds no data file ({', '.join(DATA_SUFFIXES)}).")
        return inside
    if path.exists():
        return [path]
    if any(sign in source for sign in "*?["):
        root = Path(path.anchor or ".")
        found = root.glob(str(path.relative_to(path.anchor)))
        hidden = path.name.startswith(".")  # as a shell has it: only where the pattern says so
        matches = sorted(match for match in found if match.is_file() and match.name.startswith(".") <= hidden)
        if matches:
            return matches
        raise DataError(f"{source}: no file matches this pattern.")
    raise DataError(f"{source}: no such file.{_nearest(path)}")


def _refuse_splits(folder: Path) -> None:
    """A folder that `datasets` wrote with several splits: together they are no dataset. Raises `DataError`."""
    try:
        found: object = json.loads((folder / "dataset_dict.json").read_bytes())
    except (OSError, ValueError):
        return
    splits = as_list((as_object(found) or {}).get("splits")) or []
    if len(splits) > 1:
        which = ", ".join(str(folder / str(split)) for split in splits)
        raise DataError(f"{folder}: the folder holds the splits of a dataset; give the one that is meant: {which}.")


def _is_data(path: Path) -> bool:
    if path.name.startswith(".") or path.name in _NOT_DATA or is_about(path.name):
        return False
    return path.suffix in DATA_SUFFIXES or (
        path.suffix in {".gz", ".bz2", ".xz", ".zst", ".zip"} and Path(path.stem).suffix in DATA_SUFFIXES
    )


_NOT_DATA = ("dataset_info.json", "dataset_dict.json", "state.json")
"""What `datasets` and LLaMA-Factory put beside the data."""


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
        raw = (_copy(path) if str(path) == "-" or path.is_fifo() else path).open("rb")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from error
    with raw, reading(raw, path):
        yield _unwrap(raw, path)


def stamp(path: Path) -> tuple[int, ...] | None:
    """What changes when the file does; None where it is no file (any more)."""
    try:
        about = path.stat()
    except OSError:
        return None
    return (about.st_ino, about.st_size, about.st_mtime_ns) if stat.S_ISREG(about.st_mode) else None


def changed() -> Fault:
    """What to say of a file whose stamp is no longer what it was."""
    return Fault(
        "file-changed",
        None,
        "the file changed while it was read",
        "Wait until it is written, then try again.",
        fatal=True,
    )


@functools.cache
def _copy(path: Path) -> Path:
    """Standard input or a pipe in a temporary file: a dataset is read more than once."""
    descriptor, name = tempfile.mkstemp(prefix="finetune-stdin-")
    atexit.register(Path(name).unlink, missing_ok=True)
    try:
        with os.fdopen(descriptor, "wb") as copy, ExitStack() as stack:
            source = sys.stdin.buffer if str(path) == "-" else stack.enter_context(path.open("rb"))
            shutil.copyfileobj(source, copy)
    except OSError as error:
        Path(name).unlink(missing_ok=True)
        what = f"{path}: cannot be kept in {str(Path(name).parent)!r}: {error.strerror or error}."
        raise DataError(f"{what} Save it to a file and give that, or set TMPDIR to a folder with more room.") from None
    return Path(name)


def _unwrap(raw: BinaryIO, path: Path) -> Opened:
    stream = io.BufferedReader(cast(io.RawIOBase, raw), _HEAD_BYTES) if not hasattr(raw, "peek") else raw
    magic = _peek(stream, 8)
    compression: Compression | None = next((kind for kind in COMPRESSIONS if magic.startswith(kind.magic)), None)
    if path.suffix.lower() in _OFFICE:  # zip files by another name
        compression = None
    if compression is not None:
        size = os.fstat(raw.fileno()).st_size
        stream = io.BufferedReader(Decompressed(stream, compression, size), 1 << 19)
    head = _peek(stream, _HEAD_BYTES)
    if compression is not None:
        _refuse_twice(head, compression)
    repairs: list[tuple[str, str]] = []
    mark, encoding = next(((mark, name) for mark, name in _MARKS if head.startswith(mark)), (b"", ""))
    if mark:
        stream.read(len(mark))
        if encoding != "utf-8":
            stream = io.BufferedReader(Recoded(stream, encoding), _HEAD_BYTES)
            repairs.append(("encoding", f"the file is {encoding.upper()}; it was read as such"))
        else:
            repairs.append(("byte-order-mark", "the UTF-8 byte order mark was removed"))
        head = _peek(stream, _HEAD_BYTES)
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


def _refuse_twice(head: bytes, outer: Compression) -> None:
    """Compressed data inside of compressed data is undone once, and would be read as damaged text."""
    inner = next((kind for kind in COMPRESSIONS if head.startswith(kind.magic)), None)
    if inner is not None:
        what = f"inside of the {outer.name} there is {inner.name} again"
        raise Fault("container-nested", None, what, "Unpack it once, and give what comes out.", fatal=True)


_OFFICE = (".xlsx", ".xlsm")
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it starts with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def _peek(stream: BinaryIO, size: int) -> bytes:
    return cast(io.BufferedReader, stream).peek(size)[:size]


def _refuse_non_data(head: bytes) -> None:
    start = head[:300].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        what = "an XML document, perhaps a server's error," if start.startswith(b"<?xml") else "an HTML page,"
        raise Fault("container-html", None, f"this is {what} not data", "Download the file itself.", fatal=True)
    other = next((what for at, magic, what in _OTHERS if head[at : at + len(magic)] == magic), None)
    if other is not None:
        raise Fault("container-other", None, f"this is {other}, not rows of data", "Give the data file.", fatal=True)
    if start.startswith(b"version https://git-lfs"):
        raise Fault(
            "container-lfs-pointer", None, "this is a Git LFS pointer, not the file", "Run `git lfs pull`.", fatal=True
        )
    if len(head) > 20 and not head.strip(b"\0"):
        what = (
            "it begins with nothing but zeros: space that was reserved and never written, such as by a broken download"
        )
        raise Fault("container-empty", None, what, "Fetch or write the file anew.", fatal=True)
    nulls = head[:1000].count(b"\0")
    if len(head) > 20 and nulls * 3 > len(head[:1000]) and not head.startswith(tuple(magic for magic, _, _ in _BINARY)):
        raise Fault(
            "container-encoding",
            None,
            "it looks like UTF-16 without a byte order mark: every second byte is 0",
            f"Convert it: `iconv -f utf-16{'be' if head[:1] == _NULL else 'le'} -t utf-8 IN > OUT`.",
            fatal=True,
        )


_NULL = b"\0"
_OTHERS = (
    (0, b"\x89PNG", "a PNG image"),
    (0, b"\xff\xd8\xff", "a JPEG image"),
    (0, b"%PDF-", "a PDF document"),
    (0, b"SQLite format 3", "an SQLite database"),
    (0, b"\x7fELF", "a program"),
    (0, b"\x80\x04\x95", "a Python pickle"),
    (0, b"\xd0\xcf\x11\xe0", "an old Excel or Word file"),
    (257, b"ustar", "a tar archive"),
    (2, b"\x00\x00\x00\x00\x00\x00{", "a file of model weights (safetensors)"),
)
"""(offset, first bytes, what it is): files given by mistake."""


def name_container(head: bytes, path: Path) -> tuple[Container, str]:
    """The container and why, from the first bytes; the suffix decides between CSV, TSV and text."""
    for magic, container, evidence in _BINARY:
        if head.startswith(magic):
            return container, evidence
    if path.suffix.lower() in _OFFICE:
        return "excel", "an Excel workbook"
    suffixes = [suffix.lower() for suffix in path.suffixes]
    text_like = next((suffix for suffix in reversed(suffixes) if suffix in _TEXT_LIKE), None)
    start = head.lstrip()
    if text_like is not None and not (_TEXT_LIKE[text_like] == "text" and _is_jsonl(start)):
        return _TEXT_LIKE[text_like], f"named {text_like}"
    if start[:1] in (b"[", b"{"):
        return _json_container(start)
    if set(suffixes) & {".jsonl", ".ndjson", ".json"} or not start:
        return "jsonl", "named " + "".join(suffixes) if suffixes else "empty"
    return _table_or_text(start.split(b"\n", 1)[0])


_BINARY: tuple[tuple[bytes, Container, str], ...] = (
    (b"PAR1", "parquet", "starts with PAR1"),
    (b"ARROW1", "arrow", "starts with ARROW1"),
    (b"\xff\xff\xff\xff", "arrow", "an Arrow IPC stream"),
)
_TEXT_LIKE: dict[str, Container] = {".csv": "csv", ".tsv": "tsv", ".txt": "text", ".md": "text"}


def _json_container(start: bytes) -> tuple[Container, str]:
    if start.startswith(b"["):
        return "json", "starts with [: a JSON array"
    return ("json", "objects span lines") if _spans_lines(start) else ("jsonl", "one object per line")


def _is_jsonl(start: bytes) -> bool:
    """Whether each of the first lines is an object, whatever the file is called."""
    lines = [line.strip() for line in start.split(b"\n")[:3]]
    return bool(start) and all(line.startswith(b'{"') and line.endswith(b"}") for line in lines if line)


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
