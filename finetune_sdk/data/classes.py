"""What only all labels together show: a class alone, one class spelled two ways, labels of two types, one verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from finetune_sdk.data.example import Example, LabelledExample, UnpairedPreference
from finetune_sdk.types import Severity

_MANY_LABELS = 1000


class Remark(NamedTuple):
    """A finding that has no line."""

    rule: str
    severity: Severity
    message: str
    fix: str


class Classes:
    """Feed it rows with `add`; `remarks` needs all of them."""

    def __init__(self) -> None:
        self._labels: Counter[str] = Counter()
        self._types: Counter[str] = Counter()
        self._halves = False
        self._good: Counter[bool] = Counter()

    @property
    def counts(self) -> Mapping[str, int]:
        """Rows per label, the most frequent first; beyond a thousand labels new ones are not counted."""
        return dict((self._labels or Counter({str(word): rows for word, rows in self._good.items()})).most_common())

    def add(self, example: Example) -> None:
        """Count a row's label, if it has one."""
        if isinstance(example, UnpairedPreference):
            self._good[example.label] += 1
        elif isinstance(example, LabelledExample):
            label = example.label
            self._types[_type(label)] += 1
            self._halves |= isinstance(label, float) and not label.is_integer()
            for word in label if isinstance(label, list) else [label]:
                if len(self._labels) < _MANY_LABELS or str(word) in self._labels:
                    self._labels[str(word)] += 1

    def remarks(self) -> Iterator[Remark]:
        """What is odd about the labels as a whole."""
        if len(self._good) == 1:
            only = "good" if self._good[True] else "bad"
            yield Remark("one-class", "warning", f"every answer is marked {only}", "KTO learns from both kinds.")
        yield from self._of_types()
        if self._labels and "a fraction" not in self._types:
            yield from self._of_classes()

    def _of_types(self) -> Iterator[Remark]:
        if len(self._types) > 1 and not self._types.keys() <= _NUMBERS:
            counted = ", ".join(f"{kind} in {rows:,} rows" for kind, rows in self._types.most_common())
            yield Remark(
                "label-types", "error", f"the labels are of several types: {counted}", "Write all labels alike."
            )
        elif self._types.keys() == {"a fraction"} and not self._halves:
            yield Remark(
                "label-float",
                "warning",
                f"all labels are whole numbers written as fractions, such as {next(iter(self._labels))}: "
                "a table with a gap makes them so, and they will be learned as quantities",
                "Write classes as text or as whole numbers.",
            )

    def _of_classes(self) -> Iterator[Remark]:
        if len(self._labels) == 1:
            word = next(iter(self._labels))
            yield Remark("one-class", "error", f"every row has the label {word!r}", "Add rows of another class.")
        single = [label for label, count in self._labels.items() if count == 1]
        if single:
            message = f"classes with one row only: {len(single)}, such as {single[0]!r}"
            yield Remark("singleton-class", "warning", message, "Add rows, or merge classes.")
        folded = Counter(label.strip().lower() for label in self._labels)
        alike = sorted(label for label in self._labels if folded[label.strip().lower()] > 1)
        if alike:
            message = f"labels that differ by case or spaces only: {', '.join(map(repr, alike[:6]))}"
            yield Remark("label-variants", "warning", message, "Spell each class one way.")


_NUMBERS = {"a whole number", "a fraction"}


def _type(label: object) -> str:
    names: dict[type[object], str] = {bool: "true/false", str: "text", int: "a whole number", float: "a fraction"}
    return names.get(type(label), "a list")
