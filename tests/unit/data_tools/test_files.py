"""From files to files: for a target, split, sample, dedupe, fix; all or nothing."""

from __future__ import annotations

import json
import resource
import signal
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from finetune_sdk.data import Dataset, ranges
from finetune_sdk.data.convert import convert
from finetune_sdk.data.tools import files
from finetune_sdk.data.tools.repairs import chosen
from finetune_sdk.data.tools.splits import Units
from finetune_sdk.errors import DataError

Row = dict[str, Any]


def chat(question: str = "hi", answer: str = "hello", **answer_keys: Any) -> Row:
    said = {"role": "assistant", "content": answer, **answer_keys}
    return {"messages": [{"role": "user", "content": question}, said]}


def written(folder: Path, *rows: Row | str) -> Dataset:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path = folder / "rows.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return Dataset.open(path)


def read(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "rows.jsonl")


TEN = [chat(f"question {number}") for number in range(10)]


def test_a_target_gets_its_own_format(tmp_path: Path) -> None:
    pair = {"prompt": "q", "chosen": "a", "rejected": "b"}
    files.convert_for(written(tmp_path, pair), tmp_path / "out.jsonl", "openai")

    assert read(tmp_path / "out.jsonl")[0].keys() == {"input", "preferred_output", "non_preferred_output"}


def test_what_a_target_refuses_is_not_written(tmp_path: Path) -> None:
    data = written(tmp_path, *TEN, chat("x", weight=0.5))
    found = files.convert_for(data, tmp_path / "out.jsonl", "openai")

    assert [(one.rule, one.line, one.path) for one in found.errors] == [("weights", 11, "messages[1].weight")]
    assert left_in(tmp_path) == []


def test_an_allowed_loss_is_dropped_and_counted(tmp_path: Path) -> None:
    data = written(tmp_path, *TEN, chat("x", weight=0.5), chat("y", weight=2))
    found = files.convert_for(data, tmp_path / "out.jsonl", "openai", allow_loss=["weights-fraction"])

    assert [(one.rule, one.count) for one in found.findings] == [("dropped-weights-fraction", 2)]
    assert read(tmp_path / "out.jsonl")[10:] == [chat("x"), chat("y")]


def test_secrets_are_not_written_for_a_hosted_target(tmp_path: Path) -> None:
    data = written(tmp_path, *TEN, chat("hf_" + "aB" * 17))
    refused = files.convert_for(data, tmp_path / "out.jsonl", "openai")
    local = files.convert_for(data, tmp_path / "local.jsonl", "peft")

    assert [one.rule for one in refused.errors] == ["secret"]
    assert local.written


def test_a_target_without_a_place_for_the_data_says_what_it_takes(tmp_path: Path) -> None:
    data = written(tmp_path, {"text": "a", "label": "b"}, {"text": "c", "label": "d"})

    with pytest.raises(DataError, match="openai takes conversations, preference pairs"):
        files.convert_for(data, tmp_path / "out.jsonl", "openai")


def test_an_unknown_loss_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such rule"):
        files.convert_for(written(tmp_path, *TEN), tmp_path / "out.jsonl", "openai", allow_loss=["wheights"])


def test_the_output_may_not_be_the_input(tmp_path: Path) -> None:
    data = written(tmp_path, *TEN)

    with pytest.raises(DataError, match="own input"):
        files.convert_to(data, tmp_path / "rows.jsonl", "sharegpt")
    assert read(tmp_path / "rows.jsonl") == TEN


def test_all_parts_of_a_split_together_are_the_rows(tmp_path: Path) -> None:
    outs = {"train": tmp_path / "train.jsonl", "test": tmp_path / "test.jsonl"}
    files.split(written(tmp_path, *TEN), outs, {"train": 0.8, "test": 0.2}, Units())

    parts = [read(path) for path in outs.values()]
    assert [len(part) for part in parts] == [8, 2]
    assert sorted(map(json.dumps, parts[0] + parts[1])) == sorted(map(json.dumps, TEN))


def test_a_part_that_would_be_empty_is_refused_with_what_to_ask_for(tmp_path: Path) -> None:
    outs = {name: tmp_path / f"{name}.jsonl" for name in ("train", "test")}

    with pytest.raises(DataError, match=r"test=0\.04 of 10 rows leaves no test row\..*test=1"):
        files.split(written(tmp_path, *TEN), outs, {"train": 0.96, "test": 0.04}, Units())
    assert not outs["train"].exists()


def test_a_stable_part_that_chance_leaves_empty_is_said(tmp_path: Path) -> None:
    outs = {name: tmp_path / f"{name}.jsonl" for name in ("train", "test")}
    found = files.split(written(tmp_path, *TEN), outs, {"train": 0.9999, "test": 0.0001}, Units(), exact=False)

    assert [finding.rule for finding in found.findings if finding.rule == "part-empty"] == ["part-empty"]


