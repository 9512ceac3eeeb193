"""Columns and fields of an unexpected type: read where they can be, an error of the row otherwise, never left out."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from finetune_sdk.data import Dataset
from finetune_sdk.data.convert import convert
from finetune_sdk.data.example import ChatExample, PreferenceExample
from finetune_sdk.data.report import Report
from finetune_sdk.data.tools.files import convert_for

Row = dict[str, Any]
SAID: list[Row] = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
TURNS = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
BLOCKS = [{"role": "user", "content": [{"text": "q"}]}, {"role": "assistant", "content": [{"text": "a"}]}]
PARTS = [{"role": "user", "parts": [{"text": "q"}]}, {"role": "model", "parts": [{"text": "a"}]}]


def _table(folder: Path, row: dict[str, str]) -> Dataset:
    with (folder / "rows.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(row)
        writer.writerow(row.values())
    return Dataset.open(folder / "rows.csv")


@pytest.mark.parametrize("history", ['[["q1", "a1"]]', "[['q1', 'a1']]"])
def test_a_history_that_a_table_holds_as_text_comes_before_the_question(tmp_path: Path, history: str) -> None:
    example = next(iter(_table(tmp_path, {"instruction": "q", "output": "a", "history": history})))
    assert isinstance(example, ChatExample)
    assert [message.content for message in example.messages] == ["q1", "a1", "q", "a"]


def test_switches_that_a_table_holds_as_text_are_read(tmp_path: Path) -> None:
    row = {"messages": json.dumps(SAID), "parallel_tool_calls": "False", "chat_template_kwargs": '{"x": 1}'}
    example = next(iter(_table(tmp_path, row)))
    assert isinstance(example, ChatExample)
    assert (example.parallel_tool_calls, example.chat_template_kwargs) == (False, {"x": 1})


def test_a_margin_that_a_table_holds_as_text_is_a_number(tmp_path: Path) -> None:
    example = next(iter(_table(tmp_path, {"prompt": "q", "chosen": "a", "rejected": "b", "margin": "0.5"})))
    assert isinstance(example, PreferenceExample)
    assert example.margin == 0.5


def test_tools_that_are_the_text_of_a_list_are_tools(tmp_path: Path) -> None:
    for row, tool in (
        ({"system": "s", "messages": SAID}, {"name": "f", "input_schema": Row()}),
        ({"contents": PARTS}, {"functionDeclarations": [{"name": "f"}]}),
        ({"contents": PARTS}, {"type": "function", "function": {"name": "f"}}),
    ):
        (tmp_path / "rows.jsonl").write_text(json.dumps({**row, "tools": json.dumps([tool])}) + "\n")
        example = next(iter(Dataset.open(tmp_path / "rows.jsonl")))
        assert isinstance(example, ChatExample)
        assert example.tools is not None
        assert example.tools[0]["function"]["name"] == "f"


def _anthropic(block: Row) -> Row:
    return {"system": "s", "messages": [{"role": "user", "content": [block]}, SAID[1]]}


def _gemini(part: Row) -> Row:
    return {"contents": [PARTS[0], {"role": "model", "parts": [part]}]}


CASES: dict[str, tuple[Row, str, str]] = {
    "switch": ({"messages": SAID, "parallel_tool_calls": 1}, "field-type", "parallel_tool_calls"),
    "kwargs": ({"messages": SAID, "chat_template_kwargs": [1]}, "field-type", "chat_template_kwargs"),
    "margin": ({"prompt": "q", "chosen": "a", "rejected": "b", "margin": "much"}, "field-type", "margin"),
    "alpaca system": ({"instruction": "q", "output": "a", "system": ["s"]}, "field-type", "system"),
    "alpaca history": ({"instruction": "q", "output": "a", "history": {"q": "a"}}, "history-type", "history"),
    "sharegpt system": ({"conversations": TURNS, "system": {"text": "s"}}, "field-type", "system"),
    "spans": ({"messages": [SAID[0], {**SAID[1], "train_detail": "x"}]}, "span-type", "messages[1].train_detail"),
    "converse system": (
        {"schemaVersion": "bedrock-conversation-2024", "system": "s", "messages": BLOCKS},
        "content-type",
        "system",
    ),
    "converse tools": (
        {"schemaVersion": "bedrock-conversation-2024", "messages": BLOCKS, "toolConfig": "[]"},
        "tools-type",
        "toolConfig",
    ),
    "anthropic system": (
        {"messages": _anthropic({"type": "thinking", "thinking": ""})["messages"], "system": 5},
        "content-type",
        "system",
    ),
    "anthropic tools": ({"system": "s", "messages": SAID, "tools": {"f": 1}}, "tools-type", "tools"),
    "anthropic image": (
        _anthropic({"type": "image", "source": {"type": "file", "file_id": "x"}}),
        "part-type",
        "messages[0].content[0].source",
    ),
    "anthropic result": (
        _anthropic({"type": "tool_result", "tool_use_id": "t", "content": {"x": 1}}),
        "content-type",
        "messages[0].content[0].content",
    ),
    "anthropic call": (
        _anthropic({"type": "tool_use", "id": "t", "input": {}}),
        "tool-call-type",
        "messages[0].content[0]",
    ),
    "gemini system": ({"contents": PARTS, "systemInstruction": ["s"]}, "content-type", "systemInstruction"),
    "gemini system's parts": (
        {"contents": PARTS, "systemInstruction": {"parts": {"text": "s"}}},
        "content-type",
        "systemInstruction.parts",
    ),
    "a mark in words": ({"prompt": "q", "completion": "a", "label": "bad"}, "label-type", "label"),
    "gemini arguments": (
        _gemini({"functionCall": {"name": "f", "args": "[1]"}}),
        "tool-arguments",
        "contents[1].parts[0]",
    ),
    "gemini name": (_gemini({"functionCall": {"args": {}}}), "tool-call-type", "contents[1].parts[0]"),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_of_no_type_that_can_be_read_is_an_error_of_its_row(tmp_path: Path, name: str) -> None:
    row, rule, path = CASES[name]
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    report = Report()
    assert not list(Dataset.open(tmp_path / "rows.jsonl").scan(report))
    assert [(finding.rule, finding.path) for finding in report.findings()] == [(rule, path)]


@pytest.mark.parametrize("key", ["parallel_tool_calls", "chat_template_kwargs", "margin", "system", "history"])
def test_null_is_as_good_as_nothing(tmp_path: Path, key: str) -> None:
    row = {"instruction": "q", "output": "a"} if key != "margin" else {"prompt": "q", "chosen": "a", "rejected": "b"}
    (tmp_path / "rows.jsonl").write_text(json.dumps({**row, key: None}) + "\n")
    assert len(list(Dataset.open(tmp_path / "rows.jsonl"))) == 1


def test_rows_of_json_in_a_file_named_text_are_rows(tmp_path: Path) -> None:
    row = json.dumps({"messages": SAID})
    (tmp_path / "rows.txt").write_text(f"{row}\n{row}\n")
    assert Dataset.open(tmp_path / "rows.txt").detection[0].format == "chat"
    (tmp_path / "texts.txt").write_text(f"{row}\nand a line that is none\n")
    assert Dataset.open(tmp_path / "texts.txt").detection[0].format == "text"


CALLED: dict[str, Row] = {
    "gemini": {
        "contents": [PARTS[0], {"role": "model", "parts": [{"functionCall": {"name": "f", "args": '{"a": 1}'}}]}],
        "tools": [{"functionDeclarations": [{"name": "f", "parameters": {"type": "OBJECT"}}]}],
    },
    "anthropic": {
        "messages": [
            SAID[0],
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": '{"a": 1}'}]},
        ],
        "tools": [{"name": "f", "input_schema": '{"type": "object"}'}],
    },
    "bedrock-converse": {
        "schemaVersion": "bedrock-conversation-2024",
        "messages": [
            BLOCKS[0],
            {"role": "assistant", "content": [{"toolUse": {"toolUseId": "t", "name": "f", "input": '{"a": 1}'}}]},
        ],
        "toolConfig": {"tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": '{"type": "object"}'}}}]},
    },
}


@pytest.mark.parametrize("name", CALLED)
def test_arguments_and_schemas_that_tables_hold_as_text_are_objects(tmp_path: Path, name: str) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps(CALLED[name]) + "\n")
    dataset = Dataset.open(tmp_path / "rows.jsonl")
    example = next(iter(dataset))
    assert isinstance(example, ChatExample)
    assert dataset.detection[0].format == name
    calls = example.messages[-1].tool_calls
    assert calls is not None
    assert (calls[0].function.arguments, calls[0].arguments_object) == ('{"a": 1}', False)
    assert example.tools is not None
    assert example.tools[0]["function"]["parameters"] == {"type": "object"}


def test_tools_of_sharegpt_are_the_same_in_a_table(tmp_path: Path) -> None:
    row = {"conversations": TURNS, "tools": '[{"name": "f", "parameters": {}}]'}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    convert(Dataset.open(tmp_path / "rows.jsonl"), tmp_path / "rows.parquet", to="sharegpt")
    first, second = (next(iter(Dataset.open(tmp_path / f"rows.{suffix}"))) for suffix in ("jsonl", "parquet"))
    assert isinstance(first, ChatExample)
    assert isinstance(second, ChatExample)
    assert first.tools == second.tools


def test_a_whole_weight_from_a_column_of_numbers_is_sent_as_a_whole_number(tmp_path: Path) -> None:
    said = [turn for weight in (0.0, 1.0) for turn in (SAID[0], {**SAID[1], "weight": weight})]
    (tmp_path / "rows.jsonl").write_text(f"{json.dumps({'messages': said})}\n" * 10)
    convert_for(Dataset.open(tmp_path / "rows.jsonl"), tmp_path / "out.jsonl", "openai")
    for line in (tmp_path / "out.jsonl").read_text().splitlines():
        assert [piece[:1] for piece in line.split('"weight":')[1:]] == ["0", "1"]
        assert "0.0" not in line
        assert "1.0" not in line
