"""Every bad input gets the message a person needs: the rule and the line are part of the contract."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from finetune_sdk.data import prepare
from finetune_sdk.errors import DataError
from finetune_sdk.spec import DataSpec
from finetune_sdk.types import Finding


def chat(question: str, answer: str = "yes", **answer_keys: object) -> str:
    return json.dumps(
        {
            "messages": [
                {"role": "user", "content": question},
                {"role": "assistant", "content": answer, **answer_keys},
            ]
        },
        ensure_ascii=False,
    )


GOOD = [chat(f"question {number}").encode() for number in range(12)]


def findings(path: Path, method: str = "sft", **data: object) -> tuple[Finding, ...]:
    return prepare(DataSpec.model_validate({"train": str(path), **data}), method=method).findings


def at_line_two(text: str | bytes) -> bytes:
    row = text.encode() if isinstance(text, str) else text
    return b"\n".join([GOOD[0], row, *GOOD[1:]]) + b"\n"


LINES: dict[str, tuple[str | bytes, str]] = {
    "wrong-shape": ('{"messages": "hello"}', "messages-type"),
    "other-format": ('{"instruction": "a", "output": "b"}', "format-mixed"),
    "not-an-object": ("[1, 2]", "row-not-object"),
    "null-row": ("null", "row-not-object"),
    "invalid-utf8": (b'{"messages": "caf\xe9"}', "invalid-utf8"),
    "surrogate-bytes": (b'{"messages": "\xed\xa0\x80"}', "invalid-utf8"),
    "lone-high-surrogate": ('{"messages": "\\ud83d"}', "lone-surrogate"),
    "lone-low-surrogate": ('{"messages": "\\ude00"}', "lone-surrogate"),
    "nan": ('{"messages": [], "x": NaN}', "json-nan"),
    "infinity": ('{"messages": [], "x": -Infinity}', "json-nan"),
    "huge-float": ('{"messages": [], "x": 1e400}', "json-number"),
    "trailing-comma": ('{"messages": [],}', "json-trailing-comma"),
    "python-repr": ("{'messages': None}", "json-python-repr"),
    "python-none": ('{"messages": None}', "json-python-repr"),
    "comment": ('{"a": 1} // note', "json-syntax"),
    "comment-inside": ('{// note\n"a": 1}'.replace("\n", " "), "json-comment"),
    "two-objects": (GOOD[0] + GOOD[1], "json-two-objects"),
    "cut-off": ('{"messages": [{"role": "user", "content": "hel', "json-truncated"),
    "raw-tab": ('{"messages": "a\tb"}', "json-control-character"),
    "raw-nul": ('{"messages": "a\0b"}', "json-control-character"),
    "bad-escape": ('{"messages": "\\x41"}', "json-escape"),
    "duplicate-key": ('{"messages": [{"role": "user", "content": "a", "content": "b"}]}', "duplicate-key"),
    "too-deep": ('{"messages": [' + "[" * 70 + "]" * 70 + "]}", "json-depth"),
    "far-too-deep": ('{"messages": ' + "[" * 100_000 + "]" * 100_000 + "}", "json-depth"),
    "no-messages": ('{"messages": null}', "messages-type"),
    "empty-messages": ('{"messages": []}', "messages-empty"),
    "message-not-object": ('{"messages": ["hi"]}', "message-not-object"),
    "no-role": ('{"messages": [{"content": "hi"}]}', "role-missing"),
    "unknown-role": ('{"messages": [{"role": "alien", "content": "hi"}]}', "role-unknown"),
    "role-not-text": ('{"messages": [{"role": 3, "content": "hi"}]}', "role-unknown"),
    "no-content": ('{"messages": [{"role": "user"}]}', "content-missing"),
    "content-number": ('{"messages": [{"role": "user", "content": 3}]}', "content-type"),
    "content-null-of-user": ('{"messages": [{"role": "user", "content": null}]}', "content-type"),
    "part-without-type": ('{"messages": [{"role": "user", "content": [{"text": "a"}]}]}', "part-type"),
    "image-without-url": (
        '{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}',
        "part-type",
    ),
    "no-assistant": ('{"messages": [{"role": "user", "content": "a"}]}', "no-assistant-turn"),
    "empty-target": (chat("a", "  "), "empty-target"),
    "all-weights-zero": (chat("a", weight=0), "all-weights-zero"),
    "weight-text": (chat("a", weight="1"), "weight-type"),
    "weight-boolean": (chat("a", weight=True), "weight-type"),
    "special-token": (chat("a <|im_end|> b"), "special-token-in-text"),
    "control-character": (chat("a \x00 b"), "control-character"),
    "tool-arguments": (
        chat("a", tool_calls=[{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{oops"}}]),
        "tool-arguments",
    ),
    "tool-arguments-twice": (
        chat("a", tool_calls=[{"id": "1", "type": "function", "function": {"name": "f", "arguments": '"{}"'}}]),
        "tool-arguments-double",
    ),
    "tools-not-json": ('{"tools": "oops", ' + chat("a")[1:], "tools-type"),
    "duplicate-row": (GOOD[0], "duplicate-row"),
}


@pytest.mark.parametrize(("row", "rule"), LINES.values(), ids=LINES.keys())
def test_a_bad_row_is_named_by_rule_and_line(tmp_path: Path, row: str | bytes, rule: str) -> None:
    file = tmp_path / "train.jsonl"
    file.write_bytes(at_line_two(row))
    places = {(finding.rule, finding.line) for finding in findings(file) if finding.rule == rule}
    assert places == {(rule, 2)}


@pytest.mark.parametrize(
    ("text", "rule"),
    [("nul\x00", "control-character"), ("Ã¤", "mojibake"), ("<|im_start|>", "special-token-in-text")],
)
def test_what_turns_hide_that_are_written_as_a_text_is_found(tmp_path: Path, text: str, rule: str) -> None:
    said = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "x" + text}]
    row = json.dumps({"messages": json.dumps(said).replace("<", "\\u003c")})
    (tmp_path / "rows.jsonl").write_text(f"{row}\n" * 12)
    found = prepare(DataSpec(train=str(tmp_path / "rows.jsonl")), method="sft").findings
    assert rule in {one.rule for one in found}


def test_a_wrong_row_in_line_two_of_a_thousand_does_not_hide_the_other_rows(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    rows = [chat(f"question {number}") for number in range(1000)]
    rows[1] = '{"prompt": 3}'
    file.write_text("\n".join(rows))
    prepared = prepare(DataSpec(train=str(file)), method="sft")
    assert (prepared.rows["train"], [(error.line, error.rule) for error in prepared.errors]) == (
        999,
        [(2, "field-missing")],
    )


FILES: dict[str, tuple[str, bytes, str]] = {
    "empty": ("train.jsonl", b"", "file-empty"),
    "blank-lines": ("train.jsonl", b"\n \n\n", "file-empty"),
    "csv-header-only": ("train.csv", b"prompt,completion\n", "file-empty"),
    "html": ("train.jsonl", b"<!DOCTYPE html><html></html>", "container-html"),
    "lfs": ("train.jsonl", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "container-lfs-pointer"),
    "gzip-cut-short": ("train.jsonl", gzip.compress(b"\n".join(GOOD * 50))[:-20], "container-truncated"),
    "gzip-then-junk": ("train.jsonl", gzip.compress(b"\n".join(GOOD)) + b"junk", "container-damaged"),
    "json-cut-short": ("train.json", b"[" + b",".join(GOOD), "json-truncated"),
    "json-broken": ("train.json", b'[{"messages": oops}]', "json-syntax"),
    "unknown-keys": ("train.jsonl", b'{"promts": "a", "answr": "b"}\n', "format-unknown"),
    "two-conversations": (
        "train.jsonl",
        b'{"messages": [{"role": "user", "content": "a"}], "conversations": [{"from": "human", "value": "a"}]}\n',
        "format-ambiguous",
    ),
    "csv-ragged": ("train.csv", b"prompt,completion\na,b\na,b,c\n", "csv-ragged-row"),
    "csv-unclosed-quote": ("train.csv", b'prompt,completion\na,b\n"a,b\n', "csv-unclosed-quote"),
    "csv-junk-after-quote": ("train.csv", b'prompt,completion\n"a"b,c\n', "csv-syntax"),
    "csv-duplicate-header": ("train.csv", b"prompt,prompt\na,b\n", "csv-duplicate-header"),
    "parquet-cut-short": ("train.parquet", b"PAR1 and nothing else", "container-damaged"),
    "few-rows": ("train.jsonl", b"\n".join(GOOD[:3]), "few-rows"),
}


@pytest.mark.parametrize(("name", "content", "rule"), FILES.values(), ids=FILES.keys())
def test_a_bad_file_is_named_by_rule(tmp_path: Path, name: str, content: bytes, rule: str) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    assert rule in {finding.rule for finding in findings(file)}


def test_few_rows_warn_and_do_not_refuse(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    file.write_bytes(b"\n".join(GOOD[:3]))
    assert not prepare(DataSpec(train=str(file)), method="sft").errors


def test_a_share_that_leaves_no_rows_is_refused_with_the_number_of_rows_it_needs(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    file.write_bytes(b"\n".join(GOOD[:3]))
    (error,) = prepare(DataSpec(train=str(file), validation=0.1), method="sft").errors
    assert (error.rule, "at least 11 rows" in error.fix) == ("split-empty", True)


def test_a_missing_file_names_the_nearest_one(tmp_path: Path) -> None:
    (tmp_path / "support.jsonl").write_bytes(GOOD[0])
    with pytest.raises(DataError, match=r"Did you mean .*support\.jsonl"):
        findings(tmp_path / "suport.jsonl")


def test_a_glob_without_matches_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file matches"):
        findings(tmp_path / "*.jsonl")


def test_an_unknown_format_name_lists_the_known_ones(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    file.write_bytes(GOOD[0])
    with pytest.raises(DataError, match=r"Did you mean 'alpaca'\?.*sharegpt"):
        findings(file, format="alpacca")


def test_a_mapped_column_that_is_not_there_names_the_nearest_one(tmp_path: Path) -> None:
    file = tmp_path / "train.csv"
    file.write_text("question,answer\na,b\n")
    (error,) = [
        finding for finding in findings(file, columns={"prompt": "questoin"}) if finding.rule == "column-missing"
    ]
    assert "Did you mean 'question'?" in error.fix


MISFITS = {
    "text-for-sft": ('{"text": "abc"}', "sft", "pretraining"),
    "chat-for-dpo": (chat("a"), "dpo", "sft"),
    "chat-for-classification": (chat("a"), "classification", "columns"),
    "chat-for-pretraining": (chat("a"), "pretraining", "sft"),
    "chat-for-rft": (chat("a"), "rft", "user's turn"),
    "labels-for-sft": ('{"text": "abc", "label": "x"}', "sft", "classification"),
}


@pytest.mark.parametrize(("row", "method", "remedy"), MISFITS.values(), ids=MISFITS.keys())
def test_data_of_another_kind_names_the_methods_that_fit(tmp_path: Path, row: str, method: str, remedy: str) -> None:
    file = tmp_path / "train.jsonl"
    file.write_text((row + "\n") * 20)
    (error,) = [finding for finding in findings(file, method) if finding.rule == "method-data-mismatch"]
    assert (error.line, error.count, remedy in error.fix) == (1, 20, True)


def test_errors_forbid_writing(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    file.write_bytes(at_line_two("oops"))
    with pytest.raises(DataError, match=r"train\.jsonl:2"):
        prepare(DataSpec(train=str(file)), method="sft").write(tmp_path / "out")


def test_a_file_that_changed_since_planning_is_not_written(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    file.write_bytes(b"\n".join(GOOD))
    prepared = prepare(DataSpec(train=str(file)), method="sft")
    file.write_bytes(b"\n".join(GOOD[1:]))
    with pytest.raises(DataError, match="changed since"):
        prepared.write(tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


REPAIRS: dict[str, bytes] = {
    "byte-order-mark": b"\xef\xbb\xbf" + b"\n".join(GOOD),
    "crlf": b"\r\n".join(GOOD) + b"\r\n",
    "old-mac": b"\r".join(GOOD),
    "blank-lines-between": b"\n\n".join(GOOD),
    "array": b"[" + b",\n".join(GOOD) + b"]",
    "pretty": b"\n".join(json.dumps(json.loads(row), indent=2).encode() for row in GOOD),
    "gzip": gzip.compress(b"\n".join(GOOD)),
    "no-last-newline": b"\n".join(GOOD),
}


@pytest.mark.parametrize("content", REPAIRS.values(), ids=REPAIRS.keys())
def test_the_same_rows_in_another_wrapping_are_the_same_data(tmp_path: Path, content: bytes) -> None:
    plain, wrapped = tmp_path / "plain.jsonl", tmp_path / "wrapped.jsonl"
    plain.write_bytes(b"\n".join(GOOD) + b"\n")
    wrapped.write_bytes(content)
    hashes = [prepare(DataSpec(train=str(path)), method="sft").files[0].sha256 for path in (plain, wrapped)]
    assert hashes[0] == hashes[1]
