"""Which format a file is in, and why: a separate question, whose answer is shown and can be overridden.

Rows are sampled from the head and, where the file can be sought, from its middle and its tail.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from finetune_sdk.data.columns import renamed
from finetune_sdk.data.containers import Opened, open_file
from finetune_sdk.data.example import KIND_NAMES, Kind
from finetune_sdk.data.formats import FORMATS, Format, format_named
from finetune_sdk.data.jsonvalue import Object, as_list, as_object, type_name
from finetune_sdk.data.readers import Chunk, read_rows, rows_of_chunk
from finetune_sdk.data.report import Fault

SAMPLE_ROWS = 200
_TAIL_BYTES = 1 << 20
_LONG_KEY = 40  # longer names are texts


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """How one file is read, with the evidence."""

    file: str
    container: str
    format: str
    kind: Kind
    evidence: str
    """For a person: what in the rows says so."""
    confidence: float
    """Share of the sampled rows that are of this format; 1.0 when the format was given."""
    sampled: int
    also: tuple[str, ...] = ()
    """Other formats whose rules the rows match as well, less specific than this one."""

    def __str__(self) -> str:
        share = "" if self.confidence == 1 else f" in {self.confidence:.0%} of {self.sampled} sampled rows"
        others = [name for name in self.also if format_named(name).kind != self.kind]
        also = f"; `--as {others[0]}` would read {KIND_NAMES[format_named(others[0]).kind]}" if others else ""
        return f"{self.file}: {self.format} ({KIND_NAMES[self.kind]}; {self.container}): {self.evidence}{share}{also}"


def detect(
    path: Path | str,
    *,
    format: str | None = None,  # noqa: A002 - the name users write
    columns: Mapping[str, str] | None = None,
    prefer: Sequence[Kind] = (),
) -> Detection:
    """The file's format. `prefer` settles what rows alone cannot: text with a label may be meant as plain text.

    Raises `Fault` when no format matches or two do; `DataError` when the file or the format's name is unknown.
    """
    path = Path(path)
    with open_file(path) as opened:
        container = opened.container + (f", {opened.compression}" if opened.compression else "")
        rows = _sample(path, opened)
    rows = [renamed(row, columns) for row in rows] if columns else rows
    if format is not None:
        given = format_named(format)
        return _answer(path, container, given, evidence="given by the user", sampled=len(rows))
    return _vote(path, container, rows, columns or {}, prefer)


def _sample(path: Path, opened: Opened) -> list[Object]:
    rows: list[Object] = []

    def ignore(line: int | None, fault: Fault) -> None:
        """Rows that cannot be read are reported when the file is read, not here."""

    for _, row in read_rows(opened, ignore):
        rows.append(row)
        if len(rows) >= SAMPLE_ROWS:
            break
    if len(rows) >= SAMPLE_ROWS and opened.container == "jsonl" and opened.compression is None:
        rows += _later_rows(path)
    return rows


def _later_rows(path: Path) -> list[Object]:
    rows: list[Object] = []
    size = path.stat().st_size if path.is_file() else 0  # standard input and pipes have no middle
    if size < 4 * _TAIL_BYTES:
        return rows
    with path.open("rb") as stream:
        for start in (size // 2, size - _TAIL_BYTES):
            stream.seek(start)
            chunk = stream.read(_TAIL_BYTES)
            whole = chunk[chunk.find(b"\n") + 1 : chunk.rfind(b"\n") + 1]
            found = rows_of_chunk(1, Chunk(whole), lambda _line, _fault: None)
            rows += [row for _, row in zip(range(SAMPLE_ROWS), (row for _, row in found), strict=False)]
    return rows


def _vote(
    path: Path, container: str, rows: list[Object], columns: Mapping[str, str], prefer: Sequence[Kind]
) -> Detection:
    if not rows:
        raise Fault("no-rows", None, "no row could be read", "See the other findings.")
    if len(rows) == 1:
        _refuse_columns(rows[0])
    matches = [_matches(row, columns) for row in rows]
    votes = Counter(name for found in matches for name in found)
    if not votes:
        raise _unknown(rows[0])
    most = max(votes.values())
    if votes["text"] == most and "text" not in prefer:  # labels that a few rows lack make no plain text
        most = max((count for name, count in votes.items() if name != "text" and 2 * count > len(rows)), default=most)
    best = [entry for entry in FORMATS if votes[entry.name] == most]
    chosen = next((entry for entry in best if entry.kind in prefer and entry.kind == "text"), best[0])
    chosen = next((entry for entry in FORMATS if entry.extends == chosen.name and votes[entry.name]), chosen)
    if chosen.kind != "text":
        _refuse_two_conversations(rows[0])
    first = next(found[chosen.name] for found in matches if chosen.name in found)
    also = tuple(entry.name for entry in best if entry is not chosen)
    share = most / len(rows)
    return _answer(path, container, chosen, evidence=first, sampled=len(rows), confidence=share, also=also)


def _matches(row: Object, columns: Mapping[str, str]) -> dict[str, str]:
    mapped = {key: row[key] for key in columns if key in row}
    for candidate in (mapped, row) if mapped else (row,):
        found = {entry.name: evidence for entry in FORMATS if (evidence := entry.match(candidate))}
        if found:
            return found
    return {}


def _answer(
    path: Path,
    container: str,
    entry: Format,
    *,
    evidence: str,
    sampled: int,
    confidence: float = 1.0,
    also: tuple[str, ...] = (),
) -> Detection:
    return Detection(
        file=str(path),
        container=container,
        format=entry.name,
        kind=entry.kind,
        evidence=evidence,
        confidence=confidence,
        sampled=sampled,
        also=also,
    )


def _refuse_two_conversations(row: Object) -> None:
    for pair in (("prompt", "completion"), ("instruction", "output")):
        if row.get("messages") and all(isinstance(row.get(key), str) and row[key] for key in pair):
            raise Fault(
                "format-ambiguous",
                None,
                f"the rows hold two conversations: `messages`, and `{pair[0]}` with `{pair[1]}`",
                f"Say which one: `format: chat` or `format: {_NAMES[pair[0]]}` (`--as`), or drop one.",
            )
    if row.get("messages") and row.get("conversations"):
        raise Fault(
            "format-ambiguous",
            None,
            "the rows hold two conversations, `messages` and `conversations`",
            "Say which one: `format: chat` or `format: sharegpt` with `columns: {conversations: ...}`, or drop one.",
        )


def _refuse_columns(row: Object) -> None:
    """One object that holds a whole table, a column a key: pandas' `to_json`, or `Dataset.to_dict`."""
    columns = list(row.values())
    numbered = all((found := as_object(value)) and all(str(key).isdigit() for key in found) for value in columns)
    lists = [as_list(value) or [] for value in columns]
    flat = not any(isinstance(item, dict | list) for items in lists for item in items)
    listed = flat and all(lists) and len(set(map(len, lists))) == 1 and any(key.lower() in _KNOWN_KEYS for key in row)
    if len(row) > 1 and (numbered or listed or {"columns", "index", "data"} == row.keys()):
        raise Fault(
            "format-columns",
            None,
            f"the file holds columns, not rows: {', '.join(map(repr, list(row)[:8]))}",
            'Write one object a row, such as `df.to_json(path, orient="records", lines=True)`.',
        )


