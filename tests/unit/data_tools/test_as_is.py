"""Commands that only choose among rows write them back as they were: nothing renamed, nothing lost, nothing added."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from finetune_sdk.data import Dataset
from finetune_sdk.data.convert import Outcome, convert, merge
from finetune_sdk.data.tools import files
from finetune_sdk.data.tools.scan import leaving
from finetune_sdk.data.tools.splits import Units

ROWS: dict[str, dict[str, Any]] = {
    "anthropic": {
        "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": "q"},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "t", "signature": "x"},
                    {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1.0}, "cache_control": None},
                ],
            },
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "r", "is_error": True}],
            },
            {"role": "assistant", "content": "ok"},
        ],
    },
    "bedrock": {
        "schemaVersion": "mine",
        "messages": [
            {
                "role": "user",
                "content": [{"image": {"format": "png", "source": {"s3Location": {"uri": "s3://b/a.png", "x": "1"}}}}],
            },
            {"role": "assistant", "content": [{"text": "a"}]},
        ],
    },
    "chat": {
        "messages": [
            {"role": "Human", "content": "q", "name": None},
            {"role": "assistant", "content": "a", "training": True, "reasoning": "why"},
        ],
        "functions": [{"name": "f"}],
        "id": 2**70,
    },
    "gemini": {
        "system_instruction": {"role": "system", "parts": [{"text": "s"}]},
        "contents": [{"role": "user", "parts": [{"text": "q"}]}, {"role": "model", "parts": [{"text": "a"}]}],
    },
    "question-answer": {"question": "q", "answer": "a", "lang": None},
}


def sampled(dataset: Dataset, out: Path) -> Outcome:
    return files.sample(dataset, out, rows=1)


def deduped(dataset: Dataset, out: Path) -> Outcome:
    return files.dedupe(dataset, out)


def split(dataset: Dataset, out: Path) -> Outcome:
    return files.split(dataset, {"train": out}, {"train": 1.0}, Units(seed=1), exact=False)


def merged(dataset: Dataset, out: Path) -> Outcome:
    return merge(dataset, out)


@pytest.mark.parametrize("operation", [sampled, deduped, split, merged])
@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
def test_a_chosen_row_is_written_as_it_was(tmp_path: Path, row: dict[str, Any], operation: Any) -> None:
    path, out = tmp_path / "t.jsonl", tmp_path / "out.jsonl"
    path.write_text(json.dumps(row) + "\n")
    outcome = operation(Dataset.open(path), out)
    assert outcome.errors == ()
    assert out.read_text() == json.dumps(row, separators=(",", ":"), ensure_ascii=False) + "\n"


def test_rows_of_another_format_are_written_in_the_first_ones(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps(ROWS["chat"]) + "\n")
    (tmp_path / "b.jsonl").write_text(json.dumps({"instruction": "i", "output": "o"}) + "\n")
    merge(Dataset.open([tmp_path / "a.jsonl", tmp_path / "b.jsonl"]), tmp_path / "out.jsonl")
    first, second = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert (first, [message["role"] for message in second["messages"]]) == (ROWS["chat"], ["user", "assistant"])


def test_a_place_in_another_account_survives_conversion_to_its_own_format(tmp_path: Path) -> None:
    place = {"uri": "s3://b/a.png", "bucketOwner": "111122223333"}
    content = [{"text": "q"}, {"image": {"format": "png", "source": {"s3Location": place}}}]
    row = {
        "schemaVersion": "bedrock-conversation-2024",
        "messages": [{"role": "user", "content": content}, {"role": "assistant", "content": [{"text": "a"}]}],
    }
    (tmp_path / "t.jsonl").write_text(json.dumps(row) + "\n")
    convert(Dataset.open(tmp_path / "t.jsonl"), tmp_path / "out.jsonl", to="bedrock-converse")
    assert json.loads((tmp_path / "out.jsonl").read_text()) == row


@pytest.mark.parametrize("allowed", [(), ("secret",), ("secret", "personal-data")])
def test_what_would_leave_the_machine_is_an_error_until_it_is_allowed(tmp_path: Path, allowed: tuple[str, ...]) -> None:
    said = "token ghp_" + "a1B2" * 9 + ", mail jane.doe@gmail.com"
    turns = [{"role": "user", "content": said}, {"role": "assistant", "content": "ok"}]
    (tmp_path / "t.jsonl").write_text(json.dumps({"messages": turns}) + "\n")
    (example,) = Dataset.open(tmp_path / "t.jsonl")
    found = [(one.rule, one.severity, one.line, one.path) for one in leaving(example, allowed)]
    wanted = [("secret", "error", 1, "messages[0].content"), ("personal-data", "error", 1, "messages[0].content")]
    assert found == [one for one in wanted if one[0] not in allowed]
