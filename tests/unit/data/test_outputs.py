"""Rows to files whose suffixes say how: written, and read again as the same rows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from finetune_sdk.data import Dataset
from finetune_sdk.data.convert import convert
from finetune_sdk.errors import DataError

ROWS = [{"instruction": f"é{number} 你好", "input": "", "output": f"a,\n{number}"} for number in range(3)]


@pytest.mark.parametrize(
    ("name", "magic"),
    [
        ("out.jsonl.gz", b"\x1f\x8b"),
        ("out.jsonl.zst", b"\x28\xb5\x2f\xfd"),
        ("out.json.bz2", b"BZh"),
        ("out.csv.xz", b"\xfd7zXZ"),
        ("out.parquet", b"PAR1"),
        ("out.arrow", b"ARROW1"),
    ],
)
def test_what_is_written_is_in_its_container_and_read_as_the_same_rows(tmp_path: Path, name: str, magic: bytes) -> None:
    convert(Dataset.from_rows(ROWS), tmp_path / name, to="alpaca")
    assert (tmp_path / name).read_bytes().startswith(magic)
    assert list(Dataset.open(tmp_path / name).rows()) == ROWS


@pytest.mark.parametrize(
    ("name", "why"),
    [("out.zst", "names no output"), ("out.txt", "names no output"), ("out.parquet.gz", "leave out '.gz'")],
)
def test_a_suffix_that_says_nothing_or_too_much_is_refused_and_nothing_written(
    tmp_path: Path, name: str, why: str
) -> None:
    with pytest.raises(DataError, match=why):
        convert(Dataset.from_rows(ROWS), tmp_path / name, to="alpaca")
    assert not list(tmp_path.iterdir())


_REFUSED = """
import sys
from pathlib import Path
from finetune_sdk.data.outputs import RowFile

try:
    with RowFile(Path(sys.argv[1])) as file:
        for _ in range(100):
            file.write({"instruction": "a"})
        raise KeyError("refused")
except KeyError:
    print("refused")
"""


@pytest.mark.parametrize("name", ["out.jsonl.gz", "out.jsonl.zst", "out.json.bz2", "out.csv.xz"])
def test_a_compressed_output_that_is_given_up_leaves_nothing_and_says_nothing(tmp_path: Path, name: str) -> None:
    command = [sys.executable, "-X", "dev", "-W", "ignore", "-c", _REFUSED, str(tmp_path / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("refused\n", "")
    assert not list(tmp_path.iterdir())


def test_where_the_library_of_a_compression_is_missing_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(DataError, match="zstandard"):
        convert(Dataset.from_rows(ROWS), tmp_path / "out.jsonl.zst", to="alpaca")
    assert list(tmp_path.iterdir()) == []
