"""The same rows in any container are the same data; a container cut short is never a shorter dataset."""

# pyright: basic
# pyarrow and openpyxl come without complete types
from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import math
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow
import pyarrow.ipc
import pyarrow.parquet
import pytest
import zstandard

from finetune_sdk.data import Dataset
from finetune_sdk.data.report import Report
from finetune_sdk.errors import DataError

ROWS: list[dict[str, Any]] = [
    {"prompt": f"question {number} ü", "completion": f"answer {number}"} for number in range(40)
]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)


def zipped(text: bytes, *names: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, text)
    return out.getvalue()


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstandard.ZstdCompressor().compress,
    "zip": lambda data: zipped(data, "train.jsonl"),
}


def fingerprint(path: Path) -> str:
    return Dataset.open(path).fingerprint()


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    path = tmp_path / "plain.jsonl"
    path.write_text(LINES)
    return path


@pytest.mark.parametrize("suffix", COMPRESS)
def test_compressed_rows_are_the_same_data(plain: Path, suffix: str) -> None:
    packed = plain.with_name(f"packed.jsonl.{suffix}")
    packed.write_bytes(COMPRESS[suffix](LINES.encode()))
    assert fingerprint(packed) == fingerprint(plain)


def test_two_streams_one_after_another_are_read_as_one(plain: Path) -> None:
    half = LINES.encode()
    for suffix in ("gz", "zst"):
        packed = plain.with_name(f"packed.jsonl.{suffix}")
        packed.write_bytes(COMPRESS[suffix](half) + COMPRESS[suffix](half))
        assert sum(1 for _ in Dataset.open(packed)) == 2 * len(ROWS)


@pytest.mark.parametrize("suffix", ["gz", "bz2", "xz", "zst"])
def test_every_prefix_of_a_compressed_file_is_refused(plain: Path, suffix: str) -> None:
    whole = COMPRESS[suffix](LINES.encode())
    packed = plain.with_name(f"packed.jsonl.{suffix}")
    for size in range(12, len(whole), max(1, len(whole) // 25)):
        packed.write_bytes(whole[:size])
        with pytest.raises(DataError):
            list(Dataset.open(packed))


def test_a_zip_with_two_files_lists_them(tmp_path: Path) -> None:
    packed = tmp_path / "packed.zip"
    packed.write_bytes(zipped(LINES.encode(), "a.jsonl", "b.jsonl"))
    with pytest.raises(DataError, match=r"2 files \(a\.jsonl, b\.jsonl\)"):
        list(Dataset.open(packed))


def test_a_decompression_bomb_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finetune_sdk.data.compression._FREE_BYTES", 1 << 20)
    packed = tmp_path / "bomb.jsonl.gz"
    packed.write_bytes(gzip.compress(b"\n" * (3 << 20)))
    with pytest.raises(DataError, match="expands to more than 200 times"):
        list(Dataset.open(packed))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_encodings_with_a_mark_are_the_same_data(plain: Path, encoding: str) -> None:
    other = plain.with_name("other.jsonl")
    other.write_text(LINES, encoding=encoding)
    assert fingerprint(other) == fingerprint(plain)


def test_utf16_without_a_mark_is_refused_with_the_command_that_converts_it(plain: Path) -> None:
    other = plain.with_name("other.jsonl")
    other.write_bytes(LINES.encode("utf-16-le"))
    with pytest.raises(DataError, match="iconv -f utf-16le"):
        list(Dataset.open(other))


def write_arrow_stream(table: pyarrow.Table, path: Path) -> None:
    with pyarrow.ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table)


def write_arrow_file(table: pyarrow.Table, path: Path) -> None:
    with pyarrow.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("t.parquet", pyarrow.parquet.write_table),
        ("stream.arrow", write_arrow_stream),
        ("file.arrow", write_arrow_file),
    ],
)
def test_arrow_tables_are_the_same_data(plain: Path, name: str, write: Callable[[Any, Path], None]) -> None:
    path = plain.with_name(name)
    write(pyarrow.Table.from_pylist(ROWS), path)
    assert fingerprint(path) == fingerprint(plain)


