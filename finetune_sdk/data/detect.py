"""Which format a file is in, and why: a separate question, whose answer is shown and can be overridden.

Rows are sampled from the head and, where the file can be sought, from its middle and its tail.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from finetune_sdk.data.chunked import Chunk, chunks, guarded
from finetune_sdk.data.columns import renamed
from finetune_sdk.data.containers import Opened, open_file
from finetune_sdk.data.example import KIND_NAMES, Kind
from finetune_sdk.data.formats import FORMATS, Format, format_named
from finetune_sdk.data.formats.dialogues import who_speaks
from finetune_sdk.data.formats.pairs import compared, listed_answers
from finetune_sdk.data.formats.published import YIELDS, only_questions
from finetune_sdk.data.jsonvalue import Object, as_list, as_object, type_name
from finetune_sdk.data.readers import read_rows, rows_of_chunk
from finetune_sdk.data.report import Fault
from finetune_sdk.data.shapes import NotPlain
from finetune_sdk.data.straight import TO_CHAT
from finetune_sdk.data.strict import decode

SAMPLE_ROWS = 200
_TAIL_BYTES = 1 << 20
_START = 16
"""Chunks that are looked at together, at most: rows may be very long."""
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
    sample = _Sample(columns or {})
    with open_file(path) as opened:
        container = opened.container + (f", {opened.compression}" if opened.compression else "")
        _look(path, opened, sample)
    if format is not None:
        given = format_named(format)
        return _answer(path, container, given, evidence="given by the user", sampled=len(sample.matches))
    return _vote(path, container, sample, prefer)


def _ignore(_line: int | None, _fault: Fault) -> None:
    """Rows that cannot be read are reported when the file is read, not here."""


class _Sample:
    """What the rows match that were looked at."""

    def __init__(self, columns: Mapping[str, str]) -> None:
        self.first: Object = {}
        self.matches: list[dict[str, str]] = []
        """For each row the evidence by the format's name."""
        self._columns = columns

    def take(self, rows: Iterable[Object]) -> None:
        """At most so many of the rows."""
        for row in islice(rows, SAMPLE_ROWS):
            known = renamed(row, self._columns) if self._columns else row
            self._add(known, _matches(known, self._columns), 1)

    def take_alike(self, lines: Sequence[bytes]) -> bool:
        """The lines in one go, if it is certain that all match what the first one matches, and nothing else."""
        if not lines or self._columns:
            return False
        try:
            row = as_object(decode(lines[0])) or {}
            found = _matches(row, {})
            lane = TO_CHAT.get(next(iter(found))) if len(found) == 1 else None
            if lane is None or lane.shape.cut(b"".join(lines)) is None:
                return False
        except (Fault, NotPlain):
            return False
        self._add(row, found, len(lines))
        return True

    def _add(self, row: Object, found: dict[str, str], times: int) -> None:
        self.first = self.first if self.matches else row
        self.matches += [found] * times


def _look(path: Path, opened: Opened, sample: _Sample) -> None:
    if opened.container != "jsonl":
        sample.take(row for _, row in read_rows(opened, _ignore))
        return
    _take_first(chunks(opened.stream), sample)
    if len(sample.matches) >= SAMPLE_ROWS and opened.compression is None:
        for part in _later_parts(path):
            _take_first(iter([(1, Chunk(part))]), sample)


def _take_first(items: Iterator[tuple[int, Chunk]], sample: _Sample) -> None:
    """The first rows of what follows."""
    items = guarded(items, _ignore)
    start: list[Chunk] = []
    lines: list[bytes] = []
    for _, chunk in items:
        start.append(chunk)
        lines += chunk.lines
        if len(lines) >= SAMPLE_ROWS or len(start) == _START:
            break
    few = len(lines) < SAMPLE_ROWS and len(start) == _START
    if few or not sample.take_alike(lines[:SAMPLE_ROWS]):
        parts = chain(start, (chunk for _, chunk in items))
        sample.take(row for chunk in parts for _, row in rows_of_chunk(1, chunk, _ignore))


