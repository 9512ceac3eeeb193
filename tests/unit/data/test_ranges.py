"""A range that is done is written where it belongs, however little the system takes at a time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

import pytest

from finetune_sdk.data import ranges
from finetune_sdk.data.ranges import Job, Order, Worker
from finetune_sdk.data.report import Report

TEXT = b"0123456789"


def in_pieces(_job: Job, stream: BinaryIO, _report: Report) -> tuple[list[bytes], int, int]:
    return [stream.read(1), stream.read(3), b"", stream.read()], 1, 1


def part_of(folder: Path) -> Path:
    source, part = folder / "source", folder / "part"
    source.write_bytes(TEXT)
    part.write_bytes(b"ab")
    worker = Worker(Job(str(source), str(part), "", named=False, write_as="", allow=()), in_pieces)
    assert worker.obey(Order(0, 2, 9)).size == 7
    assert worker.obey(Order(0, 2, 9, at=2)).placed
    worker.close()
    return part


@pytest.mark.parametrize("together", [1, 2, 512])
def test_pieces_are_written_one_after_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, together: int) -> None:
    monkeypatch.setattr(ranges, "_PIECES", together)
    assert part_of(tmp_path).read_bytes() == b"ab" + TEXT[2:9]


def test_a_write_that_takes_only_some_bytes_goes_on_behind_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def some(part: int, pieces: list[bytes], at: int) -> int:
        return os.pwrite(part, pieces[0], at)

    monkeypatch.setattr(os, "pwritev", some)
    assert part_of(tmp_path).read_bytes() == b"ab" + TEXT[2:9]


def test_ranges_are_whole_lines_that_get_shorter_towards_the_end(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x" * 999 + b"\n" + b"0123456\n" * 1_000_000)
    with source.open("rb") as stream:
        orders = list(ranges.ranges(stream, longest=1000, processes=2))
    assert [order.start for order in orders] == [0, *(order.end for order in orders[:-1])]
    assert orders[-1].end == source.stat().st_size
    assert all(order.end % 8 == 0 for order in orders)
    sizes = [order.end - order.start for order in orders]
    assert sizes[0] > 3 * sizes[-2]
    assert sizes[:-1] == sorted(sizes[:-1], reverse=True)


def test_a_line_that_is_too_long_takes_all_that_follows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "RANGE_BYTES", 10)
    source = tmp_path / "source"
    source.write_bytes(b"a\n" * 4 + b"b" * 100 + b"\n" + b"c\n" * 50)
    with source.open("rb") as stream:
        assert [(order.start, order.end) for order in ranges.ranges(stream, longest=20, processes=2)] == [(0, 209)]


_TWO_BUSY = """
import os, select, sys
from finetune_sdk.data import ranges
from finetune_sdk.data.report import Report

ranges.RANGE_BYTES = 10
source, part = sys.argv[1:]
told, tell = os.pipe()
caller = os.getpid()

def convert(job, stream, report):
    rows = stream.read()
    if os.getpid() != caller:
        os.write(tell, b".")
    else:
        for _ in range(2):
            assert select.select([told], [], [], 60)[0], "the other process has nothing to do"
            os.read(told, 1)
    return [rows], 5, 5

totals = ranges.convert_ranges(ranges.Job(source, part, "", False, "", ()), convert, Report(), 2, 100)
print(totals.rows)
"""


def test_the_other_process_does_two_ranges_while_the_caller_does_one(tmp_path: Path) -> None:
    source, part = tmp_path / "source", tmp_path / "part"
    source.write_bytes(b"".join(b"%09d\n" % number for number in range(300)))
    part.touch()
    command = [sys.executable, "-c", _TWO_BUSY, str(source), str(part)]  # alone: it forks
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert (done.stderr, done.returncode) == ("", 0)
    assert part.read_bytes() == source.read_bytes()
