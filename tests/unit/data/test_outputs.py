"""Rows to files whose suffixes say how: written, and read again as the same rows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from finetune_sdk.data import Dataset
from finetune_sdk.data.convert import convert, write
from finetune_sdk.data.prepare import prepare
from finetune_sdk.errors import DataError
from finetune_sdk.spec import DataSpec

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


def _linked(folder: Path, *names: str) -> list[Path]:
    """Links of these names, all to one file that keeps its content."""
    goal = folder / "both.jsonl"
    goal.write_text("kept")
    folder.joinpath("out").mkdir()
    found = [folder / "out" / name for name in names]
    for link in found:
        link.symlink_to(Path("..", goal.name))
    return found


def test_outputs_that_lead_to_one_file_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    outs = _linked(tmp_path, "train.jsonl", "validation.jsonl")
    with pytest.raises(DataError, match=r"train.jsonl and .*validation.jsonl lead to the same file, .*both.jsonl"):
        write(Dataset.from_rows(ROWS), outs, to="alpaca", choose=lambda _: 1)
    assert (tmp_path / "both.jsonl").read_text() == "kept"


def test_a_folder_under_two_names_holds_one_file_of_a_name(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(DataError, match="lead to the same file"):
        write(Dataset.from_rows(ROWS), [tmp_path / "a.jsonl", tmp_path / "link" / "a.jsonl"], to="alpaca")
    assert [path.name for path in tmp_path.iterdir()] == ["link"]


def test_prepared_data_is_not_written_to_links_to_one_file(tmp_path: Path) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps({"prompt": f"q{at}", "completion": "a"}) + "\n" for at in range(8)))
    prepared = prepare(DataSpec(train=str(source), validation=0.25), method="sft")
    _linked(tmp_path, "train.jsonl", "validation.jsonl")
    with pytest.raises(DataError, match="lead to the same file"):
        prepared.write(tmp_path / "out")
    assert (tmp_path / "both.jsonl").read_text() == "kept"


def test_links_that_lead_in_a_circle_are_refused(tmp_path: Path) -> None:
    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    first.symlink_to(second)
    second.symlink_to(first)
    with pytest.raises(DataError, match=r"a\.jsonl: cannot be written: it is a link that leads back to itself"):
        convert(Dataset.from_rows(ROWS), first, to="alpaca")
    assert first.is_symlink()


def test_a_link_into_a_folder_that_is_missing_says_where_it_leads(tmp_path: Path) -> None:
    link = tmp_path / "a.jsonl"
    link.symlink_to(tmp_path / "missing" / "b.jsonl")
    with pytest.raises(DataError, match=r"a\.jsonl: cannot be written: it is a link to .*missing/b\.jsonl"):
        convert(Dataset.from_rows(ROWS), link, to="alpaca")


def test_a_link_to_another_name_stays_one(tmp_path: Path) -> None:
    link = tmp_path / "a.jsonl"
    link.symlink_to("b.jsonl")
    convert(Dataset.from_rows(ROWS), link, to="alpaca")
    assert (link.is_symlink(), len((tmp_path / "b.jsonl").read_text().splitlines())) == (True, 3)