_NAMES = {"prompt": "prompt-completion", "instruction": "alpaca"}

_STRANGERS = (
    ({"input_ids"}, "the rows are tokenised already", "Give the texts: token ids fit one tokenizer only."),
    ({"tokens", "ner_tags"}, "the rows label single tokens, but not as lists", "Write tokens and tags as two lists."),
    ({"tokens", "tags"}, "the rows label single tokens, but not as lists", "Write tokens and tags as two lists."),
    ({"error"}, "this is a server's error answer, not data", "Download the file again."),
)
"""Rows of known kinds that nothing here learns from: keys, what they are, what to do."""

_KNOWN_KEYS = (
    *("messages", "conversations", "prompt", "completion", "chosen", "rejected", "label", "text", "instruction"),
    *("input", "output", "question", "answer", "contents", "preferred_output", "non_preferred_output"),
)


def _unknown(row: Object) -> Fault:
    keys = [str(key) for key in row]
    stranger = next(((what, fix) for marks, what, fix in _STRANGERS if marks <= set(keys)), None)
    if stranger is not None and (len(keys) == 1 or "error" not in keys):
        return Fault("format-unknown", None, f"{stranger[0]}: {', '.join(map(repr, keys[:12]))}", stranger[1])
    odd = {key: type_name(row[key]) for key in keys if key.lower() in _KNOWN_KEYS and not isinstance(row[key], str)}
    if odd:
        shown = ", ".join(f"{key!r} is {kind}" for key, kind in odd.items())
        return Fault(
            "format-unknown",
            None,
            f"no known format has the keys {', '.join(map(repr, keys[:12]))} with such values: {shown}",
            f"Write texts as text and conversations as lists of messages. {_mapping(keys)}",
        )
    if any(len(key) > _LONG_KEY or key.endswith(("?", ".", "!")) or key.isdigit() for key in keys):
        return Fault(
            "format-unknown",
            None,
            f"the first row looks like data, not like a header: {', '.join(map(repr, keys[:6]))}",
            "Write the columns' names into the first row, such as prompt,completion.",
        )
    better = _joined(keys) or _wrapped(row)
    if better is not None:
        return better
    near = [
        f"{key!r} ~ {close[0]!r}"
        for key in keys
        if (close := difflib.get_close_matches(key.lower(), _KNOWN_KEYS, n=1, cutoff=0.72)) and close[0] != key
    ]
    hint = f" Nearest: {', '.join(near)}." if near else ""
    return Fault(
        "format-unknown",
        None,
        f"no known format has the keys {', '.join(map(repr, keys[:12])) or '(none)'}.{hint}".rstrip("."),
        _mapping(keys),
    )


