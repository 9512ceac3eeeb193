"""Pictures that lie beside a conversation: counted where the row marks them, and put into it when asked."""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from finetune_sdk.data import Dataset
from finetune_sdk.data.tools import files
from finetune_sdk.data.tools.check import check
from finetune_sdk.data.tools.repairs import chosen

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
DATA_URL = "data:image/png;base64," + base64.b64encode(PNG).decode()
PICTURE = {"type": "image_url", "image_url": {"url": DATA_URL}}
ANSWER = {"role": "assistant", "content": "a dot"}


def _conversation(content: object) -> list[Mapping[str, Any]]:
    return [{"role": "user", "content": content}, ANSWER]


def _inlined(folder: Path, row: Mapping[str, Any]) -> Mapping[str, Any]:
    (folder / "dot.png").write_bytes(PNG)
    (folder / "notes.txt").write_text("no picture")
    (folder / "rows.jsonl").write_text(json.dumps(row) + "\n")
    out = folder / "out.jsonl"
    files.fix(Dataset.open(folder / "rows.jsonl"), out, repairs=chosen(("images-inline",)))
    return json.loads(out.read_text())  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("content", "images", "expected"),
    [
        ("<image>What?", ["dot.png"], [PICTURE, {"type": "text", "text": "What?"}]),
        (
            "Look:\n<image>\nWhat?",
            ["dot.png"],
            [{"type": "text", "text": "Look:"}, PICTURE, {"type": "text", "text": "What?"}],
        ),
        (
            [{"type": "text", "text": "What?"}, {"type": "image"}],
            ["dot.png"],
            [{"type": "text", "text": "What?"}, PICTURE],
        ),
        ("What?<image>", [DATA_URL], [{"type": "text", "text": "What?"}, PICTURE]),
        (
            "\n\n  code:\n<image>\n\n    x = 1\n\n",
            ["dot.png"],
            [{"type": "text", "text": "\n\n  code:"}, PICTURE, {"type": "text", "text": "    x = 1\n\n"}],
        ),
        (
            [{"type": "text", "text": "<image>a"}, {"type": "text", "text": "b<image>"}],
            ["dot.png", DATA_URL],
            [PICTURE, {"type": "text", "text": "a"}, {"type": "text", "text": "b"}, PICTURE],
        ),
        (
            [{"type": "image", "image": "dot.png"}, {"type": "text", "text": "or <image>"}],
            [DATA_URL],
            [PICTURE, {"type": "text", "text": "or "}, PICTURE],
        ),
    ],
    ids=["in front", "within", "trl's part", "already an address", "white space", "two texts", "beside its own"],
)
def test_pictures_beside_a_conversation_go_where_the_row_marks_them(
    tmp_path: Path, content: object, images: list[str], expected: list[object]
) -> None:
    row = _inlined(tmp_path, {"messages": _conversation(content), "images": images, "id": 7})
    assert row == {"messages": _conversation(expected), "id": 7}


def test_one_picture_without_a_mark_goes_in_front_of_the_question(tmp_path: Path) -> None:
    row = _inlined(tmp_path, {"messages": _conversation("What?"), "image": "dot.png"})
    assert row == {"messages": _conversation([PICTURE, {"type": "text", "text": "What?"}])}


def test_a_part_that_names_its_own_file_becomes_an_address(tmp_path: Path) -> None:
    row = _inlined(tmp_path, {"messages": _conversation([{"type": "image", "image": "dot.png"}])})
    assert row == {"messages": _conversation([PICTURE])}


@pytest.mark.parametrize("name", ["notes.txt", "../dot.png", "/etc/hostname", "gone.png", "x\0y"])
def test_nothing_is_inlined_that_is_no_picture_of_the_datasets_folder(tmp_path: Path, name: str) -> None:
    given = {"messages": _conversation("<image>What?"), "images": [name]}
    assert _inlined(tmp_path, given) == given


_SAYS = {"type": "text", "text": "What?"}


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "text", "text": "<ima"}, {"type": "text", "text": "ge> What?"}],
        [{"type": "text", "text": "<image>What?", "cache_control": {"type": "ephemeral"}}],
        [{"type": "image", "image": "dot.png"}, _SAYS],
        [PICTURE, _SAYS],
        [{"type": "image", "image": "notes.txt"}, {"type": "text", "text": "<image>"}],
        [{"type": "text", "text": "<image><image>"}],
    ],
    ids=["a mark across parts", "a mark in an odd part", "its own part", "its own address", "not read", "marks"],
)
def test_a_conversation_stays_as_it_is_where_the_pictures_beside_it_have_no_clear_place(
    tmp_path: Path, content: object
) -> None:
    given = {"messages": _conversation(content), "images": ["dot.png"]}
    assert _inlined(tmp_path, given) == given


