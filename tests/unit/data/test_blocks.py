"""Content blocks of Anthropic, Bedrock and Gemini: what they hold beside texts stays, or is said to be left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from finetune_sdk.data import Dataset
from finetune_sdk.data.convert import convert
from finetune_sdk.data.example import ChatExample, Message, PreferenceExample
from finetune_sdk.data.formats import format_named
from finetune_sdk.data.losses import losses
from finetune_sdk.data.report import Report
from finetune_sdk.types import Finding

Row = dict[str, Any]
USER: Row = {"role": "user", "content": "u"}


def _read(folder: Path, row: Row) -> tuple[list[Message], list[Finding]]:
    (folder / "rows.jsonl").write_text(json.dumps(row) + "\n")
    report = Report()
    examples = list(Dataset.open(folder / "rows.jsonl").scan(report))
    messages = [message for one in examples if isinstance(one, ChatExample) for message in one.messages]
    return messages, list(report.findings())


def _thinking(**own: str) -> Row:
    return {"type": "thinking", "thinking": "hm", **own}


@pytest.mark.parametrize(
    ("signatures", "kept", "said"),
    [
        (("A",), {"signature": "A"}, []),
        (("A", "A"), {"signature": "A"}, ["several blocks of reasoning are read as one"]),
        (("A", "B"), {}, ["several blocks of reasoning are read as one, without their 'signature'"]),
        (("A", "B", "A"), {}, ["several blocks of reasoning are read as one, without their 'signature'"]),
    ],
)
def test_signatures_of_several_blocks_of_reasoning_do_not_hold_for_all(
    tmp_path: Path, signatures: tuple[str, ...], kept: Row, said: list[str]
) -> None:
    blocks = [*(_thinking(signature=signature) for signature in signatures), {"type": "text", "text": "a"}]
    messages, findings = _read(tmp_path, {"system": "s", "messages": [USER, {"role": "assistant", "content": blocks}]})
    assert (messages[-1].reasoning, messages[-1].extra) == ("hm" * len(signatures), kept)
    assert [finding.message for finding in findings] == said


def test_thoughts_of_gemini_with_signatures_of_their_own_are_said_to_lose_them(tmp_path: Path) -> None:
    thoughts = [{"text": text, "thought": True, "thoughtSignature": text} for text in "ab"]
    turns = [{"role": "user", "parts": [{"text": "u"}]}, {"role": "model", "parts": [*thoughts, {"text": "m"}]}]
    messages, findings = _read(tmp_path, {"contents": turns})
    assert (messages[-1].reasoning, messages[-1].extra) == ("ab", {})
    assert [(finding.rule, finding.path) for finding in findings] == [("reasoning-joined", "contents[1].parts")]


def test_a_result_after_what_the_user_says_is_told_to_go_before(tmp_path: Path) -> None:
    call: Row = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": "r"}
    turns = [
        USER,
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [{"type": "text", "text": "and"}, result]},
        {"role": "assistant", "content": "a"},
    ]
    messages, findings = _read(tmp_path, {"messages": turns})
    assert [message.role for message in messages] == ["user", "assistant", "tool", "user", "assistant"]
    assert [(finding.rule, finding.path) for finding in findings] == [("block-order", "messages[2].content[1]")]


def test_what_gemini_says_about_a_file_stays(tmp_path: Path) -> None:
    files = [
        {"fileData": {"mimeType": kind, "fileUri": f"gs://b/{name}", "displayName": name}}
        for kind, name in (("image/png", "a.png"), ("application/pdf", "b.pdf"))
    ]
    sound = {"inlineData": {"mimeType": "audio/mp3", "data": "aGk=", "displayName": "c"}}
    turns = [{"role": "user", "parts": [*files, sound]}, {"role": "model", "parts": [{"text": "m"}]}]
    messages, _ = _read(tmp_path, {"contents": turns})
    assert isinstance(messages[0].content, list)
    named = [part[part["type"]]["displayName"] for part in messages[0].content]
    assert named == ["a.png", "b.pdf", "c"]


TYPED: Row = {
    "schemaVersion": "bedrock-conversation-2024",
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "u"},
                {"type": "image", "image": {"format": "png", "source": {"s3Location": {"uri": "s3://b/a.png"}}}},
                {"type": "video", "video": {"format": "mp4", "source": {"s3Location": {"uri": "s3://b/a.mp4"}}}},
            ],
        },
        {"role": "assistant", "content": [{"type": "text", "text": "a"}]},
    ],
}


def test_blocks_that_name_their_type_are_written_so(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps(TYPED) + "\n")
    dataset = Dataset.open(tmp_path / "rows.jsonl")
    render = format_named("bedrock-converse").render
    assert render is not None
    assert render(next(iter(dataset))) == TYPED
    convert(dataset, tmp_path / "out.jsonl", to="bedrock-converse")
    assert json.loads((tmp_path / "out.jsonl").read_text()) == TYPED


def test_a_tool_that_is_none_is_an_error_of_its_row(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": [{"text": "u"}]}, {"role": "assistant", "content": [{"text": "a"}]}]
    tools = {"tools": [{"cachePoint": {"type": "default"}}]}
    _, findings = _read(tmp_path, {"schemaVersion": TYPED["schemaVersion"], "messages": turns, "toolConfig": tools})
    assert [(finding.rule, finding.path) for finding in findings] == [("tools-type", "toolConfig.tools[0]")]


def test_documents_that_a_tool_answers_make_no_row_anthropics(tmp_path: Path) -> None:
    call = {"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    document = {"type": "document", "document": {"data": "{}"}}
    turns = [
        USER,
        {"role": "assistant", "tool_plan": "I will", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "t", "content": [document]},
        {"role": "assistant", "content": "a"},
    ]
    (tmp_path / "rows.jsonl").write_text(json.dumps({"messages": turns}) + "\n")
    dataset = Dataset.open(tmp_path / "rows.jsonl")
    assert dataset.detection[0].format == "chat"
    example = next(iter(dataset))
    assert isinstance(example, ChatExample)
    assert example.messages[1].extra == {"tool_plan": "I will"}


def _candidates(*labels: str) -> list[Row]:
    return [{"content": [{"text": label}], "preferenceLabel": label} for label in labels]


def _novas(*candidates: Row, before: int = 1) -> Row:
    asked = [{"role": "user", "content": [{"text": "u"}]}] * before
    return {
        "schemaVersion": TYPED["schemaVersion"],
        "messages": [*asked, {"role": "assistant", "candidates": [*candidates]}],
    }


def test_novas_candidates_are_the_better_and_the_worse_answer(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps(_novas(*_candidates("non-preferred", "preferred"))) + "\n")
    example = next(iter(Dataset.open(tmp_path / "rows.jsonl")))
    assert isinstance(example, PreferenceExample)
    said = [[message.content for message in side] for side in (example.prompt, example.chosen, example.rejected)]
    assert said == [["u"], ["preferred"], ["non-preferred"]]


@pytest.mark.parametrize(
    ("row", "rule", "path"),
    [
        (_novas(*_candidates("preferred")), "preference-labels", "messages[1].candidates"),
        (
            _novas(*_candidates("preferred", "preferred")),
            "preference-labels",
            "messages[1].candidates[1].preferenceLabel",
        ),
        (_novas(*_candidates("preferred", "non-preferred"), before=0), "prompt-empty", "messages"),
    ],
)
def test_candidates_that_are_not_one_of_each_are_an_error(tmp_path: Path, row: Row, rule: str, path: str) -> None:
    _, findings = _read(tmp_path, row)
    assert [(finding.rule, finding.path) for finding in findings] == [(rule, path)]


FILM: Row = {"type": "video", "video": {"format": "mp4", "source": {"s3Location": {"uri": "s3://b/a.mp4"}}}}
PAPER: Row = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="}}


@pytest.mark.parametrize(
    ("to", "part", "written"),
    [("bedrock-converse", FILM, {"video": FILM["video"]}), ("anthropic", PAPER, PAPER)],
)
def test_what_came_from_a_format_goes_back_into_it(tmp_path: Path, to: str, part: Row, written: Row) -> None:
    text = {"type": "text", "text": "u"}
    row = {"messages": [{"role": "user", "content": [text, part]}, {"role": "assistant", "content": "a"}]}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    dataset = Dataset.open(tmp_path / "rows.jsonl", format="chat")
    convert(dataset, tmp_path / "out.jsonl", to=to)
    assert json.loads((tmp_path / "out.jsonl").read_text())["messages"][0]["content"][1] == written


def test_a_film_that_is_only_a_path_is_none_of_bedrocks(tmp_path: Path) -> None:
    row = {
        "messages": [
            {"role": "user", "content": [{"type": "video", "video": "a.mp4"}]},
            {"role": "assistant", "content": "a"},
        ]
    }
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    found = list(losses(next(iter(Dataset.open(tmp_path / "rows.jsonl"))), format_named("bedrock-converse")))
    assert [finding.rule for finding in found] == ["cannot-other-parts"]
    assert "s3Location" in found[0].fix