def _wrapped(row: Object) -> Fault | None:
    """Rows of a known format that lie one level down, such as in `data` or `train`."""
    talk = (*_KNOWN_KEYS, "conversation", "turns", "dialog", "dialogue", "history")
    inside = {key: items for key, value in row.items() if key not in talk and (items := as_list(value))}
    for key, items in inside.items():
        first = as_object(items[0]) or {}
        name = next((entry.name for entry in FORMATS if entry.match(first)), None)
        if name is not None:
            others = "".join(f", {len(more):,} in {other!r}" for other, more in inside.items() if other != key)
            return Fault(
                "format-wrapped",
                None,
                f"the rows are one level down: {len(items):,} in {key!r}{others}, such as of the format {name}",
                f"Take out those that are meant: `jq -c '.{key}[]' IN > OUT.jsonl`.",
            )
    return None


def _mapping(keys: list[str]) -> str:
    """The column mapping that rows with such keys most likely need."""
    if any("reject" in key.lower() for key in keys):
        return "Map the columns: `columns: {prompt: KEY, chosen: KEY, rejected: KEY}`."
    return "Map the columns, such as `columns: {prompt: KEY, completion: KEY}` or `{text: KEY, label: KEY}`."


def _joined(keys: list[str]) -> Fault | None:
    """A table whose delimiter nobody expects: all its columns are one."""
    signs = re.findall(r"(?<=\w)([^\w\s.\-])(?=\w)", keys[0]) if len(keys) == 1 else []
    if not signs or not any(part.lower() in _KNOWN_KEYS for part in keys[0].split(signs[0])):
        return None
    return Fault(
        "format-unknown",
        None,
        f"there is one column, {keys[0]!r}. Is {signs[0]!r} the delimiter?",
        "Separate the columns by commas, semicolons, tabs or |.",
    )
