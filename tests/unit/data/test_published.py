"""Rows in the shapes in which datasets are published: detected for what they are, written back as they were.

`published.jsonl` holds one shape a line: its format (null = none, a mapping of columns is needed), and whether writing
that format again gives the same rows; where it does not, only the spelling is made the usual one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from finetune_sdk.data import Dataset
from finetune_sdk.data.callids import with_call_ids
from finetune_sdk.data.convert import convert
from finetune_sdk.data.example import ChatExample, Example, Message, PreferenceExample, kind_of
from finetune_sdk.data.formats import FORMATS, Format, format_named
from finetune_sdk.data.losses import losses
from finetune_sdk.data.tools import files
from finetune_sdk.data.tools.check import check
from finetune_sdk.errors import DataError

SHAPES: list[dict[str, Any]] = [
    json.loads(line) for line in Path(__file__).with_name("published.jsonl").read_text(encoding="utf-8").splitlines()
]
KNOWN = [shape for shape in SHAPES if shape["format"] is not None]
UNKNOWN = [shape for shape in SHAPES if shape["format"] is None]
SAME = [shape for shape in SHAPES if shape["same"]]
WRITERS = [entry for entry in FORMATS if entry.render is not None]
Row = dict[str, Any]


def written(tmp_path: Path, *rows: Row) -> Dataset:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return Dataset.open(path)


def rows_of(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def chat_of(tmp_path: Path, row: Row) -> list[Message]:
    example = next(iter(written(tmp_path, row)))
    assert isinstance(example, ChatExample)
    return example.messages


@pytest.mark.parametrize("shape", KNOWN, ids=[shape["name"] for shape in KNOWN])
def test_a_published_shape_is_detected(tmp_path: Path, shape: Row) -> None:
    assert written(tmp_path, *shape["rows"]).detection[0].format == shape["format"]


@pytest.mark.parametrize("shape", UNKNOWN, ids=[shape["name"] for shape in UNKNOWN])
def test_a_shape_that_nobody_knows_asks_for_a_mapping(tmp_path: Path, shape: Row) -> None:
    with pytest.raises(DataError, match="Map the columns"):
        _ = written(tmp_path, *shape["rows"]).detection


@pytest.mark.parametrize("shape", SAME, ids=[shape["name"] for shape in SAME])
def test_a_row_of_the_format_already_is_written_as_it_was(tmp_path: Path, shape: Row) -> None:
    convert(written(tmp_path, *shape["rows"]), tmp_path / "out.jsonl", to=shape["format"])
    assert rows_of(tmp_path / "out.jsonl") == shape["rows"]


def ignore(rule: str, path: str, message: str, fix: str) -> None:
    """Repairs are not what this test is about."""


def test_what_is_written_without_a_finding_is_read_back_as_it_was(tmp_path: Path) -> None:
    changed: list[tuple[str, str]] = []
    for shape in KNOWN:
        for example in written(tmp_path, *shape["rows"]):
            for entry in WRITERS:
                given = with_call_ids(example) if entry.needs_call_ids else example
                if entry.render is None or kind_of(example) != entry.kind or list(losses(given, entry)):
                    continue
                again = entry.parse(json.loads(msgspec.json.encode(entry.render(given))), ignore)
                if content(again) != content(given):
                    changed.append((shape["name"], entry.name))
    assert changed == []


def content(example: Example) -> Any:
    """What an example says, without how its source spelled it."""
    return without(
        msgspec.to_builtins(example),
        {"shape", "aside", "source", "source_role", "spelling", "arguments_object", "mime_type", "bucketOwner"},
    )


def without(value: Any, keys: set[str]) -> Any:
    if isinstance(value, dict):
        return {key: without(inner, keys) for key, inner in value.items() if key not in keys}  # pyright: ignore[reportUnknownVariableType]
    return [without(inner, keys) for inner in value] if isinstance(value, list) else value  # pyright: ignore[reportUnknownVariableType]


def test_what_a_question_is_about_reaches_the_model(tmp_path: Path) -> None:
    said = chat_of(tmp_path, {"instruction": "Which one is a fish?", "context": "Tope, Rope", "response": "Tope"})
    assert said[0].text == "Which one is a fish?\nTope, Rope"


def test_axolotls_context_comes_before_its_question(tmp_path: Path) -> None:
    assert chat_of(tmp_path, {"article": "It rains.", "question": "Why?", "answer": "So."})[0].text == "It rains.\nWhy?"


def test_a_system_column_is_no_part_of_the_question(tmp_path: Path) -> None:
    said = chat_of(tmp_path, {"system_prompt": "Be brief.", "question": "q", "response": "r"})
    assert [message.role for message in said] == ["system", "user", "assistant"]


def test_messages_beside_answers_are_their_prompt(tmp_path: Path) -> None:
    row = {
        "messages": [{"role": "user", "content": "q"}],
        "chosen": {"role": "assistant", "content": "a"},
        "rejected": {"role": "assistant", "content": "b"},
    }
    example = next(iter(written(tmp_path, row)))
    assert isinstance(example, PreferenceExample)
    assert [message.text for message in (*example.prompt, *example.chosen, *example.rejected)] == ["q", "a", "b"]


def test_a_prompt_that_answers_repeat_without_its_system_text_is_asked_once(tmp_path: Path) -> None:
    asked = {"role": "user", "content": "q"}
    row = {
        "system": "s",
        "prompt": "q",
        "chosen": [asked, {"role": "assistant", "content": "a"}],
        "rejected": [asked, {"role": "assistant", "content": "b"}],
    }
    example = next(iter(written(tmp_path, row)))
    assert isinstance(example, PreferenceExample)
    assert [message.text for message in example.chosen] == ["a"]


def test_reasoning_in_chunks_stays_reasoning_in_chunks(tmp_path: Path) -> None:
    chunks = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "k"}]
    row = {"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": chunks}]}
    assert chat_of(tmp_path, row)[1].content == chunks


RESULT: Row = {
    "messages": [
        {"role": "user", "content": "u"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]},
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "t",
                    "content": [{"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}}],
                },
                {"type": "text", "text": "and?"},
            ],
        },
        {"role": "assistant", "content": "a"},
    ]
}


def test_a_picture_that_a_tool_answers_stays_a_picture(tmp_path: Path) -> None:
    picture = {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}
    assert chat_of(tmp_path, RESULT)[2].content == [picture]


@pytest.mark.parametrize("to", ["anthropic", "bedrock-converse"])
def test_what_is_said_after_tool_results_shares_their_turn(tmp_path: Path, to: str) -> None:
    chat: Row = {
        "messages": [
            {"role": "user", "content": "u"},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            },
            {"role": "tool", "tool_call_id": "t", "content": "15"},
            {"role": "user", "content": "and?"},
            {"role": "assistant", "content": "a"},
        ]
    }
    out = tmp_path / "out.jsonl"
    convert(written(tmp_path, chat), out, to=to)
    row = rows_of(out)[0]
    assert [turn["role"] for turn in row["messages"]] == ["user", "assistant", "user", "assistant"]
    assert [message.text for message in next_chat(out)] == ["u", "", "15", "and?", "a"]


def next_chat(path: Path) -> list[Message]:
    example = next(iter(Dataset.open(path)))
    assert isinstance(example, ChatExample)
    return example.messages


SPELT: Row = {
    "messages": [
        {"role": "user", "content": "q", "training": False},
        {"role": "assistant", "content": "a", "training": True, "thinking": "t"},
    ]
}


def test_a_hosted_target_gets_the_keys_it_knows(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    files.convert_for(written(tmp_path, SPELT), out, "fireworks", allow_loss=["weights-elsewhere"])
    assert rows_of(out)[0]["messages"][1] == {
        "role": "assistant",
        "content": "a",
        "weight": 1,
        "reasoning_content": "t",
    }


def test_a_chat_template_reads_reasoning_under_the_key_of_its_own_files(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    files.convert_for(written(tmp_path, SPELT), out, "unsloth", allow_loss=["weights", "weights-elsewhere"])
    assert rows_of(out)[0]["messages"][1] == {"role": "assistant", "content": "a", "thinking": "t"}


def test_openais_schema_has_no_null_for_a_turn_without_text(tmp_path: Path) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    row: Row = {
        "messages": [
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": "1"},
            {"role": "assistant", "content": "a"},
        ]
    }
    out = tmp_path / "out.jsonl"
    files.convert_for(written(tmp_path, row), out, "openai")
    assert rows_of(out)[0]["messages"][1] == {"role": "assistant", "tool_calls": [call]}


def test_a_role_word_of_another_format_is_not_carried_into_sharegpt(tmp_path: Path) -> None:
    row = {"messages": [{"role": "user", "content": "q"}, {"role": "model", "content": "a"}]}
    out = tmp_path / "out.jsonl"
    convert(written(tmp_path, row), out, to="sharegpt")
    assert [turn["from"] for turn in rows_of(out)[0]["conversations"]] == ["human", "gpt"]


def test_a_loss_that_is_allowed_is_taken_even_where_the_row_could_stay(tmp_path: Path) -> None:
    row = {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a", "weight": 0.5}]}
    out = tmp_path / "out.jsonl"
    convert(written(tmp_path, row), out, to="sharegpt", allow=["weights", "weights-fraction"])
    assert "weight" not in rows_of(out)[0]["conversations"][1]


def test_tools_that_are_no_functions_are_refused_where_only_functions_go(tmp_path: Path) -> None:
    row: Row = {
        "contents": [{"role": "user", "parts": [{"text": "q"}]}, {"role": "model", "parts": [{"text": "a"}]}],
        "tools": [{"googleSearch": {}}],
    }
    outcome = convert(written(tmp_path, row), tmp_path / "out.jsonl", to="anthropic")
    assert [finding.rule for finding in outcome.errors] == ["cannot-other-tools"]


def test_a_folder_with_splits_asks_which_one_is_meant(tmp_path: Path) -> None:
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    with pytest.raises(DataError, match="give the one that is meant"):
        Dataset.open(tmp_path)


def test_a_file_that_another_vendor_writes_otherwise_says_how_to_write_it(tmp_path: Path) -> None:
    part: Row = {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="}}
    row: Row = {"messages": [{"role": "user", "content": [part]}, {"role": "assistant", "content": "a"}]}
    found = next(losses(next(iter(written(tmp_path, row))), format_named("gemini")))
    assert (found.rule, found.path) == ("cannot-other-parts", "messages[0].content[0]")
    assert '{"url": ..., "mime_type": ...}' in found.fix


@pytest.mark.parametrize("to", ["gemini", "openai"])
def test_texts_as_the_responses_api_has_them_say_what_their_type_should_be(tmp_path: Path, to: str) -> None:
    parts: list[Row] = [{"type": "input_text", "text": "q"}]
    row: Row = {"messages": [{"role": "user", "content": parts}, {"role": "assistant", "content": "a"}]}
    dataset = written(tmp_path, row)
    if to == "gemini":
        fixes = [found.fix for found in losses(next(iter(dataset)), format_named(to))]
    else:
        verdict = check(dataset, (to,)).targets[0]
        fixes = [reason.fix for reason in verdict.reasons]
    assert any("Write `text` as" in fix for fix in fixes)
    assert not any("--allow-loss other-parts" in fix for fix in fixes)


@pytest.mark.parametrize("mark", ["<|im_end|>", "<|im_start|>user"])
def test_chatml_holds_no_text_with_its_own_marks(tmp_path: Path, mark: str) -> None:
    row: Row = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": f"a {mark}"}]}
    found = [
        one for one in losses(next(iter(written(tmp_path, row))), format_named("chatml")) if one.severity == "error"
    ]
    assert [(one.rule, one.path) for one in found] == [("cannot-marks", "messages[1].content")]


READ_ONLY = [entry for entry in FORMATS if entry.render is None]


@pytest.mark.parametrize("entry", READ_ONLY, ids=[entry.name for entry in READ_ONLY])
def test_a_format_that_is_not_written_has_one_of_its_kind_to_convert_to(entry: Format) -> None:
    assert format_named(entry.kind).render is not None
    assert format_named(entry.kind).kind == entry.kind


def test_rows_of_a_format_that_is_not_written_say_what_to_convert_them_to(tmp_path: Path) -> None:
    dataset = written(tmp_path, {"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: q\n\nAssistant: b"})
    with pytest.raises(DataError, match=r"hh can be read, not written; .* --to preference --out FILE"):
        files.sample(dataset, tmp_path / "out.jsonl", rows=1)