def test_an_excel_sheet_is_the_same_data(plain: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for values in (list(ROWS[0]), *(list(row.values()) for row in ROWS)):
        sheet.append(values)
    path = plain.with_name("t.xlsx")
    book.save(path)
    assert fingerprint(path) == fingerprint(plain)


def test_another_sheet_with_rows_of_the_same_kind_is_refused(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    for title, values in (("notes", ["text"]), ("more", ["prompt", "completion"])):
        book.create_sheet(title).append(values)
    sheet = book.active
    assert sheet is not None
    sheet.append(["prompt", "completion"])
    sheet.append(["a", "b"])
    book.save(tmp_path / "t.xlsx")
    with pytest.raises(DataError, match=r"the sheets 'Sheet', 'more' all hold rows with this header"):
        list(Dataset.open(tmp_path / "t.xlsx"))


@pytest.mark.parametrize(("name", "sign"), [("t.csv", ","), ("t.csv", ";"), ("t.tsv", "\t")])
def test_tables_are_the_same_data(plain: Path, name: str, sign: str) -> None:
    path = plain.with_name(name)
    rows = [list(ROWS[0]), *(list(row.values()) for row in ROWS)]
    path.write_text("\ufeff" + "\r\n".join(sign.join(row) for row in rows))
    assert fingerprint(path) == fingerprint(plain)


def test_objects_that_arrow_filled_with_nulls_lose_them(tmp_path: Path) -> None:
    tools = [{"function": {"name": "a", "parameters": {"x": 1}}}, {"function": {"name": "b", "parameters": {"y": 2}}}]
    row = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "tools": tools}
    path = tmp_path / "t.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row]), path)
    (example,) = Dataset.open(path)
    assert getattr(example, "tools", None) == tools


def test_numbered_labels_get_their_words_from_the_metadata(tmp_path: Path) -> None:
    features = {"label": {"names": ["no", "yes"], "_type": "ClassLabel"}}
    metadata = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    table = pyarrow.Table.from_pylist([{"text": "a", "label": 1}]).replace_schema_metadata(metadata)
    path = tmp_path / "t.parquet"
    pyarrow.parquet.write_table(table, path)
    (example,) = Dataset.open(path)
    assert getattr(example, "label", None) == "yes"


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path: Path) -> None:
    lines = LINES.splitlines(keepends=True)
    (tmp_path / "b.jsonl").write_text("".join(lines[20:]))
    (tmp_path / "a.jsonl").write_text("".join(lines[:20]))
    (tmp_path / "state.json").write_text("{}")
    whole = tmp_path.parent / f"{tmp_path.name}.jsonl"
    whole.write_text(LINES)
    assert fingerprint(tmp_path) == fingerprint(whole)


def test_standard_input_is_read(plain: Path) -> None:
    code = "from finetune_sdk.data import Dataset; print(Dataset.open('-').fingerprint())"
    done = subprocess.run([sys.executable, "-c", code], input=LINES.encode(), capture_output=True, check=True)
    assert done.stdout.decode().strip() == fingerprint(plain)


def test_a_line_longer_than_the_limit_is_refused_in_bounded_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finetune_sdk.data.chunked.MAX_LINE_BYTES", 1 << 20)
    path = tmp_path / "train.jsonl"
    path.write_bytes(b'{"text": "' + b"a" * (3 << 20))
    with pytest.raises(DataError, match="longer than 1 MiB"):
        list(Dataset.open(path))


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_numbers_and_bytes_that_json_has_no_word_for_are_counted(tmp_path: Path, kind: str) -> None:
    rows = [
        {"prompt": "a", "completion": "b", "score": float("nan"), "inner": {"all": [1.0]}, "raw": b"\xff"},
        {"prompt": "c", "completion": "d", "score": 1.0, "inner": {"all": [1.0, float("inf")]}, "raw": None},
    ]
    table = pyarrow.Table.from_pylist(rows)
    path = tmp_path / f"rows.{kind}"
    if kind == "parquet":
        pyarrow.parquet.write_table(table, path)
    else:
        with pyarrow.ipc.new_stream(str(path), table.schema) as writer:
            writer.write_table(table)
    report = Report()
    assert len(list(Dataset.open(path).scan(report))) == 2
    found = {finding.rule: finding for finding in report.findings()}
    assert [(name, one.severity, one.count, one.line, one.path) for name, one in found.items()] == [
        ("column-nan", "warning", 2, 1, "score"),
        ("column-bytes", "info", 1, 1, "raw"),
    ]
    assert report.places(found["column-nan"])[1].path == "inner.all[1]"


