"""Values of odd types and keys that nobody knows, in chat and ShareGPT: kept, or an error of their row, never lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from finetune_sdk.data import Dataset
from finetune_sdk.data.convert import Outcome, convert
from finetune_sdk.data.example import ChatExample, FunctionCall, Message, ToolCall
from finetune_sdk.data.formats import format_named
from finetune_sdk.data.renderer import Renderer
from finetune_sdk.data.report import Report
from finetune_sdk.types import Finding

Row = dict[str, Any]
QUESTION: Row = {"role": "user", "content": "q"}
ANSWER: Row = {"role": "assistant", "content": "a"}
RESULT: Row = {"role": "tool", "content": "r", "tool_call_id": "c1"}
HUMAN: Row = {"from": "human", "value": "q"}
GPT: Row = {"from": "gpt", "value": "a"}
BETTER: Row = {"from": "gpt", "value": "b"}


def _calling(**changed: object) -> Row:
    call: Row = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}, **changed}
    return {"messages": [QUESTION, {"role": "assistant", "tool_calls": [call]}, RESULT, ANSWER]}


def _with_function(**changed: object) -> Row:
    return _calling(function={"name": "f", "arguments": "{}", **changed})


def _converted(folder: Path, row: Row, *, read: str, to: str, allow: tuple[str, ...] = ()) -> tuple[Outcome, list[Row]]:
    (folder / "rows.jsonl").write_text(json.dumps(row) + "\n")
    out = folder / f"{to}.jsonl"
    outcome = convert(Dataset.open(folder / "rows.jsonl", format=read), out, to=to, allow=allow)
    return outcome, [json.loads(line) for line in out.read_text().splitlines()] if outcome.written else []


UNREADABLE = {
    '{"a":1,"a":2}': "key 'a' appears twice",
    '{"q": NaN}': "NaN is not JSON",
    '{"q": 1e999}': "too large for any reader",
    '{"q": {"x:y": 1, "x:y": 2}}': "appears twice",
    '{"a": 1, "\\u0061": 2}': "appears twice",
    '{"q": "\\ud83d"}': "half an emoji",
    '{"q": ' + "[" * 70 + "]" * 70 + "}": "nested deeper than 64 levels",
}


@pytest.mark.parametrize("text", UNREADABLE)
@pytest.mark.parametrize("to", ["sharegpt", "trl-chat", "anthropic", "bedrock", "gemini"])
def test_arguments_that_cannot_be_read_are_refused_where_they_must_be_parsed(
    tmp_path: Path, text: str, to: str
) -> None:
    outcome, _ = _converted(tmp_path, _with_function(arguments=text), read="chat", to=to)
    places = {finding.rule: finding.path for finding in outcome.errors}
    assert places["cannot-arguments-not-object"] == "messages[1].tool_calls[0].function.arguments"
    assert not outcome.written


@pytest.mark.parametrize("text", UNREADABLE)
def test_arguments_that_cannot_be_read_are_told_where_they_stay_a_text(tmp_path: Path, text: str) -> None:
    outcome, rows = _converted(tmp_path, _with_function(arguments=text), read="chat", to="chat")
    told = [finding.message for finding in outcome.findings if finding.rule == "tool-arguments"]
    assert len(told) == 1
    assert UNREADABLE[text] in told[0]
    assert rows == [_with_function(arguments=text)]


def test_keys_with_colons_and_escapes_do_not_make_arguments_unreadable(tmp_path: Path) -> None:
    text = '{"a:b": {"c": "\\u003a"}, "d": "e: f"}'
    outcome, _ = _converted(tmp_path, _with_function(arguments=text), read="chat", to="chat")
    assert not outcome.findings


def test_what_fails_while_a_row_is_written_is_an_error_of_that_row(tmp_path: Path) -> None:
    call = ToolCall(type="function", function=FunctionCall("f", '{"a":1,"a":2}'), arguments_object=True)
    turns = [Message(role="user", content="q"), Message(role="assistant", content="", tool_calls=[call])]
    report = Report()
    assert not Renderer(format_named("trl-chat"), (), report).rows(ChatExample(messages=turns))
    assert [(finding.rule, finding.severity) for finding in report.findings()] == [("duplicate-key", "error")]


ROLES: dict[str, tuple[Row, str]] = {
    "chat list": ({"messages": [{"role": ["user"], "content": "q"}, ANSWER]}, "messages[0].role"),
    "chat object": ({"messages": [{"role": {"a": 1}, "content": "q"}, ANSWER]}, "messages[0].role"),
    "sharegpt list": ({"conversations": [{"from": ["human"], "value": "q"}, GPT]}, "conversations[0].from"),
    "sharegpt object": ({"conversations": [{"from": {}, "value": "q"}, GPT]}, "conversations[0].from"),
}


@pytest.mark.parametrize("name", ROLES)
def test_a_role_that_is_no_text_is_an_error_of_its_row(tmp_path: Path, name: str) -> None:
    row, path = ROLES[name]
    found = _errors(tmp_path, row, "chat" if "messages" in row else "sharegpt")
    assert [(finding.rule, finding.path) for finding in found] == [("role-unknown", path)]


def _errors(folder: Path, row: Row, name: str) -> list[Finding]:
    (folder / "rows.jsonl").write_text(json.dumps(row) + "\n")
    report = Report()
    assert not list(Dataset.open(folder / "rows.jsonl", format=name).scan(report))
    return [finding for finding in report.findings() if finding.severity == "error"]


def test_a_type_of_part_that_is_no_text_does_not_stop_the_search_for_losses(tmp_path: Path) -> None:
    block: Row = {"type": "tool_result", "tool_use_id": "c1", "content": [{"type": [None]}]}
    asked: Row = {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "f", "input": {}}]}
    row: Row = {"messages": [QUESTION, asked, {"role": "user", "content": [block]}, ANSWER]}
    outcome, _ = _converted(tmp_path, row, read="anthropic", to="gemini")
    assert outcome.errors


@pytest.mark.parametrize("to", ["chat", "trl-chat"])
def test_keys_of_a_function_that_is_called_are_kept(tmp_path: Path, to: str) -> None:
    row = _with_function(arguments={}, strict=True, parsed_arguments={"x": None})
    _, rows = _converted(tmp_path, row, read="trl-chat", to=to)
    written = rows[0]["messages"][1]["tool_calls"][0]["function"]
    assert (written["strict"], written["parsed_arguments"]) == (True, {"x": None})


def test_keys_of_a_function_are_not_lost_without_a_word(tmp_path: Path) -> None:
    outcome, _ = _converted(tmp_path, _with_function(strict=True), read="chat", to="sharegpt")
    assert [finding.path for finding in outcome.errors] == ["messages[1].tool_calls[0].function"]


def test_keys_of_an_old_function_call_are_kept(tmp_path: Path) -> None:
    asked = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}", "zz": 1}}
    _, rows = _converted(tmp_path, {"messages": [QUESTION, asked]}, read="chat", to="chat")
    assert rows[0]["messages"][1]["tool_calls"][0]["function"] == {"name": "f", "arguments": "{}", "zz": 1}


def test_keys_of_an_input_stay_in_it(tmp_path: Path) -> None:
    row = {
        "input": {"messages": [QUESTION], "temperature": 0.5},
        "preferred_output": [ANSWER],
        "non_preferred_output": [{**ANSWER, "content": "b"}],
        "id": "r1",
    }
    _, rows = _converted(tmp_path, row, read="openai-preference", to="preference")
    assert rows[0]["input"] == {"temperature": 0.5}
    outcome, back = _converted(tmp_path, rows[0], read="preference", to="openai-preference")
    assert not outcome.errors
    assert back == [row]


@pytest.mark.parametrize("own", ["x", {}, {"messages": []}, {"tools": []}])
def test_an_input_of_the_rows_own_that_would_be_read_otherwise_is_refused(tmp_path: Path, own: object) -> None:
    row = {"prompt": "q", "chosen": "a", "rejected": "b", "input": own}
    outcome, _ = _converted(tmp_path, row, read="preference", to="openai-preference")
    assert [finding.rule for finding in outcome.errors] == ["cannot-reserved-key"]


SPAN = {"begin_offset": 0, "end_offset": 0, "train": True}
REFUSED: dict[str, tuple[str, Row, str, str]] = {
    "type of a call": ("chat", _calling(type=["function"]), "tool-call-type", "messages[1].tool_calls[0].type"),
    "function beside a name": (
        "chat",
        _calling(function="f", name="f", arguments="{}"),
        "tool-call-type",
        "messages[1].tool_calls[0]",
    ),
    "old call": (
        "chat",
        {"messages": [QUESTION, {**ANSWER, "function_call": "f"}]},
        "tool-call-type",
        "messages[1].function_call",
    ),
    "span": (
        "chat",
        {"messages": [QUESTION, {**ANSWER, "train_detail": [{**SPAN, "zz": 1}]}]},
        "span-type",
        "messages[1].train_detail[0].zz",
    ),
    "segment": ("segments", {"segments": [{"text": "a", "label": True, "zz": 1}]}, "span-type", "segments[0].zz"),
    "function beside the name of a function_call": (
        "sharegpt",
        {
            "conversations": [
                HUMAN,
                {"from": "function_call", "value": '{"name":"f","arguments":{},"function":{"name":"g"}}'},
            ]
        },
        "tool-call-type",
        "conversations[1].value",
    ),
    "id of a function_call": (
        "sharegpt",
        {"conversations": [HUMAN, {"from": "function_call", "value": '{"name":"f","arguments":{},"id":1}'}]},
        "tool-call-type",
        "conversations[1].value",
    ),
    "no answer in a side": (
        "preference",
        {"prompt": [QUESTION], "chosen": [QUESTION, QUESTION], "rejected": [ANSWER]},
        "answer-role",
        "chosen",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_example_can_hold_is_an_error_of_its_row(tmp_path: Path, name: str) -> None:
    read, row, rule, path = REFUSED[name]
    assert [(finding.rule, finding.path) for finding in _errors(tmp_path, row, read)] == [(rule, path)]


@pytest.mark.parametrize(
    ("chosen", "rejected"), [(GPT, [BETTER]), ([GPT], BETTER), ("a", [BETTER]), ([GPT], "b"), ("a", BETTER)]
)
def test_the_sides_of_a_sharegpt_pair_may_be_written_each_in_its_way(
    tmp_path: Path, chosen: object, rejected: object
) -> None:
    row = {"conversations": [HUMAN], "chosen": chosen, "rejected": rejected}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    dataset = Dataset.open(tmp_path / "rows.jsonl")
    assert dataset.detection[0].format == "sharegpt-preference"
    render = format_named("sharegpt-preference").render
    assert render is not None
    assert [render(example) for example in dataset] == [row]


def test_a_result_answers_the_call_before_it_by_that_calls_own_id(tmp_path: Path) -> None:
    turns = [
        HUMAN,
        {"from": "function_call", "value": '{"id":"x1","name":"f","arguments":{}}'},
        {"from": "observation", "value": "r"},
        GPT,
    ]
    (tmp_path / "rows.jsonl").write_text(json.dumps({"conversations": turns}) + "\n")
    convert(Dataset.open(tmp_path / "rows.jsonl"), tmp_path / "out.jsonl", to="chat")
    _, call, result, _ = json.loads((tmp_path / "out.jsonl").read_text())["messages"]
    assert call["tool_calls"][0]["id"] == result["tool_call_id"] == "x1"