def test_a_text_that_is_trained_on_in_parts_is_not_split(tmp_path: Path) -> None:
    detail = [{"begin_offset": 0, "end_offset": 6, "train": False}]
    answer = {"role": "assistant", "content": "<image>a dot", "train_detail": detail}
    given = {"messages": [{"role": "user", "content": "What?"}, answer], "images": ["dot.png"]}
    assert _inlined(tmp_path, given) == given


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image", "image": "dot.png", "min_pixels": 5},
        {"type": "image", "image": "dot.png", "detail": "low"},
        {"type": "image", "image": {"url": DATA_URL, "detail": "low"}},
    ],
)
def test_a_picture_with_more_than_an_address_keeps_it(tmp_path: Path, part: Mapping[str, Any]) -> None:
    given = {"messages": _conversation([part, _SAYS])}
    assert _inlined(tmp_path, given) == given


@pytest.mark.skipif(sys.platform == "win32", reason="links need a permission there")
@pytest.mark.parametrize("name", ["link.png", "linked/dot.png", "loop.png"])
def test_links_do_not_lead_out_of_the_datasets_folder(tmp_path: Path, name: str) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "set"
    outside.mkdir()
    folder.mkdir()
    (outside / "dot.png").write_bytes(PNG)
    (folder / "link.png").symlink_to(outside / "dot.png")
    (folder / "linked").symlink_to(outside)
    (folder / "loop.png").symlink_to("loop.png")
    given = {"messages": _conversation("<image>What?"), "images": [name]}
    assert _inlined(folder, given) == given


@pytest.mark.skipif(sys.platform == "win32", reason="links need a permission there")
@pytest.mark.parametrize(("repository", "read"), [("datasets--me--dots", True), ("dots", False)])
def test_a_snapshot_in_hugging_faces_cache_may_link_to_its_own_blobs(
    tmp_path: Path, repository: str, read: bool
) -> None:
    blobs, folder = tmp_path / repository / "blobs", tmp_path / repository / "snapshots" / "abc" / "data"
    blobs.mkdir(parents=True)
    folder.mkdir(parents=True)
    (blobs / "0a1b").write_bytes(PNG)
    (folder / "a.png").symlink_to(Path("../../../blobs/0a1b"))
    row = _inlined(folder, {"messages": _conversation("<image>What?"), "images": ["a.png"]})
    assert ("images" not in row) == read


@pytest.mark.skipif(sys.platform == "win32", reason="no such pipes there")
def test_only_regular_files_are_read_and_no_more_of_them_than_may_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    given = {"messages": _conversation("<image>What?"), "images": ["pipe.png"]}
    assert _inlined(tmp_path, given) == given
    monkeypatch.setattr("finetune_sdk.data.tools.pictures._MOST_BYTES", len(PNG) - 1)
    given["images"] = ["dot.png"]
    assert _inlined(tmp_path, given) == given


def test_pictures_in_the_bytes_of_a_table_are_inlined(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = [{"messages": _conversation("<image>What?"), "images": [{"bytes": PNG, "path": None}]}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    out = tmp_path / "out.jsonl"
    files.fix(Dataset.open(tmp_path / "rows.parquet"), out, repairs=chosen(("images-inline",)))
    assert json.loads(out.read_text())["messages"][0]["content"][0] == PICTURE


def test_trls_parts_that_mark_pictures_are_as_good_as_marks_in_the_text(tmp_path: Path) -> None:
    rows = [
        {"prompt": [{"role": "user", "content": [{"type": "image"}]}], "completion": [ANSWER], "images": ["dot.png"]}
    ]
    (tmp_path / "dot.png").write_bytes(PNG)
    (tmp_path / "rows.jsonl").write_text(json.dumps(rows[0]) + "\n")
    report = check(Dataset.open(tmp_path / "rows.jsonl"), ("unsloth",))
    assert "image-marks" not in [group.rule for group in report.findings]


def test_more_pictures_than_parts_that_mark_them_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(
        json.dumps({"messages": _conversation([{"type": "image"}]), "images": ["a.png", "b.png"]}) + "\n"
    )
    report = check(Dataset.open(tmp_path / "rows.jsonl"), ("unsloth",))
    assert "image-marks" in [group.rule for group in report.findings if group.severity == "error"]


@pytest.mark.parametrize("url", ["gs://bucket/dot.png", "https://example.com/dot.png"])
def test_unsloth_takes_no_pictures_that_it_would_have_to_fetch(tmp_path: Path, url: str) -> None:
    content = [{"type": "image_url", "image_url": {"url": url}}]
    (tmp_path / "rows.jsonl").write_text(json.dumps({"messages": _conversation(content)}) + "\n")
    (verdict,) = check(Dataset.open(tmp_path / "rows.jsonl"), ("unsloth",)).targets
    assert [reason.rule for reason in verdict.reasons] == ["images-limits"]


def test_dropping_unknown_keys_drops_those_of_parts_too(tmp_path: Path) -> None:
    content = [{"type": "text", "text": "What?", "cache_control": {"type": "ephemeral"}}]
    (tmp_path / "rows.jsonl").write_text(json.dumps({"messages": _conversation(content)}) + "\n")
    out = tmp_path / "out.jsonl"
    files.convert_for(Dataset.open(tmp_path / "rows.jsonl"), out, "openai", allow_loss=["message-keys"])
    assert json.loads(out.read_text())["messages"][0]["content"] == [{"type": "text", "text": "What?"}]
