"""Splits: sizes, units that stay together, strata, and what stays where when rows come or move."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest

from finetune_sdk.data.example import ChatExample, Example, LabelledExample, Message, TextExample
from finetune_sdk.data.tools.dedupe import leaks
from finetune_sdk.data.tools.splits import Split, Units
from finetune_sdk.errors import DataError

PARTS = {"train": 0.8, "validation": 0.1, "test": 0.1}


def text(number: int, **extra: object) -> Example:
    return TextExample(text=f"text {number}", extra=dict(extra))


def labelled(number: int, label: str) -> Example:
    return LabelledExample(text=f"text {number}", label=label)


def sides(rows: list[Example], parts: dict[str, float] = PARTS, units: Units | None = None) -> list[str]:
    split = Split.plan(rows, parts, units or Units())
    return [split.part(row) for row in rows]


ROWS = [text(number) for number in range(1000)]


def test_shares_are_met_exactly_when_all_rows_differ() -> None:
    assert Counter(sides(ROWS)) == {"train": 800, "validation": 100, "test": 100}


def test_a_size_from_one_on_is_a_number_of_rows() -> None:
    assert Counter(sides(ROWS, {"train": 0.9, "test": 37})) == {"train": 963, "test": 37}


def test_beside_a_number_of_rows_a_share_is_one_of_all_rows() -> None:
    found = Counter(sides(ROWS, {"train": 0.4, "validation": 0.6, "test": 200}))

    assert found == {"train": 200, "validation": 600, "test": 200}


def test_groups_and_strata_together_meet_the_sizes_over_all() -> None:
    rows = [text(number, who=number % 20, lang="aaaaaaabbc"[number % 10]) for number in range(200)]
    units = Units(group_by="who", stratify_by="lang")

    assert Counter(sides(rows, {"train": 0.9, "test": 0.1}, units)) == {"train": 180, "test": 20}


def test_one_row_for_two_shares_is_refused_in_words() -> None:
    with pytest.raises(DataError, match=r"^asked for are a=0\.5, b=0\.5, and there is 1 row: each part needs one"):
        sides(ROWS[:1], {"a": 0.5, "b": 0.5})


def test_a_split_knows_how_many_rows_its_parts_get() -> None:
    rows = [labelled(number // 3, "abc"[number % 3]) for number in range(100)]
    split = Split.plan(rows, PARTS, Units())

    assert split.rows == Counter(split.part(row) for row in rows)


def test_a_key_that_is_null_is_told_as_that() -> None:
    with pytest.raises(DataError, match="'who' is null"):
        Split.plan([text(1, who=None)], PARTS, Units(group_by="who"))


def test_row_order_does_not_matter() -> None:
    shuffled = random.Random(0).sample(ROWS, len(ROWS))

    assert dict(zip(map(str, shuffled), sides(shuffled), strict=True)) == dict(
        zip(map(str, ROWS), sides(ROWS), strict=True)
    )


def test_another_seed_gives_another_split() -> None:
    assert sides(ROWS, units=Units(seed=1)) != sides(ROWS)


def test_duplicates_fall_on_one_side() -> None:
    assert sides(ROWS + ROWS)[:1000] == sides(ROWS + ROWS)[1000:]


def test_rows_that_ask_the_same_fall_on_one_side() -> None:
    def ask(question: int, answer: int) -> Example:
        said = [Message(role="user", content=str(question)), Message(role="assistant", content=str(answer))]
        return ChatExample(messages=said)

    rows = [ask(question, answer) for question in range(100) for answer in range(3)]
    found = sides(rows)

    assert all(len(set(found[start : start + 3])) == 1 for start in range(0, 300, 3))


def test_what_leaks_would_call_one_prompt_falls_on_one_side() -> None:
    def ask(question: str) -> Example:
        return ChatExample(messages=[Message(role="user", content=question), Message(role="assistant", content="a")])

    rows = [ask(text) for number in range(100) for text in (f"What is {number}?", f"what IS  {number}")]
    split = Split.plan(rows, {"train": 0.5, "test": 0.5}, Units())
    parts = {name: [row for row in rows if split.part(row) == name] for name in split.parts}

    assert {name: len(held) for name, held in parts.items()} == {"train": 100, "test": 100}
    assert list(leaks(parts["train"], parts["test"])) == []


def test_a_key_keeps_its_rows_together() -> None:
    rows = [text(number, customer=number % 50) for number in range(500)]
    split = Split.plan(rows, PARTS, Units(group_by="customer"))

    assert all(len({split.part(row) for row in rows[number::50]}) == 1 for number in range(50))


def test_a_key_may_lie_deeper() -> None:
    rows = [text(number, meta={"who": number % 20}) for number in range(200)]
    split = Split.plan(rows, {"train": 0.5, "test": 0.5}, Units(group_by="meta.who"))

    assert all(len({split.part(row) for row in rows[number::20]}) == 1 for number in range(20))


def test_every_label_keeps_its_share() -> None:
    rows = [labelled(number, "rare" if number % 10 == 0 else "common") for number in range(1000)]
    found = Counter(zip(sides(rows), (number % 10 == 0 for number in range(1000)), strict=True))

    assert (found["test", True], found["test", False]) == (10, 90)


def test_one_text_with_two_labels_falls_on_one_side() -> None:
    rows = [labelled(number // 2, f"label {number % 2}") for number in range(400)]
    found = sides(rows)

    assert found[::2] == found[1::2]


def test_by_hash_adding_rows_moves_no_row() -> None:
    split = Split.by_hash(PARTS, Units())
    before = [split.part(row) for row in ROWS[:500]]

    assert [split.part(row) for row in ROWS][:500] == before


def test_by_hash_shares_are_met_about() -> None:
    split = Split.by_hash(PARTS, Units())
    found = Counter(split.part(row) for row in ROWS)

    assert 60 < found["test"] < 140


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"train": 1.0}, "at least two parts"),
        ({"train": 0.5, "test": 0.0}, "each above 0"),
        ({"train": 600, "test": 300}, "give one part a share"),
        ({"train": 0.5, "test": 2000}, "test=2000, and there are 1000 rows: none is left for train"),
        ({"train": 0.1, "a": 0.9, "test": 500}, "none is left for train"),
        ({"train": 0.5, "a": 0.4, "test": 999}, "train=0.5, a=0.4, test=999, and there are 1000 rows: none is left"),
        ({"train": 0.5, "test": 1.5}, r"test=1\.5 is neither a share below 1 nor a whole number"),
        ({"train": 0.5, "test": math.inf}, "test=inf is neither"),
        ({"train": 0.5, "test": math.nan}, "test=nan is neither"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(parts: dict[str, float], words: str) -> None:
    with pytest.raises(DataError, match=words):
        Split.plan(ROWS, parts, Units())


def test_a_key_that_a_row_lacks_is_named() -> None:
    with pytest.raises(DataError, match=r"no key 'who' to split by\. The row has: customer"):
        Split.plan([text(1, customer=2)], PARTS, Units(group_by="who"))