def test_a_file_of_zeros_is_called_that_by_everything_that_reads(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(bytes(1000))
    found = convert(Dataset.open(tmp_path / "rows.jsonl"), tmp_path / "out.jsonl", to="chat", workers=2)

    assert [finding.rule for finding in found.errors] == ["container-empty"]


def test_rows_that_all_ask_the_same_are_split_by_content(tmp_path: Path) -> None:
    rows = [chat("tell me a story", f"story {number}") for number in range(10)]
    outs = {"train": tmp_path / "train.jsonl", "test": tmp_path / "test.jsonl"}
    found = files.split(written(tmp_path, *rows), outs, {"train": 0.8, "test": 0.2}, Units())

    assert list(found.written.values()) == [8, 2]


def test_a_larger_sample_contains_the_smaller_one_in_order(tmp_path: Path) -> None:
    data = written(tmp_path, *TEN)
    files.sample(data, tmp_path / "three.jsonl", rows=3)
    files.sample(data, tmp_path / "six.jsonl", rows=6)
    three, six = read(tmp_path / "three.jsonl"), read(tmp_path / "six.jsonl")

    assert (len(three), len(six)) == (3, 6)
    assert [row for row in six if row in three] == three


def test_dropped_duplicates_are_counted_by_kind(tmp_path: Path) -> None:
    data = written(tmp_path, chat("a", "b"), chat("a", "b"), chat("a", "c"))

    assert files.dedupe(data, tmp_path / "a.jsonl").dropped == {"duplicate": 1}
    assert files.dedupe(data, tmp_path / "b.jsonl", by_prompt=True).dropped == {"same prompt": 2}


def test_fixing_says_what_it_changed(tmp_path: Path) -> None:
    row = {"messages": [{"role": "User", "content": "q"}, {"role": "assistant", "content": "a"}]}
    found = files.fix(written(tmp_path, row), tmp_path / "out.jsonl", chosen())

    assert read(tmp_path / "out.jsonl") == [chat("q", "a")]
    assert "fixed-role-words" in {one.rule for one in found.findings}


def test_fixing_refuses_rows_beyond_repair(tmp_path: Path) -> None:
    found = files.fix(written(tmp_path, *TEN, '{"messages": ['), tmp_path / "out.jsonl", chosen())

    assert (found.written, [one.line for one in found.errors]) == ({}, [11])


def test_dropping_leaves_out_rows_beyond_repair_and_counts_them(tmp_path: Path) -> None:
    data = written(tmp_path, *TEN, '{"messages": [', chat("x", ""))
    found = files.fix(data, tmp_path / "out.jsonl", chosen(), drop=True)

    assert found.dropped == {"json-truncated": 1, "empty-target": 1}
    assert read(tmp_path / "out.jsonl") == TEN


@contextmanager
def largest_file(size: int) -> Generator[None]:
    """A disk that is full after so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path) -> None:
    data = written(tmp_path, *[chat("x" * 1000, "y" * 1000)] * 600)

    with largest_file(100_000), pytest.raises(OSError, match="File too large"):
        files.convert_to(data, tmp_path / "out.jsonl", "sharegpt")
    assert left_in(tmp_path) == []


def test_a_disk_that_is_full_at_the_very_end_leaves_no_part_of_a_split(tmp_path: Path) -> None:
    data = written(tmp_path, *[chat(f"question {number}", "y" * 200) for number in range(100)])
    outs = {name: tmp_path / f"{name}.jsonl" for name in ("test", "train")}

    with largest_file(10_000), pytest.raises(OSError, match="File too large"):
        files.split(data, outs, {"test": 0.1, "train": 0.9}, Units())
    assert left_in(tmp_path) == []


def test_a_link_stays_one_and_its_file_is_written(tmp_path: Path) -> None:
    data = written(tmp_path, *TEN)
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "file.jsonl")
    files.convert_to(data, tmp_path / "link.jsonl", "chat")

    assert (tmp_path / "link.jsonl").is_symlink()
    assert read(tmp_path / "file.jsonl") == TEN


@pytest.mark.parametrize(("out", "words"), [("rows.jsonl/x.jsonl", "is a file, not a folder"), ("d.jsonl", "a folder")])
def test_a_place_where_no_file_can_be_is_told_as_that(tmp_path: Path, out: str, words: str) -> None:
    (tmp_path / "d.jsonl").mkdir()

    with pytest.raises(DataError, match=words):
        files.convert_to(written(tmp_path, *TEN), tmp_path / out, "chat")


def test_a_sample_of_more_rows_than_there_are_says_so(tmp_path: Path) -> None:
    found = files.sample(written(tmp_path, *TEN), tmp_path / "out.jsonl", rows=11)

    assert [finding.message for finding in found.findings] == ["11 rows were asked for, there are 10"]


def test_an_interruption_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = written(tmp_path, *TEN)
    (tmp_path / "out.jsonl").write_text("before")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(files, "repaired", interrupt)
    with pytest.raises(KeyboardInterrupt):
        files.fix(data, tmp_path / "out.jsonl", chosen())
    assert (left_in(tmp_path), (tmp_path / "out.jsonl").read_text()) == (["out.jsonl"], "before")


def test_a_full_disk_is_named_by_several_processes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "LARGE_BYTES", 1000)
    data = written(tmp_path, *[chat("x" * 1000, "y" * 1000)] * 600)

    with largest_file(100_000), pytest.raises(OSError, match=r"out\.jsonl"):
        convert(data, tmp_path / "out.jsonl", to="chat", workers=2)
    assert left_in(tmp_path) == []
