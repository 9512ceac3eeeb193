"""A `dataset_info.json` beside a file says how to read it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from finetune_sdk.data import Dataset
from finetune_sdk.data.example import ChatExample, Example, PreferenceExample


def read(folder: Path, row: dict[str, Any], entry: dict[str, Any]) -> Example:
    (folder / "d.json").write_text(json.dumps([row]))
    (folder / "dataset_info.json").write_text(json.dumps({"mine": {"file_name": "d.json", **entry}}))
    (example,) = Dataset.open(folder / "d.json")
    return example


def test_declared_columns_are_read_as_alpaca(tmp_path: Path) -> None:
    example = read(
        tmp_path,
        {"q": "ask", "a": "answer", "s": "be kind"},
        {"columns": {"prompt": "q", "response": "a", "system": "s"}},
    )
    assert isinstance(example, ChatExample)
    assert [(message.role, message.text) for message in example.messages] == [
        ("system", "be kind"),
        ("user", "ask"),
        ("assistant", "answer"),
    ]


def test_declared_tags_are_read_as_sharegpt_preferences(tmp_path: Path) -> None:
    example = read(
        tmp_path,
        {
            "talk": [{"who": "U", "says": "ask"}],
            "better": {"who": "A", "says": "good"},
            "worse": {"who": "A", "says": "bad"},
        },
        {
            "formatting": "sharegpt",
            "ranking": True,
            "columns": {"messages": "talk", "chosen": "better", "rejected": "worse"},
            "tags": {"role_tag": "who", "content_tag": "says", "user_tag": "U", "assistant_tag": "A"},
        },
    )
    assert isinstance(example, PreferenceExample)
    assert [turn.text for turn in (*example.prompt, *example.chosen, *example.rejected)] == ["ask", "good", "bad"]


def test_the_declaration_is_the_evidence(tmp_path: Path) -> None:
    read(tmp_path, {"q": "ask", "a": "answer"}, {"columns": {"prompt": "q", "response": "a"}})
    assert "declares it as 'mine'" in Dataset.open(tmp_path / "d.json").detection[0].evidence


def test_the_users_own_columns_go_first(tmp_path: Path) -> None:
    read(tmp_path, {"q": "ask", "a": "answer"}, {"columns": {"prompt": "q", "response": "a"}})
    (example,) = Dataset.open(tmp_path / "d.json", columns={"prompt": "a", "completion": "q"})
    assert isinstance(example, ChatExample)
    assert example.messages[0].text == "answer"
