"""Blocks, tools and texts of odd types: an error of their row, kept, or said; never lost and never a crash."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from finetune_sdk.data import Dataset
from finetune_sdk.data.convert import convert
from finetune_sdk.data.example import ChatExample, EmbeddingExample, Example
from finetune_sdk.data.formats import format_named
from finetune_sdk.data.losses import losses
from finetune_sdk.data.report import Report
from finetune_sdk.types import Finding

Row = dict[str, Any]
USER: Row = {"role": "user", "content": "u"}
SAID: Row = {"role": "assistant", "content": "a"}
SCHEMA = "bedrock-conversation-2024"
CALL: Row = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
PIXEL: Row = {"format": "png", "source": {"bytes": "aGk="}}


def _read(folder: Path, row: Row, form: str | None = None) -> tuple[list[Example], list[Finding]]:
    (folder / "rows.jsonl").write_text(json.dumps(row) + "\n")
    report = Report()
    examples = list(Dataset.open(folder / "rows.jsonl", format=form).scan(report))
    return examples, list(report.findings())


def _claude(*content: Any, role: str = "user") -> Row:
    return {"system": "s", "messages": [{"role": role, "content": [*content]}, SAID]}


def _answered(*content: Any, **beside: Any) -> Row:
    result = {"type": "tool_result", "tool_use_id": "t", "content": [*content]}
    turns = [USER, {"role": "assistant", "content": [CALL]}, {"role": "user", "content": [result], **beside}, SAID]
    return {"system": "s", "messages": turns}


def _nova(*content: Any, answer: Any = "a", tools: Any = None) -> Row:
    turns = [{"role": "user", "content": [*content]}, {"role": "assistant", "content": [{"text": answer}]}]
    return {"schemaVersion": SCHEMA, "messages": turns, **({} if tools is None else {"toolConfig": {"tools": tools}})}


def _google(*parts: Any, **beside: Any) -> Row:
    said = [{"role": "user", "parts": [{"text": "u"}, *parts]}, {"role": "model", "parts": [{"text": "m"}]}]
    return {"contents": said, **beside}


def _spec(**own: Any) -> Row:
    return {"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object"}, **own}}}


FAULTS: dict[str, tuple[str, Row, str, str]] = {
    "role": ("anthropic", {"messages": [{"role": ["user"], "content": "q"}, SAID]}, "role-unknown", "messages[0].role"),
    "type": ("anthropic", _claude({"type": ["text"], "text": "b"}), "part-type", "messages[0].content[0]"),
    "text": ("anthropic", _claude({"type": "text", "text": ["a"]}), "part-type", "messages[0].content[0].text"),
    "type in a result": ("anthropic", _answered({"type": [None]}), "part-type", "messages[2].content[0].content[0]"),
    "text in a result": (
        "anthropic",
        _answered({"type": "text", "text": 1}),
        "part-type",
        "messages[2].content[0].content[0].text",
    ),
    "no block in a result": ("anthropic", _answered("r"), "part-type", "messages[2].content[0].content[0]"),
    "media type": (
        "anthropic",
        _claude({"type": "image", "source": {"type": "base64", "media_type": {"a": 1}, "data": "aGk="}}),
        "part-type",
        "messages[0].content[0].source.media_type",
    ),
    "a tool that is a text": (
        "anthropic",
        {**_claude(), "messages": [USER, SAID], "tools": ["x"]},
        "tools-type",
        "tools[0]",
    ),
    "Nova's text": ("bedrock", _nova({"text": "u"}, {"text": ["lost"]}), "part-type", "messages[0].content[1].text"),
    "Nova's answer": ("bedrock", _nova({"text": "u"}, answer=1), "part-type", "messages[1].content[0].text"),
    "Nova's empty block": ("bedrock", _nova({}), "part-type", "messages[0].content[0]"),
    "Nova's typed block": ("bedrock", _nova({"type": ["text"], "video": {}}), "part-type", "messages[0].content[0]"),
    "two in one block": ("bedrock", _nova({"video": {}, "document": {}}), "part-type", "messages[0].content[0]"),
    "Nova's id": (
        "bedrock",
        _nova({"toolResult": {"toolUseId": 7, "content": [{"text": "r"}]}}),
        "tool-call-type",
        "messages[0].content[0]",
    ),
    "a call in a result": (
        "bedrock",
        _nova({"toolResult": {"toolUseId": "t", "content": [{"toolUse": {"name": "f"}}]}}),
        "content-type",
        "messages[0].content[0].toolResult.content",
    ),
    "beside a tool": (
        "bedrock",
        _nova({"text": "u"}, tools=[{**_spec(), "zz": 1}]),
        "tools-type",
        "toolConfig.tools[0].zz",
    ),
    "beside a schema": (
        "bedrock",
        _nova({"text": "u"}, tools=[_spec(zz=1)]),
        "tools-type",
        "toolConfig.tools[0].toolSpec.inputSchema.zz",
    ),
    "Google's tool": ("gemini", _google(tools=["x"]), "tools-type", "tools[0]"),
    "Google's list": ("gemini", _google(tools=[[{"name": "f"}]]), "tools-type", "tools[0]"),
    "Google's functions": (
        "gemini",
        _google(tools=[{"functionDeclarations": {}}]),
        "tools-type",
        "tools[0].functionDeclarations",
    ),
    "a file of no type": (
        "gemini",
        _google({"fileData": {"fileUri": "gs://b/x.mp4"}}),
        "part-type",
        "contents[0].parts[1].mimeType",
    ),
    "a file of no address": (
        "gemini",
        _google({"fileData": {"mimeType": "image/png"}}),
        "part-type",
        "contents[0].parts[1].fileUri",
    ),
    "two system texts": (
        "gemini",
        _google(systemInstruction="s", system_instruction="t"),
        "key-twice",
        "system_instruction",
    ),
    "tags": ("tagged", {"tokens": ["a", "b"], "ner_tags": ["b", 1]}, "label-type", "ner_tags"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_cannot_be_read_is_an_error_of_its_row(tmp_path: Path, name: str) -> None:
    form, row, rule, path = FAULTS[name]
    examples, findings = _read(tmp_path, row, form)
    assert examples == []
    assert [(finding.rule, finding.path) for finding in findings] == [(rule, path)]


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [{"role": ["user"], "content": "q"}, SAID]},
        {"messages": [{"role": "user", "content": [{"type": ["text"], "text": "b"}]}, SAID]},
    ],
    ids=["role", "type"],
)
@pytest.mark.parametrize("name", ["anthropic", "cohere"])
def test_a_word_that_is_a_list_is_no_evidence_of_a_format(row: Row, name: str) -> None:
    assert format_named(name).match(row) is None


KEPT: dict[str, tuple[str, Row]] = {
    "a turn that holds a result": ("anthropic", _answered({"type": "text", "text": "r"}, zz=1)),
    "Google's turn that holds a result": (
        "gemini",
        {
            "contents": [
                {"role": "user", "parts": [{"text": "u"}]},
                {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}]},
                {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {}}}], "zz": 1},
                {"role": "model", "parts": [{"text": "m"}]},
            ]
        },
    ),
    "the source of an image": (
        "anthropic",
        _claude({"type": "image", "source": {"type": "url", "url": "https://x/a.png", "zz": 1}}),
    ),
    "beside a result": ("bedrock", _nova({"toolResult": {"toolUseId": "t", "content": [{"text": "r"}]}, "zz": 1})),
    "beside a call": ("bedrock", _nova({"toolUse": {"toolUseId": "t", "name": "f", "input": {}}, "zz": 1})),
    "beside reasoning": ("bedrock", _nova({"reasoningContent": {"reasoningText": {"text": "h"}}, "zz": 1})),
    "beside an image": ("bedrock", _nova({"image": PIXEL, "zz": 1})),
    "in an image": ("bedrock", _nova({"image": {**PIXEL, "zz": 1}})),
    "in an image's source": ("bedrock", _nova({"image": {**PIXEL, "source": {"bytes": "aGk=", "zz": 1}}})),
}


@pytest.mark.parametrize("name", KEPT)
def test_keys_without_a_place_are_kept_and_told_where_they_are_left_out(tmp_path: Path, name: str) -> None:
    form, row = KEPT[name]
    [example], _ = _read(tmp_path, row, form)
    chat = format_named("chat").render
    assert chat is not None
    assert '"zz": 1' in json.dumps(chat(example))
    assert "loses-message-keys" in {finding.rule for finding in losses(example, format_named(form))}


def test_a_key_that_a_turn_and_its_result_both_have_is_an_error(tmp_path: Path) -> None:
    row = _answered({"type": "text", "text": "r"}, is_error=1)
    row["messages"][2]["content"][0]["is_error"] = False
    _, findings = _read(tmp_path, row, "anthropic")
    assert [finding.rule for finding in findings] == ["key-twice"]


def test_the_weight_of_a_turn_that_holds_a_result_is_the_results(tmp_path: Path) -> None:
    [example], _ = _read(tmp_path, _answered({"type": "text", "text": "r"}, weight=0), "anthropic")
    assert isinstance(example, ChatExample)
    assert [message.weight for message in example.messages if message.role == "tool"] == [0]


def _completion(score: int, **beside: Any) -> Row:
    return {"score": score, "completion": {"role": "model", "parts": [{"text": str(score)}]}, **beside}


ONLY_HERE: dict[str, tuple[str, Row, str]] = {
    "Google's system text": (
        "gemini",
        _google(systemInstruction={"role": "system", "zz": 1, "parts": [{"text": "s"}]}),
        "systemInstruction.zz",
    ),
    "Vertex's completions": (
        "vertex-preference",
        {"contents": _google()["contents"][:1], "completions": [_completion(1, zz=1), _completion(0, zz=2)]},
        "completions[0].zz",
    ),
    "Nova's candidates": (
        "nova-preference",
        {
            "schemaVersion": SCHEMA,
            "messages": [
                {"role": "user", "content": [{"text": "u"}]},
                {
                    "role": "assistant",
                    "candidates": [
                        {"content": [{"text": "a"}], "preferenceLabel": "preferred"},
                        {"content": [{"text": "b"}], "preferenceLabel": "non-preferred"},
                    ],
                    "zz": 1,
                },
            ],
        },
        "messages[1].zz",
    ),
}


@pytest.mark.parametrize("name", ONLY_HERE)
def test_keys_of_one_format_are_written_back_and_told(tmp_path: Path, name: str) -> None:
    form, row, path = ONLY_HERE[name]
    [example], findings = _read(tmp_path, row, form)
    render = format_named(form).render
    assert render is not None
    assert render(example) == row
    assert ("key-only-here", path) in {(finding.rule, finding.path) for finding in findings}


@pytest.mark.parametrize(
    ("history", "before"),
    [
        ('[["x", "y"]]', ["x", "y"]),
        ("[['x', 'y']]", ["x", "y"]),
        ('[{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]', ["x", "y"]),
        ("[of Rome]", []),
        ('["x", "y"]', []),
        ("of Rome", []),
    ],
)
def test_turns_that_a_table_holds_as_text_come_before_the_question(
    tmp_path: Path, history: str, before: list[str]
) -> None:
    with (tmp_path / "rows.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["prompt", "completion", "history"], ["q", "a", history]])
    [example] = Dataset.open(tmp_path / "rows.csv")
    assert isinstance(example, ChatExample)
    assert [message.content for message in example.messages] == [*before, "q", "a"]
    assert example.extra == ({} if before else {"history": history})
    convert(Dataset.open(tmp_path / "rows.csv"), tmp_path / "out.jsonl", to="prompt-completion")
    assert [again.messages for again in Dataset.open(tmp_path / "out.jsonl") if isinstance(again, ChatExample)] == [
        example.messages
    ]


def test_negatives_whose_numbers_are_written_otherwise_are_all_negatives(tmp_path: Path) -> None:
    row = {"anchor": "a", "positive": "p", "negative_01": "n1", "negative_1": "n2", "negative_2": "n3"}
    [example], _ = _read(tmp_path, row)
    assert isinstance(example, EmbeddingExample)
    assert (example.negative, example.negatives, example.extra) == ("n1", ["n2", "n3"], {})
