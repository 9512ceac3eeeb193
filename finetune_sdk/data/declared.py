"""LLaMA-Factory's `dataset_info.json`: where one beside a file names it, its columns and tags say how to read it.

As there, columns that a declaration does not list are not read, once it lists any.
"""

from __future__ import annotations

import difflib
import functools
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetune_sdk.data.jsonvalue import Object, as_list, as_object
from finetune_sdk.data.report import Fault, Note
from finetune_sdk.types import Finding

FILE = "dataset_info.json"
SOURCE = "https://github.com/hiyouga/LLaMA-Factory/blob/v0.9.5/src/llamafactory/data/parser.py"

_SAME = {key: key for key in ("system", "tools", "chosen", "rejected", "kto_tag", "images", "videos", "audios")}
_NAMES: dict[str, dict[str, str]] = {
    "alpaca": {"prompt": "instruction", "query": "input", "response": "output", "history": "history", **_SAME},
    "sharegpt": {"messages": "conversations", **_SAME},
    "openai": {"messages": "messages", **_SAME},
}
"""By formatting: their name of a column, and ours."""
_ESSENTIAL = ("instruction", "output", "conversations", "messages", "chosen", "rejected", "kto_tag", "text")
_FORMATS: dict[str, tuple[str, str, str]] = {
    "alpaca": ("alpaca", "alpaca-preference", "alpaca-unpaired"),
    "sharegpt": ("sharegpt", "sharegpt-preference", "sharegpt-unpaired"),
    "openai": ("chat", "preference", "messages-unpaired"),
}
"""By formatting: conversations, ranking, KTO."""
_WORDS = {
    "sharegpt": {"user": "human", "assistant": "gpt", "observation": "observation", "function": "function_call"},
    "openai": {"user": "user", "assistant": "assistant", "observation": "tool", "function": "function_call"},
}
_KEYS = ("from", "value")
_MESSAGE_KEYS = ("role", "content")
_KNOWN_TAGS = (
    *("role_tag", "content_tag", "user_tag", "assistant_tag", "observation_tag", "function_tag", "system_tag"),
)
_ELSEWHERE = ("num_samples", "split", "subset", "folder")
"""What says how many rows, or which part of a dataset of a hub; a file is read whole."""
_KNOWN = frozenset(
    (
        *("file_name", "formatting", "ranking", "columns", "tags", *_ELSEWHERE),
        *("hf_hub_url", "ms_hub_url", "om_hub_url", "script_url", "cloud_file_name", "file_sha1"),
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """How one file is laid out, according to its declaration."""

    name: str
    """The entry's name."""
    format: str
    columns: Mapping[str, str] = field(default_factory=dict[str, str])
    """Theirs to ours."""
    unlisted: Collection[str] = ()
    """Our names of columns that the declaration leaves out: a row's keys of such a name are not read."""
    keys: tuple[str, str] = _KEYS
    """A turn's own keys of who speaks and what is said."""
    words: Mapping[str, str] = field(default_factory=dict[str, str])
    """Their role words to those of the format."""
    findings: tuple[Finding, ...] = ()
    """What the declaration says that is not followed."""
    also: tuple[str, ...] = ()
    """Other entries that declare the same file in another way."""

    @property
    def evidence(self) -> str:
        others = (
            f" (also as {', '.join(map(repr, self.also))}: name a format to read it otherwise)" if self.also else ""
        )
        return f"{FILE} beside it declares it as {self.name!r}{others}"

    def row(self, row: Object, note: Note) -> Object:
        """The row as the format names its keys. Raises `Fault` where a declared column is missing."""
        self._all_there(row)
        found = {ours: row[theirs] for theirs, ours in self.columns.items() if theirs in row}
        others = {key: value for key, value in row.items() if key not in self.columns and key not in found}
        left = [key for key in others if key in self.unlisted]
        if left:
            which = ", ".join(map(repr, left))
            note("column-unlisted", left[0], f"{FILE} does not list {which}: not read", "List what should be read.")
        found |= {key: value for key, value in others.items() if key not in self.unlisted}
        key = next((key for key in ("conversations", "messages") if key in found), None)
        turns = as_list(found.get(key)) if key is not None else None
        if key is not None and turns is not None:
            found[key] = [self._turn(turn) for turn in turns]
            start = found.pop("system", None) if key == "messages" else None
            if isinstance(start, str) and start:
                found[key].insert(0, {"role": "system", "content": start})
        for side in ("chosen", "rejected"):
            if side in found:
                found[side] = self._turn(found[side])
        return found

    def _all_there(self, row: Object) -> None:
        missing = next(
            (theirs for theirs, ours in self.columns.items() if theirs not in row and ours in _ESSENTIAL), None
        )
        if missing is not None:
            raise Fault(
                "column-missing",
                missing,
                f"{FILE} names the column {missing!r}, which the row lacks{_close(missing, row)}",
                f"Correct the entry {self.name!r}. The row has: {', '.join(map(repr, row))}.",
            )

    def _turn(self, turn: Any) -> Any:
        found, (role_key, text_key) = as_object(turn), self.keys
        if found is None or role_key not in found:
            return turn
        word, said = self.words.get(found[role_key], found[role_key]), found.get(text_key)
        kept = {key: value for key, value in found.items() if key not in self.keys}
        if self.format.startswith("sharegpt"):
            return {"from": word, "value": said, **kept}
        if word == "function_call" and "tool_calls" not in kept:
            return {"role": "assistant", "content": None, "tool_calls": _calls(said), **kept}
        content = {"content": said} if text_key in found else {}
        return {"role": "assistant" if word == "function_call" else word, **content, **kept}


def _calls(said: Any) -> Any:
    try:
        value: Any = json.loads(said)
    except (TypeError, ValueError):
        return said
    return [value] if isinstance(value, dict) else value


def declared(path: Path) -> Declared | None:
    """The declaration for this file, None where there is none. Raises `Fault` where it cannot be followed."""
    for folder in (path.parent, path.parent.parent):
        info = folder / FILE
        entries = _entries(info, info.stat().st_mtime_ns) if info.is_file() else {}
        place = path.relative_to(folder).as_posix()
        found = {name: entry for name, entry in entries.items() if _is_about(entry.get("file_name"), place)}
        if found:
            return _chosen(found)
    return None


@functools.lru_cache(maxsize=8)
def _entries(info: Path, _changed: int) -> dict[str, Object]:
    try:
        found = as_object(json.loads(info.read_text(encoding="utf-8"))) or {}
    except OSError:
        return {}
    except ValueError as error:
        raise Fault(
            "declaration-broken",
            None,
            f"the {FILE} beside it is not JSON: {error}",
            "Repair or move it, or name the format.",
        ) from None
    return {name: entry for name, value in found.items() if (entry := as_object(value)) is not None}


def _is_about(named: object, place: str) -> bool:
    """Whether an entry's file or folder is this one."""
    if not isinstance(named, str) or not named:
        return False
    named = named.removeprefix("./").rstrip("/")
    return named == place or place.startswith(f"{named}/")


def _chosen(found: Mapping[str, Object]) -> Declared:
    name, entry = next(iter(found.items()))
    others = tuple(other for other, value in found.items() if value != entry)
    return _declared(name, entry, others)


def _declared(name: str, entry: Object, also: tuple[str, ...]) -> Declared:
    kind = entry.get("formatting", "alpaca")
    if kind not in _NAMES:
        raise Fault(
            "declaration-formatting",
            None,
            f"{FILE} declares it as {name!r} with the formatting {kind!r}",
            f"Known are {', '.join(_NAMES)}; or name the format.",
        )
    names = _NAMES[kind]
    columns = {str(theirs): str(ours) for theirs, ours in (as_object(entry.get("columns")) or {}).items() if ours}
    tags = {str(tag): str(word) for tag, word in (as_object(entry.get("tags")) or {}).items() if word}
    conversation, ranking, unpaired = _FORMATS[kind]
    format_ = ranking if entry.get("ranking") else unpaired if "kto_tag" in columns else conversation
    if kind == "alpaca" and format_ == conversation and "prompt" in columns and "response" not in columns:
        names, format_ = {"prompt": "text"}, "text"  # how texts to go on from are declared
    usual = _MESSAGE_KEYS if kind == "openai" else _KEYS
    words = _WORDS.get(kind, {})
    return Declared(
        name=name,
        format=format_,
        columns={columns[ours]: names[ours] for ours in columns if ours in names},
        unlisted=frozenset(ours for theirs, ours in names.items() if theirs not in columns) if columns else (),
        keys=(tags.get("role_tag", usual[0]), tags.get("content_tag", usual[1])),
        words={tags[f"{role}_tag"]: words.get(role, role) for role in (*words, "system") if f"{role}_tag" in tags},
        findings=tuple(_unfollowed(name, entry, columns, tags)),
        also=also,
    )


def _unfollowed(name: str, entry: Object, columns: Collection[str], tags: Collection[str]) -> Iterator[Finding]:
    for where, given, known in (
        ("", entry, _KNOWN),
        ("columns.", columns, {key for names in _NAMES.values() for key in names}),
        ("tags.", tags, _KNOWN_TAGS),
    ):
        for key in given:
            if key not in known:
                what = f"{FILE}: {name}.{where}{key} means nothing{_close(key, known)}"
                yield Finding(rule="declaration-key", severity="warning", message=what, fix="Correct or remove it.")
    for key in _ELSEWHERE:
        if entry.get(key) is not None:
            what = f"{FILE}: {name}.{key} = {entry[key]!r} is not followed: the whole file is read"
            fix = f"`finetune data sample -n {entry[key]}` takes so many." if key == "num_samples" else ""
            yield Finding(rule="declaration-part", severity="info", message=what, fix=fix)


def _close(word: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(word, [str(key) for key in known], n=1)
    return f"; did you mean {close[0]!r}?" if close and close[0] != word else ""
