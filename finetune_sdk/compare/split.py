"""One frozen split for all candidates: by content hash, stratified, grouped, without leaks, written once."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import msgspec

from finetune_sdk.compare.bench import Paths, Rows
from finetune_sdk.compare.items import Item, item_of
from finetune_sdk.data import Dataset
from finetune_sdk.data.canonical import content_digest
from finetune_sdk.data.example import ChatExample, Example, LabelledExample, Message
from finetune_sdk.data.formats import format_named
from finetune_sdk.data.outputs import RowFile
from finetune_sdk.data.tools.dedupe import Leak, leaks
from finetune_sdk.data.tools.splits import Split, Units, field
from finetune_sdk.errors import DataError

_FEW_TEST_ROWS = 30
_MOST_LABELS = 50


class Frozen(msgspec.Struct, frozen=True, kw_only=True):
    """The divided rows, as files of a comparison's folder."""

    format: str
    rows: dict[str, int]
    """By part: train, validation, test."""
    sha256: dict[str, str]
    """Of each file."""
    leaks: dict[str, int]
    """Training rows left out because the test or validation rows know them: exact, prompt (same question), near, or
    group (they belong to the same value of `group_by`)."""
    notes: list[str]


@dataclass(frozen=True, slots=True)
class Parts:
    """Where a frozen split lies."""

    folder: Path

    def rows(self, part: str) -> Path:
        """The rows of a part as a provider reads them."""
        return self.folder / f"{part}.jsonl"

    @property
    def record(self) -> Path:
        return self.folder / "split.json"

    @property
    def questions(self) -> Path:
        return self.folder / "test-items.jsonl"

    def items(self) -> list[Item]:
        """The test rows as questions, in order."""
        decoder = msgspec.json.Decoder(Item)
        return [decoder.decode(line) for line in self.questions.read_bytes().splitlines()]

    def examples(self, part: str = "train") -> list[Item]:
        """Rows of a part as questions with answers: what prompts draw their examples from."""
        dataset = Dataset.open(str(self.rows(part)))
        return [item for item in map(item_of, dataset) if item is not None]

    def share(self, share: float) -> Path:
        """A share of the training rows, chosen by content: a larger one contains a smaller one."""
        if share >= 1.0:
            return self.rows("train")
        path = self.folder / f"train-{share:g}.jsonl"
        if not path.exists():
            lines = self.rows("train").read_bytes().splitlines(keepends=True)
            order = sorted(range(len(lines)), key=lambda index: hashlib.blake2b(lines[index]).digest())
            kept = set(order[: max(1, round(share * len(lines)))])
            part = path.with_suffix(".part")
            part.write_bytes(b"".join(line for index, line in enumerate(lines) if index in kept))
            part.replace(path)
        return path

    def frozen(self) -> Frozen:
        """The record of the split. Raises `DataError` when a file was changed since."""
        frozen = msgspec.json.decode(self.record.read_bytes(), type=Frozen)
        for name, wanted in frozen.sha256.items():
            if not (self.folder / name).is_file() or _sha256(self.folder / name) != wanted:
                raise DataError(
                    f"{self.folder / name}: changed since the split was frozen; restore it, or start a new comparison"
                )
        return frozen


def freeze(rows: Rows, folder: Path, *, slices: tuple[str, ...] = ()) -> Frozen:
    """Divide the rows into `folder`, or find them divided there. Raises `DataError` for rows that cannot be asked."""
    parts = Parts(folder)
    if parts.record.exists():
        return parts.frozen()
    folder.mkdir(parents=True, exist_ok=True)
    sides = {name: _open(rows, source) for name, source in _paths(rows).items()}
    notes: list[str] = []
    shares = _shares(rows)
    plan = _planned(sides["train"], shares, _units(rows, sides["train"])) if len(shares) > 1 else None
    known = _leaks(rows, sides, plan)
    counts = _write(rows, parts, _Divided(sides, plan, frozenset(known)), slices)
    _notes(rows, counts, notes)
    notes += _unseen(parts)
    files = [parts.rows(name) for name in ("train", "validation") if counts.get(name)] + [parts.questions]
    frozen = Frozen(
        format="chat",
        rows=counts,
        sha256={path.name: _sha256(path) for path in files},
        leaks=_counted(known),
        notes=notes,
    )
    part = parts.record.with_suffix(".part")
    part.write_bytes(msgspec.json.format(msgspec.json.encode(frozen), indent=1))
    part.replace(parts.record)
    return frozen


def _paths(rows: Rows) -> dict[str, Paths]:
    """What each part is read from; a part that is a share of the training rows has no path."""
    sources = {"test": rows.test, "validation": rows.validation, "train": rows.train}
    return {
        name: source for name, source in sources.items() if source is not None and not isinstance(source, float | int)
    }


