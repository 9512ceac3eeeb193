"""LLaMA-Factory's `dataset_info.json`: where one beside a file names it, its columns and tags say how to read it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetune_sdk.data.jsonvalue import Object, as_list, as_object

FILE = "dataset_info.json"
_ALPACA = {"prompt": "instruction", "query": "input", "response": "output"}
_SHAREGPT = {"messages": "conversations"}
_SAME = ("system", "tools", "history", "chosen", "rejected", "kto_tag", "images")
_WORDS = {
    "user_tag": "human",
    "assistant_tag": "gpt",
    "observation_tag": "observation",
    "function_tag": "function_call",
    "system_tag": "system",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """How one file is laid out, according to its declaration."""

    name: str
    """The entry's name."""
    format: str
    columns: Mapping[str, str] = field(default_factory=dict[str, str])
    """Theirs to ours."""
    role_key: str = "from"
    text_key: str = "value"
    words: Mapping[str, str] = field(default_factory=dict[str, str])
    """Their role words to ShareGPT's."""

    def row(self, row: Object) -> Object:
        """The row as the format names its keys; columns that are not declared are kept as they are."""
        found = {self.columns.get(key, key): value for key, value in row.items()}
        if self.format.startswith("sharegpt"):
            turns = as_list(found.get("conversations"))
            if turns is not None:
                found["conversations"] = [self._turn(turn) for turn in turns]
            for side in ("chosen", "rejected"):
                if side in found:
                    found[side] = self._turn(found[side])
        return found

    def _turn(self, turn: Any) -> Any:
        found = as_object(turn)
        if found is None or self.role_key not in found:
            return turn
        word = found[self.role_key]
        kept = {key: value for key, value in found.items() if key not in (self.role_key, self.text_key)}
        return {"from": self.words.get(word, word), "value": found.get(self.text_key), **kept}


def declared(path: Path) -> Declared | None:
    """The declaration for this file, None where there is none (or it says nothing beyond the defaults)."""
    info = path.parent / FILE
    if not info.is_file():
        return None
    try:
        entries = as_object(json.loads(info.read_text(encoding="utf-8"))) or {}
    except (OSError, ValueError):
        return None
    for name, value in entries.items():
        entry = as_object(value)
        if entry is not None and entry.get("file_name") == path.name:
            return _declared(name, entry)
    return None


def _declared(name: str, entry: Object) -> Declared | None:
    kind = entry.get("formatting", "alpaca")
    columns = {str(ours): str(theirs) for ours, theirs in (as_object(entry.get("columns")) or {}).items() if theirs}
    if kind not in ("alpaca", "sharegpt"):
        return None
    names = {**(_ALPACA if kind == "alpaca" else _SHAREGPT), **{key: key for key in _SAME}}
    tags = as_object(entry.get("tags")) or {}
    suffix = "-preference" if entry.get("ranking") else "-unpaired" if "kto_tag" in columns else ""
    return Declared(
        name=name,
        format=f"{kind}{suffix}",
        columns={theirs: names[ours] for ours, theirs in columns.items() if ours in names},
        role_key=str(tags.get("role_tag", "from")),
        text_key=str(tags.get("content_tag", "value")),
        words={str(tags[tag]): word for tag, word in _WORDS.items() if tag in tags},
    )
