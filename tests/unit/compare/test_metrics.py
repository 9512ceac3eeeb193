"""Metrics: right answers, wrong ones, missing ones, and data they are not for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import sacrebleu

from finetune_sdk.compare.items import Answer, Item
from finetune_sdk.compare.metrics import Unfit, chosen
from finetune_sdk.compare.metrics.labels import confusion
from finetune_sdk.errors import SpecError


def items(*references: str | None) -> list[Item]:
    return [
        Item(id=str(index), messages=[{"role": "user", "content": "?"}], reference=text, file="t.jsonl", line=index + 1)
        for index, text in enumerate(references)
    ]


def answers(*texts: str | None) -> list[Answer]:
    return [Answer(item=str(index), text=text) for index, text in enumerate(texts)]


def score(name: str, wanted: Sequence[Item], given: Sequence[Answer], **options: Any) -> float:
    return chosen(name, options).measure(wanted, given).score


@pytest.mark.parametrize(
    ("name", "options", "reference", "answer", "expected"),
    [
        ("exact_match", {}, "Paris", " Paris\n", 1.0),
        ("exact_match", {}, "Paris", "paris", 0.0),
        ("accuracy", {}, "Paris", '"paris".', 1.0),
        ("contains", {}, "Paris", "It is paris, I think", 1.0),
        ("contains", {}, "Paris", "It is Rome", 0.0),
        ("regex", {"pattern": r"\d+"}, "-", "about 7", 1.0),
        ("regex", {"pattern": r"answer: (\w+)", "group": 1}, "7", "the answer: 7", 1.0),
        ("regex", {"pattern": r"answer: (\w+)", "group": 1}, "7", "the answer: 8", 0.0),
        ("token_f1", {}, "the cat sat", "a cat stood", 0.5),
        ("token_f1", {}, "cat", "", 0.0),
        ("rouge1", {}, "cats sat", "cat sat", 1.0),
        ("rougeL", {}, "a b c d", "a c d b", 0.75),
        ("json_valid", {}, "-", '```json\n{"a": 1}\n```', 1.0),
        ("json_valid", {}, "-", '{"a": 1} and more', 0.0),
        ("json_schema", {"schema": {"type": "object", "required": ["a"]}}, "-", '{"a": 1}', 1.0),
        ("json_schema", {"schema": {"type": "object", "required": ["a"]}}, "-", '{"b": 1}', 0.0),
    ],
)
def test_an_answer_scores_what_it_deserves(
    name: str, options: dict[str, Any], reference: str, answer: str, expected: float
) -> None:
    assert score(name, items(reference), answers(answer), **options) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["exact_match", "accuracy", "contains", "token_f1", "rougeL", "json_valid"])
def test_a_missing_answer_counts_as_wrong(name: str) -> None:
    given = [Answer(item="0", text="x"), Answer(item="1", error="HTTP 500")]
    full = score(name, items("x", "x"), answers("x", "x"))
    assert score(name, items("x", "x"), given) == pytest.approx(full / 2)


@pytest.mark.parametrize(("name", "library"), [("bleu", "corpus_bleu"), ("chrf", "corpus_chrf")])
def test_corpus_metrics_are_sacrebleus_own(name: str, library: str) -> None:
    wanted = ["the cat sat on the mat", "a dog barked at the tall tree", "nothing of note took place here"]
    given = ["the cat sat on a mat", "the dog barked at a tree", "nothing of note took place"]
    assert score(name, items(*wanted), answers(*given)) == pytest.approx(
        getattr(sacrebleu, library)(given, [wanted]).score
    )


def test_macro_f1_is_the_mean_over_the_labels_of_the_test_rows() -> None:
    wanted, given = items("a", "a", "a", "b"), answers("a", "a", "b", "b")
    assert score("macro_f1", wanted, given) == pytest.approx((0.8 + 2 / 3) / 2)


def test_the_confusion_table_counts_answers_that_are_no_label() -> None:
    table = confusion(items("a", "a", "b", "b"), answers("a", "what?", "A.", "b"))
    assert table == {"a": {"a": 1, "": 1}, "b": {"a": 1, "b": 1}}


def test_macro_f1_refuses_references_that_are_no_labels() -> None:
    with pytest.raises(Unfit, match="needs labels"):
        score("macro_f1", items("one text", "another", "a third"), answers("x", "y", "z"))


def test_a_test_row_without_a_reference_is_named() -> None:
    with pytest.raises(Unfit, match=r"t\.jsonl:2: exact_match needs a reference answer"):
        score("exact_match", items("a", None), answers("a", "b"))


def calls(name: str, arguments: dict[str, Any] | str) -> list[dict[str, Any]]:
    return [{"name": name, "arguments": arguments if isinstance(arguments, str) else json.dumps(arguments)}]


def test_tool_calls_are_compared_by_name_and_by_the_values_of_their_arguments() -> None:
    wanted = [Item(id=str(index), messages=[], calls=calls("find", {"city": "Rome", "days": 2})) for index in range(4)]
    given = [
        Answer(item="0", calls=calls("find", '{"days": 2,   "city": "Rome"}')),
        Answer(item="1", calls=calls("find", {"city": "Rome", "days": 3})),
        Answer(item="2", calls=calls("seek", {"city": "Rome", "days": 2})),
        Answer(item="3", text="I would look for it"),
    ]
    assert score("tool_name", wanted, given) == 0.5
    assert score("tool_call", wanted, given) == 0.25


def test_a_failed_answer_is_no_rightly_omitted_tool_call() -> None:
    wanted = [Item(id="0", messages=[], calls=calls("find", {})), Item(id="1", messages=[], reference="none needed")]
    given = [Answer(item="0", calls=calls("find", {})), Answer(item="1", error="HTTP 500")]
    assert score("tool_name", wanted, given) == 0.5


def test_tool_metrics_refuse_rows_without_tool_calls() -> None:
    with pytest.raises(Unfit, match="expect a tool call"):
        score("tool_call", items("a"), answers("a"))


def test_perplexity_comes_from_the_log_probabilities_of_the_references() -> None:
    given = [Answer(item="0", nll=2.0, nll_tokens=4), Answer(item="1", nll=1.0, nll_tokens=2)]
    assert score("perplexity", items("a", "b"), given) == pytest.approx(2.718281828 ** (3 / 6))


def test_bits_per_byte_do_not_depend_on_how_a_tokenizer_cuts() -> None:
    few, many = Answer(item="0", nll=5.545177, nll_tokens=1), Answer(item="0", nll=5.545177, nll_tokens=4)
    assert score("bits_per_byte", items("äb"), [few]) == pytest.approx(8 / 3)
    assert score("bits_per_byte", items("äb"), [many]) == pytest.approx(8 / 3)


def test_perplexity_refuses_answers_without_log_probabilities() -> None:
    with pytest.raises(
        Unfit, match="not measured: perplexity needs the log-probability of every reference, and 1 of 1"
    ):
        score("perplexity", items("a"), answers("a"))


def test_a_users_function_scores_each_answer(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def score(answer, reference, item):\n    return len(answer or '') / 10\n")
    assert score("python", items("a", "b"), answers("1234", None), file=str(file)) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("source", "said"),
    [("", "no function 'score'"), ("1 / 0\n", "cannot be loaded: ZeroDivisionError")],
)
def test_a_users_function_that_is_none_is_told(tmp_path: Path, source: str, said: str) -> None:
    file = tmp_path / "mine.py"
    file.write_text(source)
    with pytest.raises(SpecError, match=said):
        score("python", items("a"), answers("b"), file=str(file))


@pytest.mark.parametrize(
    ("returns", "said"),
    [
        ("'good'", "gave 'good' for item 0 (t.jsonl:1), answer 'b'; it must give a finite number"),
        ("None", "gave None"),
        ("float('nan')", "gave nan"),
        ("float('inf')", "gave inf"),
        ("exit(3)", "mine.py:score raised SystemExit: 3"),
        ("{}['score']", "mine.py:score raised KeyError: 'score' for item 0 (t.jsonl:1), answer 'b'"),
    ],
)
def test_a_users_function_that_fails_on_an_answer_says_on_which(tmp_path: Path, returns: str, said: str) -> None:
    file = tmp_path / "mine.py"
    file.write_text(f"def score(answer, reference, item):\n    return {returns}\n")
    with pytest.raises(Unfit) as caught:
        score("python", items("a"), answers("b"), file=str(file))
    assert said in str(caught.value)


def test_a_failed_question_is_wrong_where_a_users_function_cannot_do_without_an_answer(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("import numpy\ndef score(answer, reference, item):\n    return numpy.float32(len(answer))\n")
    given = [Answer(item="0", text="1234"), Answer(item="1", error="HTTP 500")]
    assert score("python", items("a", "b"), given, file=str(file)) == pytest.approx(2.0)
    with pytest.raises(Unfit, match="raised TypeError"):
        score("python", items("a", "b"), given, file=str(file), higher_is_better=False)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("acuracy", {}, "unknown metric 'acuracy'"),
        ("accuracy", {"pattern": "x"}, "has no option 'pattern'"),
        ("regex", {}, "needs `pattern:`"),
    ],
)
def test_a_metric_that_is_not_understood_is_refused(name: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        chosen(name, options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"pattern": "("}, "no regular expression"),
        ({"pattern": "a", "group": 1}, "no group 1"),
    ],
)
def test_a_pattern_that_cannot_work_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        score("regex", items("a"), answers("a"), **options)


def test_a_schema_that_is_none_is_refused() -> None:
    with pytest.raises(SpecError, match="not a JSON Schema"):
        score("json_schema", items("a"), answers("a"), schema={"type": 7})