def _later_parts(path: Path) -> Iterator[bytes]:
    """Whole lines from the middle and the end of a large file."""
    size = path.stat().st_size if path.is_file() else 0  # standard input and pipes have no middle
    if size < 4 * _TAIL_BYTES:
        return
    with path.open("rb") as stream:
        for start in (size // 2, size - _TAIL_BYTES):
            stream.seek(start)
            chunk = stream.read(_TAIL_BYTES)
            yield chunk[chunk.find(b"\n") + 1 : chunk.rfind(b"\n") + 1]


def _vote(path: Path, container: str, sample: _Sample, prefer: Sequence[Kind]) -> Detection:
    matches = sample.matches
    if not matches:
        raise Fault("no-rows", None, "no row could be read", "See the other findings.")
    if len(matches) == 1:
        _refuse_columns(sample.first)
    votes = Counter(name for found in matches for name in found)
    if not votes:
        raise _unknown(sample.first)
    most = max(votes.values())
    if votes["text"] == most and "text" not in prefer:  # labels that a few rows lack make no plain text
        others = [count for name, count in votes.items() if name != "text" and 2 * count > len(matches)]
        most = max(others, default=most)
    best = [entry for entry in FORMATS if votes[entry.name] == most]
    chosen = next((entry for entry in best if entry.kind in prefer and entry.name in _ASKED_FOR), best[0])
    chosen = next((entry for entry in FORMATS if entry.extends == chosen.name and votes[entry.name]), chosen)
    if chosen.kind != "text":
        _refuse_two_conversations(sample.first)
    first = next(found[chosen.name] for found in matches if chosen.name in found)
    also = tuple(entry.name for entry in best if entry is not chosen)
    share = most / len(matches)
    return _answer(path, container, chosen, evidence=first, sampled=len(matches), confidence=share, also=also)


_ASKED_FOR = ("text", "seq2seq")
"""What is read where the method needs it, though another reading is the likelier one."""


def _matches(row: Object, columns: Mapping[str, str]) -> dict[str, str]:
    mapped = {key: row[key] for key in columns if key in row}
    for candidate in (mapped, row) if mapped else (row,):
        found = {entry.name: evidence for entry in FORMATS if (evidence := entry.match(candidate))}
        if found:
            return {name: why for name, why in found.items() if not _yields(name, found)} or found
    return {}


def _yields(name: str, found: Mapping[str, str]) -> bool:
    """Whether a published shape is not what the row is, as it holds another conversation beside it."""
    return name in YIELDS and bool(found.keys() - YIELDS[name] - {name})


def another(row: Object, name: str) -> str | None:
    """The other conversation that a row of the published shape `name` holds beside it, if there is one."""
    others = (entry for entry in FORMATS if entry.name != name and entry.name not in YIELDS[name])
    return next((entry.name for entry in others if entry.match(row)), None)


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
    answers = (row.get("chosen"), row.get("rejected"))
    if row.get("messages") and all(isinstance(text, str) and text.startswith("\n\nHuman:") for text in answers):
        raise Fault(
            "format-ambiguous",
            None,
            "the rows hold two conversations: `messages`, and `chosen` and `rejected` of Human: and Assistant:",
            "Say which one: `format: chat` or `format: hh` (`--as`), or drop one.",
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
    (
        {"message_id", "parent_id", "role", "text"},
        "each row is one message of a tree of answers",
        "Put conversations together along `parent_id`, one a row, as messages.",
    ),
    ({"error"}, "this is a server's error answer, not data", "Download the file again."),
    *(
        (
            {who, said},
            "each row is one message of a conversation",
            "Put the messages of a conversation into one row, as a list under `messages`.",
        )
        for who, said in (("role", "content"), ("from", "value"), ("role", "value"))
    ),
    (
        {"meta_instruction", "chat"},
        "each turn holds thoughts, commands and results as texts of their own (MOSS)",
        "Write the turns as messages: `Human` as user, `MOSS` as assistant, without <|...|>: and <eoh>, <eom>.",
    ),
    (
        {"meta_instruction", "plain_text"},
        "the conversation is one text of [Human]: and [MOSS]: (MOSS)",
        "Write the turns as messages, without <eoh> and <eoa>.",
    ),
    (
        {"labeler", "question", "label"},
        "people rated the steps of solutions, several for each place (PRM800K)",
        "Write one solution a row: `prompt`, `completions` (its steps' texts) and `labels` (whether each is right).",
    ),
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
    questions = only_questions(row) or _compared(row) or who_speaks(row) or _below(row)
    if questions is not None:
        return questions
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
    near = [
        f"{key!r} ~ {close[0]!r}"
        for key in keys
        if (close := difflib.get_close_matches(key.lower(), _KNOWN_KEYS, n=1, cutoff=0.72)) and close[0] != key
    ]
    better = _joined(keys) or _wrapped(row) or _translations(row, near=bool(near)) or _several_answers(row)
    if better is not None:
        return better
    hint = f" Nearest: {', '.join(near)}." if near else ""
    return Fault(
        "format-unknown",
        None,
        f"no known format has the keys {', '.join(map(repr, keys[:12])) or '(none)'}.{hint}".rstrip("."),
        _mapping(keys),
    )


def _compared(row: Object) -> Fault | None:
    """Several answers to one question: which is the better one, no format says."""
    keys = compared(row)
    if not keys:
        return None
    alone = " `--as prompt` reads the prompts alone." if isinstance(row.get("prompt"), str | list) else ""
    fix = "Write the better answer as `chosen`, a worse one as `rejected`, and what was asked as `prompt`."
    if len(keys) == 1:
        what = f"{keys[0]!r} lists several answers to one question, with grades"
    else:
        what = f"{keys[0]!r} and {keys[1]!r} answer one question; which one is better, other columns say"
        fix += f" Where one column always holds it: `columns: {{chosen: {keys[0]}, rejected: {keys[1]}}}`."
    return Fault("format-unknown", keys[0], what, fix + alone)


_LANGUAGE = re.compile(r"[a-z]{2}([_-][A-Za-z]{2,4})?|[a-z]{3}_[A-Z][a-z]{3}")
"""A language's code, such as de, pt-BR, zh_Hans, deu_Latn."""


def _translations(row: Object, *, near: bool) -> Fault | None:
    """Texts one level down under codes of languages: which is the question, nobody says.

    `near`: other keys of the row nearly are those of a format; then only a key of that very name counts.
    """
    for key, value in row.items():
        inner = as_object(value) or {}
        if len(inner) < 2 or not all(isinstance(text, str) for text in inner.values()):
            continue
        codes = not near and all(_LANGUAGE.fullmatch(name) for name in inner)
        if codes or key.lower() in ("translation", "translations"):
            first, second, *_ = inner
            what = f"{key!r} holds texts under {', '.join(map(repr, list(inner)[:6]))}; say which one asks"
            fix = f"Map the columns, such as `columns: {{prompt: {key}.{first}, completion: {key}.{second}}}`."
            return Fault("format-unknown", key, what, fix)
    return None


def _several_answers(row: Object) -> Fault | None:
    """A question beside a list of answers: which one is meant, no format says."""
    keys = listed_answers(row)
    if keys is None:
        return None
    first, second = keys
    what = f"{first!r} asks, {second!r} lists its answers; say which one is learned"
    fix = f"Map one, such as the first: `columns: {{prompt: {first}, completion: {second}.0}}`."
    return Fault("format-unknown", second, what, fix)


def _below(row: Object) -> Fault | None:
    """One row of a known format that lies one level down, such as in a batch's `body`."""
    for key, value in row.items():
        inner = as_object(value) or {}
        found = next((name for name in ("messages", "conversations", "contents") if as_list(inner.get(name))), None)
        if found is not None and any(entry.match(inner) for entry in FORMATS):
            names = [name for name in inner if name in (found, "tools", "system", "systemInstruction")]
            columns = ", ".join(f"{name}: {key}.{name}" for name in names)
            answer = _chosen_answer(row)
            if answer is not None and found == "messages":
                columns = f"prompt: {key}.messages, completion: {answer}"
            what = f"the conversation lies one level down: {key!r} holds {', '.join(map(repr, list(inner)[:8]))}"
            return Fault("format-wrapped", key, what, f"Map the columns: `columns: {{{columns}}}`.")
    return None


def _chosen_answer(row: Object) -> str | None:
    """Where an answer of OpenAI's chat API lies one level down, as stored completions have it."""
    for key, value in row.items():
        choices = as_list((as_object(value) or {}).get("choices")) or [None]
        if as_object((as_object(choices[0]) or {}).get("message")) is not None:
            return f"{key}.choices.0.message"
    return None


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
