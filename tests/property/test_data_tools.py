"""What holds for every example and every dataset, however odd."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from finetune_sdk.data import canonical
from finetune_sdk.data.example import (
    ROLES,
    ChatExample,
    EmbeddingExample,
    Example,
    FunctionCall,
    LabelledExample,
    Message,
    PreferenceExample,
    PromptExample,
    StepwiseExample,
    TextExample,
    ToolCall,
    UnpairedPreference,
)
from finetune_sdk.data.features import features
from finetune_sdk.data.report import Report
from finetune_sdk.data.targets import PROFILES, Row
from finetune_sdk.data.tools.check import Checker
from finetune_sdk.data.tools.dedupe import Dedupe
from finetune_sdk.data.tools.lengths import Lengths
from finetune_sdk.data.tools.repairs import REPAIRS, repaired
from finetune_sdk.data.tools.scan import scan_example
from finetune_sdk.data.tools.splits import Split, Units
from finetune_sdk.data.tools.strip import STRIP, without
from finetune_sdk.data.tools.texts import strings

words = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["", " ", "<|im_end|>", "hf_" + "aB" * 17, "a@b.org", "+49 30 901820", "User: x", "\x00", "é" * 3]),
)
scalars = st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), words)
json_values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(words, inner, max_size=3)),
    max_leaves=5,
)
objects = st.dictionaries(words, json_values, max_size=3)
texts_of_parts: st.SearchStrategy[dict[str, Any]] = words.map(lambda text: {"type": "text", "text": text})
urls = st.one_of(
    words, st.sampled_from(["data:image/png;base64,AAAA", "data:,", "s3://b/k", "https://x/y.png", "a.png"])
)
images: st.SearchStrategy[dict[str, Any]] = urls.map(lambda url: {"type": "image_url", "image_url": {"url": url}})
others: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [{"type": "input_audio", "input_audio": {}}, {"type": "text", "text": "x", "weight": 0}]
)
contents = st.one_of(words, st.none(), st.just(UNSET), st.lists(st.one_of(texts_of_parts, images, others), max_size=3))
calls = st.builds(
    ToolCall,
    id=st.one_of(st.just(UNSET), st.none(), words, st.sampled_from(["c1", "null"])),
    type=st.just("function"),
    function=st.builds(
        FunctionCall, name=words, arguments=st.one_of(words, st.sampled_from(["{}", '"{}"', "[]", '{"a": 1}', "1e999"]))
    ),
    arguments_object=st.booleans(),
    extra=objects,
)
messages = st.builds(
    Message,
    role=st.sampled_from(ROLES),
    content=contents,
    name=st.one_of(st.none(), words),
    tool_calls=st.one_of(st.none(), st.lists(calls, max_size=2)),
    tool_call_id=st.one_of(st.none(), st.sampled_from(["c1", "null", ""])),
    weight=st.one_of(st.none(), st.integers(-2, 2), st.floats(-2, 2)),
    reasoning=st.one_of(st.none(), words),
    refusal=st.one_of(st.none(), words),
    source_role=st.one_of(st.none(), words),
    extra=objects,
)
many = st.lists(messages, min_size=1, max_size=5)
beside: dict[str, Any] = {
    "tools": st.one_of(st.none(), st.lists(objects, max_size=2)),
    "extra": st.one_of(objects, st.fixed_dictionaries({"images": json_values, "functions": json_values})),
}
examples: st.SearchStrategy[Example] = st.one_of(
    st.builds(ChatExample, messages=many, **beside),
    st.builds(PreferenceExample, prompt=st.lists(messages, max_size=3), chosen=many, rejected=many, **beside),
    st.builds(UnpairedPreference, prompt=many, completion=many, label=st.booleans(), **beside),
    st.builds(PromptExample, prompt=many, **beside),
    st.builds(TextExample, text=words, extra=objects),
    st.builds(LabelledExample, text=words, label=st.one_of(words, st.integers(), st.booleans(), st.lists(words))),
    st.builds(StepwiseExample, prompt=words, completions=st.lists(words), labels=st.lists(st.booleans())),
    st.builds(EmbeddingExample, anchor=words, positive=words, negative=st.one_of(st.none(), words)),
    st.builds(EmbeddingExample, anchor=words, positive=words, negative=words, negatives=st.lists(words)),
)
few = settings(max_examples=60, deadline=None, derandomize=True)
fewer = settings(max_examples=20, deadline=None, derandomize=True)


@few
@given(examples)
def test_no_rule_of_any_target_crashes_on_any_example(example: Example) -> None:
    row = Row.of(example, tokens=1e9)

    for profile in PROFILES:
        for rule in profile.rules:
            assert all(problem.message for problem in rule.row(row))


@fewer
@given(st.lists(examples, max_size=5))
def test_a_check_never_crashes_and_counts_every_row(rows: list[Example]) -> None:
    checker = Checker()
    for row in rows:
        checker.add(row)

    assert checker.finish(()).rows == len(rows)


@few
@given(examples)
def test_repairs_change_nothing_the_second_time(example: Example) -> None:
    once = repaired(example, REPAIRS[:-1], Report())
    report = Report()

    assert repaired(once, REPAIRS[:-1], report) == once
    assert report.findings() == ()


@few
@given(examples, st.sampled_from(sorted(STRIP)))
def test_dropping_a_feature_drops_it_and_drops_nothing_twice(example: Example, feature: str) -> None:
    once = without(example, feature)

    assert feature not in {name for name, _ in features(once)}
    assert without(once, feature) == once


@few
@given(examples)
def test_hits_are_masked_and_lie_in_texts(example: Example) -> None:
    paths = {path for path, _ in strings(example)}

    assert all(hit.path in paths and len(hit.masked) <= 7 for hit in scan_example(example))


@fewer
@given(
    st.lists(examples, min_size=4, max_size=30),
    st.lists(st.floats(0.05, 0.95), min_size=2, max_size=4),
    st.integers(0, 5),
)
def test_a_split_is_a_partition_and_equal_rows_are_on_one_side(
    rows: list[Example], shares: list[float], seed: int
) -> None:
    split = Split.plan(rows, {f"part{number}": share for number, share in enumerate(shares)}, Units(seed=seed))
    found = [split.part(row) for row in rows + rows]

    assert found[: len(rows)] == found[len(rows) :]
    assert set(found) <= set(split.parts)


@fewer
@given(st.lists(st.integers(0, 10_000), unique=True, min_size=10, max_size=200), st.integers(1, 9))
def test_a_split_of_different_rows_has_exactly_the_size_asked_for(numbers: list[int], size: int) -> None:
    rows: list[Example] = [TextExample(text=str(number)) for number in numbers]
    split = Split.plan(rows, {"train": 0.5, "test": size}, Units())

    assert Counter(split.part(row) for row in rows)["test"] == size


@fewer
@given(st.lists(examples, max_size=20))
def test_removing_duplicates_twice_removes_nothing_more(rows: list[Example]) -> None:
    once = list(Dedupe().kept(rows))

    assert list(Dedupe().kept(once)) == once


@fewer
@given(st.lists(st.lists(st.sampled_from("abcd"), max_size=12).map(" ".join), max_size=12), st.sampled_from([0.4, 0.8]))
def test_removing_near_duplicates_twice_removes_nothing_more(values: list[str], near: float) -> None:
    once = list(Dedupe(near).kept([TextExample(text=value) for value in values]))

    assert list(Dedupe(near).kept(once)) == once


@few
@given(st.lists(st.integers(0, 10**7), min_size=1))
def test_bars_and_percentiles_agree_with_the_lengths(values: list[int]) -> None:
    lengths = Lengths()
    for value in values:
        lengths.add(value)

    assert sum(rows for _, _, rows in lengths.bars()) == len(values)
    assert min(values) <= lengths.percentile(0.5) <= max(values)


@few
@given(examples)
def test_generated_examples_are_canonical(example: Example) -> None:
    """Otherwise the tests above would try rows that no reader makes."""
    assert canonical.render(canonical.parse(canonical.render(example))) == canonical.render(example)
