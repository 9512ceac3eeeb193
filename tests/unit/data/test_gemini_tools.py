"""Gemini's tool definitions: Google's words for types become JSON Schema's for everybody else, and stay for Google."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from finetune_sdk.data import Dataset
from finetune_sdk.data.convert import convert

SCHEMA = {
    "type": "OBJECT",
    "properties": {
        "city": {"type": "STRING", "enum": ["STRING", "OBJECT"]},
        "type": {"type": "ARRAY", "items": {"type": "INTEGER"}},
        "default": {"type": "NUMBER", "default": "NUMBER"},
    },
}


def _converted(folder: Path, tools: object, to: str) -> Any:
    contents = [{"role": "user", "parts": [{"text": "Hi"}]}, {"role": "model", "parts": [{"text": "Ho"}]}]
    (folder / "rows.jsonl").write_text(json.dumps({"contents": contents, "tools": tools}) + "\n")
    convert(Dataset.open(folder / "rows.jsonl"), folder / "out.jsonl", to=to)
    return json.loads((folder / "out.jsonl").read_text())["tools"]


def test_types_in_capitals_are_json_schemas_types_in_other_formats(tmp_path: Path) -> None:
    tools = _converted(tmp_path, [{"functionDeclarations": [{"name": "look", "parameters": SCHEMA}]}], "chat")
    assert tools[0]["function"]["parameters"] == {
        "type": "object",
        "properties": {
            "city": {"type": "string", "enum": ["STRING", "OBJECT"]},
            "type": {"type": "array", "items": {"type": "integer"}},
            "default": {"type": "number", "default": "NUMBER"},
        },
    }


@pytest.mark.parametrize(
    "tools",
    [
        [{"functionDeclarations": [{"name": "look", "parameters": SCHEMA}]}],
        [{"function_declarations": [{"name": "a"}]}, {"function_declarations": [{"name": "b"}]}],
    ],
    ids=["capitals", "snake case in two groups"],
)
def test_definitions_written_for_google_again_stay_as_they_were(tmp_path: Path, tools: object) -> None:
    assert _converted(tmp_path, tools, "gemini") == tools
