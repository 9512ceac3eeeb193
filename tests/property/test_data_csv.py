"""Well-formed CSV is cut at its quotes; what comes out is what Python's `csv` reads, faults and lines included."""

from __future__ import annotations

import csv
import io
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from drawing import examples
from hypothesis import example, given
from hypothesis import strategies as st

from finetune_sdk.data import chunked, csvlines, csvrows, quoted
from finetune_sdk.data.report import Fault

CELL = st.builds(str.__mul__, st.text(st.sampled_from('a",;\n\r é😀\t'), max_size=5), st.sampled_from((1, 1, 1, 9, 99)))
PIECES = st.sampled_from(
    ('"', '""', '"""', ",", ";", "\n", "\r\n", "\r", "a", " ", "é", "x,y\n", '"a","b"\n', "\0", "\x85")
)


def read(data: bytes, delimiter: str | None = None) -> tuple[list[tuple[int, dict[str, Any]]], list[tuple[int, str]]]:
    faults: list[tuple[int, str]] = []

    def fail(line: int | None, fault: Fault) -> None:
        assert line
        faults.append((line, fault.rule))

    return list(csvrows.read_table(io.BytesIO(data), fail, delimiter)), faults


def all_ways(data: bytes, size: int) -> None:
    """At its quotes, line by line, and as `csv` alone would read it."""
    rows, faults = read_by_csv(data)
    for cutting in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(chunked, "CHUNK_BYTES", size)
            patch.setattr(csvrows, "TABLE_BYTES", size)
            patch.setattr(csvrows, "_worth_cutting", _always if cutting else _never)
            patch.setattr(quoted, "_STEP", 64)
            patch.setattr(quoted, "_PART", 16)
            patch.setattr(quoted, "_FEW", 9)
            found, told = read(data, csvlines.guess_delimiter(data))  # no table begins with so few bytes
        assert found == rows
        ended = max((line for line, rule in faults if rule in FATAL), default=len(data) + 1)
        assert sorted(fault for fault in told if fault[0] <= ended) == sorted(faults)
        assert {rule for line, rule in told if line > ended} <= {"invalid-utf8"}  # those of a chunk are told at once


def _always(sample: bytes, sign: str) -> bool:
    return True


def _never(sample: bytes, sign: str) -> bool:
    return False


FATAL = ("csv-unclosed-quote", "csv-syntax", "csv-duplicate-header")


def read_by_csv(data: bytes) -> tuple[list[tuple[int, dict[str, str]]], list[tuple[int, str]]]:
    lines = data.splitlines(keepends=True)
    bad = [line for line, text in enumerate(lines, 1) if "\ufffd" in text.decode(errors="replace")]
    texts = ["" if line in bad else text.decode() for line, text in enumerate(lines, 1)]
    lines_with_texts = (text.rstrip(b"\r\n") for text in lines)
    first = re.sub('"[^"]*"', "", next(filter(None, lines_with_texts), b"").decode(errors="replace"))
    reader = csv.reader(texts, delimiter=max(",;\t|", key=first.count), strict=True)
    header: list[str] = []
    rows: list[tuple[int, dict[str, str]]] = []
    faults: list[tuple[int, str]] = []
    line = 1
    try:
        for cells in reader:
            names = [cell.strip() for cell in cells]
            if cells and not header:
                header = names
                if len({name for name in names if name}) < len([name for name in names if name]):
                    faults.append((line, "csv-duplicate-header"))
                    break
            elif cells and len(cells) != len(header):
                faults.append((line, "csv-ragged-row"))
            elif cells:
                rows.append((line, {name: cell for name, cell in zip(header, cells, strict=True) if name}))
            line = reader.line_num + 1
    except csv.Error as error:
        faults.append((line, "csv-unclosed-quote" if "unexpected end" in str(error) else "csv-syntax"))
    end = next((line for line, rule in faults if rule in FATAL), len(lines))
    return rows, [(line, "invalid-utf8") for line in bad if line <= end] + faults


def cut(data: bytes, most: int = 0) -> quoted.Cut:
    """All parts as one."""
    whole = quoted.Cut([], [], [], 0, 1)
    for part in quoted.cut(bytearray(quoted.FRONT + data), b",", 1, most=most):
        ends = [len(whole.cells) + end for end in part.ends]
        whole = quoted.Cut(whole.cells + part.cells, whole.ends + ends, whole.lines + part.lines, part.stop, part.line)
    return whole


@given(
    rows=st.lists(st.lists(CELL, min_size=1, max_size=3), min_size=1, max_size=6),
    quoting=st.sampled_from((csv.QUOTE_MINIMAL, csv.QUOTE_ALL)),
    end=st.sampled_from(("\n", "\r\n")),
    size=st.integers(1, 60) | st.integers(60, 1000),
)
@examples(200)
def test_what_the_csv_module_wrote_is_read_as_it_reads_it(
    rows: list[list[str]], quoting: Any, end: str, size: int
) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, quoting=quoting, lineterminator=end).writerows([["p", "c"], *rows])
    all_ways(text.getvalue().encode(), size)