def _shares(rows: Rows) -> dict[str, float]:
    held = {"test": rows.test, "validation": rows.validation}
    taken = {name: share for name, share in held.items() if isinstance(share, float)}
    left = 1 - sum(taken.values())
    if left <= 0:
        raise DataError("data: the shares of test and validation leave no row to train on; make them smaller")
    return {**taken, "train": left}


def _planned(dataset: Dataset, shares: Mapping[str, float], units: Units) -> Split:
    rows = sum(1 for _ in _first(dataset, len(shares)))
    if rows < len(shares):
        raise DataError(f"data: {rows} row cannot be divided into {', '.join(shares)}; give more rows")
    return Split.plan(dataset, shares, units)


def _open(rows: Rows, source: Paths) -> Dataset:
    return Dataset.open(source, format=rows.format, columns=rows.columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class _ByAnswer(Units):
    """Units whose strata are the answers: for conversations whose answers are a few labels."""

    def stratum(self, example: Example) -> str:
        item = item_of(example)
        return item.reference or "" if item is not None else ""


def _units(rows: Rows, dataset: Dataset) -> Units:
    """How the rows are divided, judged by the first thousand."""
    seen = [item for item in map(item_of, _first(dataset, 1000)) if item is not None]
    answers = {item.reference for item in seen}
    labels = rows.stratify_by is None and 1 < len(answers) <= min(50, len(seen) // 4)
    kind = _ByAnswer if labels else Units
    alone = len({item.question for item in seen}) <= 1 and not rows.group_by  # all ask the same: the answer divides
    return kind(seed=rows.split_seed, group_by=rows.group_by, stratify_by=rows.stratify_by, by_content=alone)


def _first(dataset: Dataset, most: int) -> Iterator[Example]:
    for index, example in enumerate(dataset):
        if index == most:
            return
        yield example


def _leaks(rows: Rows, sides: Mapping[str, Dataset], plan: Split | None) -> dict[tuple[str, int], Leak]:
    """Training rows by place that held-out rows know already."""

    def side(name: str) -> Iterator[Example]:
        if name in sides and name != "train":
            yield from sides[name]
        if plan is not None and (name == "train" or name not in sides):
            yield from (one for one in sides["train"] if plan.part(one) == name)
        elif name == "train":
            yield from sides["train"]

    def held_out() -> Iterator[Example]:
        yield from (one for name in ("test", "validation") for one in side(name))

    found: dict[tuple[str, int], Leak] = {}
    for leak in (*_grouped(rows, side("train"), held_out()), *leaks(side("train"), held_out(), rows.near)):
        if leak.train is not None:
            found[leak.train.file, leak.train.line] = leak
    if found and rows.leaks == "refuse":
        (file, line), first = next(iter(found.items()))
        where = f"{first.held_out.file}:{first.held_out.line}" if first.held_out else "the test rows"
        raise DataError(
            f"{file}:{line}: this training row stands in the held-out rows too ({first.how}, {where}), and "
            f"{len(found) - 1} more do; remove them, or say `leaks: remove`"
        )
    return found


def _grouped(rows: Rows, train: Iterator[Example], held_out: Iterator[Example]) -> Iterator[Leak]:
    """Training rows of a group that held-out rows of a file of their own belong to."""
    if rows.group_by is None:
        return
    groups = {str(field(one, rows.group_by)): one.source for one in held_out}
    for one in train:
        group = str(field(one, rows.group_by))
        if group in groups:
            yield Leak("group", one.source, groups[group], 1.0)


def _counted(known: Mapping[tuple[str, int], Leak]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for leak in known.values():
        counts[leak.how] = counts.get(leak.how, 0) + 1
    return counts


@dataclass(frozen=True, slots=True)
class _Divided:
    """Every row with its part."""

    sides: Mapping[str, Dataset]
    plan: Split | None
    known: frozenset[tuple[str, int]]
    """Places of the training rows that are left out."""

    def __iter__(self) -> Iterator[tuple[str, Example]]:
        for name, dataset in self.sides.items():
            for example in dataset:
                part = self.plan.part(example) if self.plan is not None and name == "train" else name
                place = (example.source.file, example.source.line) if example.source else ("", 0)
                if part != "train" or place not in self.known:
                    yield part, example


def _write(rows: Rows, parts: Parts, divided: _Divided, slices: tuple[str, ...]) -> dict[str, int]:
    counts = {"train": 0, "validation": 0, "test": 0}
    items: list[Item] = []
    left_out = _too_many(divided, rows.max_train)
    with ExitStack() as stack:
        outs = {name: stack.enter_context(RowFile(parts.rows(name))) for name in ("train", "validation")}
        for index, (part, example) in enumerate(divided):
            if index in left_out:
                continue
            asked = as_chat(example, rows.system)
            if part == "test":
                items.append(_item(asked, example, slices))
            else:
                outs[part].write(_rendered(asked))
            counts[part] += 1
        for name, out in outs.items():
            if counts[name]:
                out.commit()
    for name in slices:
        if items and not any(name in item.slices for item in items):
            raise DataError(f"slices: no test row has a key {name!r} with a text or a number; remove it, or correct it")
    counts["test"] = _write_items(items, rows, parts)
    if not counts["train"] or not counts["test"]:
        empty = "train" if not counts["train"] else "test"
        known = f": the held-out rows know {len(divided.known):,} of them" if empty == "train" and divided.known else ""
        raise DataError(f"data: no row is left in the {empty} part{known}; give more rows, or other shares")
    return counts


def _too_many(divided: _Divided, most: int | None) -> frozenset[int]:
    """Places of the training rows beyond `most`, chosen by content: files are often sorted, by label say."""
    if most is None:
        return frozenset()
    found = sorted((content_digest(one), index) for index, (part, one) in enumerate(divided) if part == "train")
    return frozenset(index for _, index in found[most:])


def _item(asked: Example, source: Example, slices: tuple[str, ...]) -> Item:
    item = item_of(asked, slices=slices)
    place = f"{source.source.file}:{source.source.line}" if source.source else "a test row"
    if item is None or (item.reference is None and item.calls is None):
        raise DataError(
            f"{place}: this test row has no reference answer (no assistant turn at its end); "
            "remove it from the test rows"
        )
    if not any(one.get("role") == "user" for one in item.messages):
        raise DataError(f"{place}: this test row asks nothing (no user turn); remove it from the test rows")
    return msgspec.structs.replace(item, slices={**item.slices, **_own_slices(source, slices)})


def _own_slices(source: Example, names: tuple[str, ...]) -> dict[str, str]:
    found = {name: source.extra.get(name, getattr(source, name, None)) for name in names}
    return {name: str(value) for name, value in found.items() if isinstance(value, str | int | float)}


def _write_items(items: list[Item], rows: Rows, parts: Parts) -> int:
    once = list({item.id: item for item in items}.values())  # equal test rows would be counted twice
    if rows.max_test is not None:
        keep = {item.id for item in sorted(once, key=lambda item: item.id)[: rows.max_test]}
        once = [item for item in once if item.id in keep]
    part = parts.questions.with_suffix(".part")
    part.write_bytes(b"".join(msgspec.json.encode(item) + b"\n" for item in once))
    part.replace(parts.questions)
    return len(once)


def as_chat(example: Example, system: str | None) -> Example:
    """Labelled rows as a question and its answer, and the instruction in front where there is none."""
    if isinstance(example, LabelledExample):
        asked = example.text if example.text_pair is None else f"{example.text}\n\n{example.text_pair}"
        label = ", ".join(example.label) if isinstance(example.label, list) else str(example.label)
        messages = [Message(role="user", content=asked), Message(role="assistant", content=label)]
        example = ChatExample(messages=messages, extra=example.extra, source=example.source)
    if system is None or not isinstance(example, ChatExample):
        return example
    if example.messages and example.messages[0].role in ("system", "developer"):
        return example
    return msgspec.structs.replace(example, messages=[Message(role="system", content=system), *example.messages])


def _rendered(example: Example) -> dict[str, object]:
    render = format_named("chat").render
    if render is None or not isinstance(example, ChatExample):
        place = f"{example.source.file}:{example.source.line}: " if example.source else ""
        raise DataError(f"{place}a comparison asks questions: it takes conversations, prompt and completion, or labels")
    return render(example)


def _notes(rows: Rows, counts: Mapping[str, int], notes: list[str]) -> None:
    if counts["test"] < _FEW_TEST_ROWS:
        notes.append(f"only {counts['test']} test rows: only very large differences can be decided")
    if isinstance(rows.test, float) and rows.group_by is None:
        notes.append("rows that ask the same question lie on one side of the split")


def _unseen(parts: Parts) -> Iterator[str]:
    """What is to be said about labels that only the test rows have."""
    items = parts.items()
    answers = Counter(item.reference for item in items if item.reference is not None)
    if not 1 < len(answers) <= min(_MOST_LABELS, answers.total() // 2):  # sentences, not labels
        return
    missing = dict(answers)
    for item in parts.examples():
        missing.pop(item.reference or "", None)
    if missing:
        shown = ", ".join(map(repr, sorted(missing)[:5])) + (" and others" if len(missing) > 5 else "")
        yield (
            f"{sum(missing.values())} test rows have a label that never occurs in the training rows: {shown}; nobody "
            "can learn it there"
        )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
