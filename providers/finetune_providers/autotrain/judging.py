"""What is wrong with each row for AutoTrain, found while `prepare` reads the data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from finetune_sdk.data.example import EmbeddingExample, Example, LabelledExample
from finetune_sdk.data.targets import Row, Rule, profiles
from finetune_sdk.data.targets.rules import Refuses
from finetune_sdk.types import Finding


class Judge:
    """Hand it to `prepare`."""

    def __init__(self, task: str, method: str) -> None:
        rules = [rule for profile in profiles("autotrain", method=method) for rule in profile.rules]
        self._refusals: Mapping[str, Rule] = {rule.of: rule for rule in rules if isinstance(rule, Refuses)}
        self._others = tuple(rule for rule in rules if not isinstance(rule, Refuses))
        self._own = _TASKS.get(task, _nothing)
        self.conversations = False
        """Some row is no pair of plain strings."""

    def __call__(self, example: Example) -> Iterator[Finding]:
        self.conversations = self.conversations or example.shape != "prompt_completion"
        row = Row.of(example)
        refusing = [self._refusals[name] for name in row.features if name in self._refusals]
        for rule in (*refusing, *self._others):
            for path, message, fix in rule.row(row):
                yield Finding(rule=rule.rule, severity=rule.severity, message=message, fix=fix, path=path or None)
        yield from self._own(example)


def _nothing(_example: Example) -> Iterator[Finding]:
    return iter(())


def _error(rule: str, message: str, fix: str, path: str) -> Finding:
    return Finding(rule=rule, severity="error", message=message, fix=fix, path=path)


def _class(example: Example) -> Iterator[Finding]:
    if isinstance(example, LabelledExample):
        if isinstance(example.label, list):
            yield _error("label-several", "several labels; AutoTrain learns one per text", "Keep one.", "label")
        if example.text_pair is not None:
            yield _error(
                "text-pair", "a pair of texts; this task reads one", "Set options.autotrain.task.", "text_pair"
            )


def _number(example: Example) -> Iterator[Finding]:
    label = example.label if isinstance(example, LabelledExample) else None
    try:
        float(label if isinstance(label, str | int | float) else "no")
    except ValueError:
        yield _error("label-type", f"{label!r} is no number, and regression learns numbers", "Fix the label.", "label")


def _tags(example: Example) -> Iterator[Finding]:
    if not isinstance(example, LabelledExample):
        return
    words, label = example.text.split(" "), example.label
    if not isinstance(label, list):
        yield _error("label-type", "one label; this task learns one tag per token", "Give a list of tags.", "label")
    elif len(words) != len(label):
        yield _error("tags-count", f"{len(words)} tokens, but {len(label)} tags", "Give each token one tag.", "label")


def _pair(example: Example) -> Iterator[Finding]:
    if isinstance(example, LabelledExample) and example.text_pair is None:
        yield _error("text-pair", "one text; this task learns from pairs", "Add the second text.", "text_pair")


def _scored_pair(example: Example) -> Iterator[Finding]:
    yield from _pair(example)
    yield from _number(example)


def _triplet(example: Example) -> Iterator[Finding]:
    if isinstance(example, EmbeddingExample) and example.negative is None:
        yield _error(
            "negative-missing", "no negative; a triplet has three texts", "Add it, or use st:pair.", "negative"
        )


_TASKS: Mapping[str, Callable[[Example], Iterator[Finding]]] = {
    "text-classification": _class,
    "text-regression": _number,
    "token-classification": _tags,
    "st:pair_class": _pair,
    "st:pair_score": _scored_pair,
    "st:triplet": _triplet,
}