@given(pieces=st.lists(PIECES, max_size=25), size=st.integers(1, 60))
@example(pieces=["a,b\n", '"x","y"z\n'], size=60)
@example(pieces=["a,b\n", 'x,"a,"b\n'], size=60)
@example(pieces=['a,b\n\n\n"x\n\n",y\nz\n'], size=9)
@examples(600)
def test_any_text_is_read_and_refused_as_the_csv_module_does(pieces: list[str], size: int) -> None:
    all_ways("".join(pieces).encode(), size)


@given(data=st.binary(max_size=60), size=st.integers(1, 20))
@examples(200)
def test_any_bytes_are_read_and_refused_as_the_csv_module_does(data: bytes, size: int) -> None:
    all_ways(b"a,b\n" + data, size)


@pytest.mark.parametrize("table", [b"\r\na;b\r\n1;2", b'\n"a"\t"b"\n1\t2', b"a|b\r1|2\r", b'"a,,c";b\n1;2\n'])
def test_the_delimiter_is_that_of_the_first_line_with_names(table: bytes) -> None:
    rows, faults = read(table)
    assert [list(row.values()) for _, row in rows] == [["1", "2"]]
    assert not faults


def test_well_formed_tables_are_cut_at_their_quotes() -> None:
    data = b'a,b\n"x ""y""\nz",plain\n\n1,"2"\n,\n"half'
    found = cut(data, most=100)
    assert found.cells == ["a", "b", 'x "y"\nz', "plain", "1", "2", "", ""]
    assert found.ends == [2, 4, 6, 8]
    assert found.lines == [1, 2, 5, 6]
    assert (data[found.stop :], found.line) == (b'"half', 7)


SIZES = (0, 1, 31, 32, 255, 256, 65_535, 65_536)
SHAPES: dict[str, tuple[str, Callable[[str], str]]] = {
    "plain": ("{}", lambda text: text.replace('"', "-")),
    "quoted": ('"{}"', lambda text: text.replace('"', '""')),
}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n", "\r\n\r\n"])
@pytest.mark.parametrize("shapes", ["plain", "quoted", "plain quoted", "quoted plain plain"])
def test_texts_of_every_size_are_cut_as_the_csv_module_cuts_them(shapes: str, end: str) -> None:
    written = [SHAPES[shape] for shape in shapes.split()]
    texts = [(kind * size)[:size] for size in SIZES for kind in ("x", '"', '"x', 'x"', "xx\0é")]
    cells = [outer.format(write(text)) for text in texts for outer, write in written] * len(written)
    table = end.join(f"{cells[at]},{cells[at + 1]}" for at in range(0, len(cells) - 1, 2)) + end
    found = cut(table.encode())
    reader = csv.reader(io.StringIO(table, newline=""))
    csv.field_size_limit(1 << 20)
    rows = [row for row in reader if row]
    assert found.cells == [cell for row in rows for cell in row]
    assert found.ends == list(range(2, 2 * len(rows) + 1, 2))
    assert found.lines == list(range(1, len(rows) * end.count("\n") + 1, end.count("\n")))


@pytest.mark.parametrize("wrong", [b"\xff", b"\xfe", b"\xff\xff\xff\xff\xfe", b"\xed\xa0\x80", b"\xc3", b"\xe2\x82"])
@pytest.mark.parametrize("row", [b'"x","%s"\n', b"x,%s\n", b'x,"%s"\n'])
def test_bytes_that_are_no_utf8_are_refused_where_they_stand(row: bytes, wrong: bytes) -> None:
    good = row % b"y" * 50
    data = bytearray(quoted.FRONT + good + row % wrong + good)
    was, given = bytes(data), len(quoted.FRONT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quoted, "_PART", 64)
        cuts = quoted.cut(data, b",", 1, most=0)
        with suppress(quoted.Doubtful):
            while part := next(cuts):
                given = len(quoted.FRONT) + part.stop
    assert data[given:] == was[given:]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csvrows, "TABLE_BYTES", 64)
        rows, faults = read(b'"a","b"\n' + good + row % wrong + good)
    assert len(rows) == 100
    assert [line for line, _ in faults] == [52]


@pytest.mark.parametrize(
    "table", [b'"a"\n"x"\n"y"', b"a\nx\ny", b'"a","b"\n', b"a,b", b'a\r\n"x"\r\n""', b"\n\na\n,\n"]
)
def test_small_tables_are_cut_as_the_csv_module_cuts_them(table: bytes) -> None:
    found = cut(table + b"\n")
    rows = [row for row in csv.reader(io.StringIO(table.decode(), newline="")) if row]
    assert found.cells == [cell for row in rows for cell in row]
    assert found.stop == len(table) + 1


def test_reading_a_table_loads_neither_pyarrow_nor_pandas(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text('"a","b"\n' + f'"x ""y"" {"z" * 150}","z"\n' * 12_000)
    script = (
        "import sys; from pathlib import Path; from finetune_sdk.data.containers import open_file;"
        "from finetune_sdk.data.readers import read_rows\n"
        "with open_file(Path(sys.argv[1])) as opened: assert len(list(read_rows(opened, print))) == 12000\n"
        "print('numpy' in sys.modules, 'pyarrow' in sys.modules, 'pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(table)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False", "False"]
