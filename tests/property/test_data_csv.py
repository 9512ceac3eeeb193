"""Well-formed CSV is cut at its quotes; what comes out is what Python's `csv` reads, faults and lines included."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from drawing import examples
from hypothesis import example, given
from hypothesis import strategies as st

from finetune_sdk.data import quoted, readers
from finetune_sdk.data.report import Fault

CELL = st.text(st.sampled_from('a",;\n\r é😀\t'), max_size=5)
PIECES = st.sampled_from(
    ('"', '""', '"""', ",", ";", "\n", "\r\n", "\r", "a", " ", "é", "x,y\n", '"a","b"\n', "\0", "\x85")
)


def read(data: bytes) -> tuple[list[tuple[int, dict[str, Any]]], list[tuple[int | None, str]]]:
    faults: list[tuple[int | None, str]] = []

    def fail(line: int | None, fault: Fault) -> None:
        faults.append((line, str(fault)))

    return list(readers.read_table(io.BytesIO(data), fail)), faults


def both_ways(data: bytes, size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readers, "CHUNK_BYTES", size)
        patch.setattr(readers, "TABLE_BYTES", size)
        patch.setattr(quoted, "_STEP", 64)
        patch.setattr(quoted, "_SAMPLE", 5)
        fast = read(data)
        patch.setattr(quoted, "cut", _refuse)
        assert read(data) == fast


def _refuse(*_: object, **__: object) -> quoted.Cut:
    raise quoted.Doubtful


@given(
    rows=st.lists(st.lists(CELL, min_size=1, max_size=3), min_size=1, max_size=6),
    quoting=st.sampled_from((csv.QUOTE_MINIMAL, csv.QUOTE_ALL)),
    end=st.sampled_from(("\n", "\r\n")),
    size=st.integers(1, 60),
)
@examples(200)
def test_what_the_csv_module_wrote_is_read_as_it_reads_it(
    rows: list[list[str]], quoting: Any, end: str, size: int
) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, quoting=quoting, lineterminator=end).writerows([["p", "c"], *rows])
    both_ways(text.getvalue().encode(), size)


@given(pieces=st.lists(PIECES, max_size=25), size=st.integers(1, 60))
@example(pieces=["a,b\n", '"x","y"z\n'], size=60)
@example(pieces=["a,b\n", 'x,"a,"b\n'], size=60)
@example(pieces=['a,b\n\n\n"x\n\n",y\nz\n'], size=9)
@examples(600)
def test_any_text_is_read_and_refused_as_the_csv_module_does(pieces: list[str], size: int) -> None:
    both_ways("".join(pieces).encode(), size)


@given(data=st.binary(max_size=60), size=st.integers(1, 20))
@examples(200)
def test_any_bytes_are_read_and_refused_as_the_csv_module_does(data: bytes, size: int) -> None:
    both_ways(b"a,b\n" + data, size)


def test_well_formed_tables_are_cut_at_their_quotes() -> None:
    data = b'a,b\n"x ""y""\nz",plain\n\n1,"2"\n,\n"half'
    found = quoted.cut(data, b",", 1, most=100)
    assert found.cells == ["a", "b", 'x "y"\nz', "plain", "1", "2", "", ""]
    assert found.ends == [2, 4, 6, 8]
    assert found.lines == [1, 2, 5, 6]
    assert (found.rest, found.line) == (b'"half', 7)