STRANGE = {
    "bytes in a list": (pyarrow.array([[b"x"]]), "column-bytes", "odd[0]"),
    "bytes in a struct": (pyarrow.array([{"raw": b"x"}]), "column-bytes", "odd.raw"),
    "bytes in a view": (pyarrow.array([b"x"], pyarrow.binary_view()), "column-bytes", "odd"),
    "NaN in a map": (
        pyarrow.array([[("a", math.nan)]], pyarrow.map_(pyarrow.string(), pyarrow.float64())),
        "column-nan",
        "odd[0][1]",
    ),
    "NaN in a view of lists": (
        pyarrow.array([[1.0, math.nan]], pyarrow.list_view(pyarrow.float64())),
        "column-nan",
        "odd[1]",
    ),
    "NaN in a dictionary": (pyarrow.array([math.nan]).dictionary_encode(), "column-nan", "odd"),
}


@pytest.mark.parametrize("column", STRANGE)
def test_what_json_has_no_word_for_is_said_wherever_a_table_holds_it(tmp_path: Path, column: str) -> None:
    values, rule, place = STRANGE[column]
    table = pyarrow.table({"prompt": ["a"], "completion": ["b"], "odd": values})
    with pyarrow.ipc.new_stream(str(tmp_path / "rows.arrow"), table.schema) as writer:
        writer.write_table(table)
    report = Report()
    assert len(list(Dataset.open(tmp_path / "rows.arrow").scan(report))) == 1
    assert [(found.rule, found.path) for found in report.findings()] == [(rule, place)]


def test_the_bytes_of_an_image_are_no_strange_ones(tmp_path: Path) -> None:
    table = pyarrow.Table.from_pylist([{"prompt": "a", "completion": "b", "image": {"bytes": b"x", "path": "x.png"}}])
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet")
    report = Report()
    assert len(list(Dataset.open(tmp_path / "rows.parquet").scan(report))) == 1
    assert not [found for found in report.findings() if found.rule == "column-bytes"]


@pytest.mark.parametrize("pack", [bz2.compress, lzma.compress, gzip.compress], ids=["bzip2", "xz", "gzip"])
def test_zeros_after_a_stream_are_padding(plain: Path, pack: Callable[[bytes], bytes]) -> None:
    packed = plain.with_name("padded.packed")
    packed.write_bytes(pack(LINES.encode()) + b"\0" * 512)
    assert fingerprint(packed) == fingerprint(plain)


@pytest.mark.parametrize("pack", [bz2.compress, lzma.compress, gzip.compress], ids=["bzip2", "xz", "gzip"])
def test_streams_one_after_another_are_one_file_and_other_data_is_no_stream(
    plain: Path, pack: Callable[[bytes], bytes]
) -> None:
    half = len(LINES) // 2
    packed = pack(LINES[:half].encode()) + pack(b"") + pack(LINES[half:].encode())
    whole, damaged = plain.with_name("whole.packed"), plain.with_name("damaged.packed")
    whole.write_bytes(packed)
    damaged.write_bytes(packed + b"other data")
    assert fingerprint(whole) == fingerprint(plain)
    with pytest.raises(DataError, match="followed by other data"):
        list(Dataset.open(damaged))


@pytest.mark.parametrize("pack", [bz2.compress, lzma.compress], ids=["bzip2", "xz"])
def test_a_damaged_stream_after_a_good_one_is_damaged_and_no_other_data(
    plain: Path, pack: Callable[[bytes], bytes]
) -> None:
    again = pack(LINES.encode())
    damaged = plain.with_name("damaged.packed")
    damaged.write_bytes(pack(LINES.encode()) + again[:7] + bytes(byte ^ 0xFF for byte in again[7:]))
    with pytest.raises(DataError, match="stream is damaged"):
        list(Dataset.open(damaged))
