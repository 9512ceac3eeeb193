"""Graders as OpenAI describes them, run on this machine: values, refusals, and where an error lies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from finetune_providers.peft.provider import PeftProvider
from finetune_providers.peft.worker import graders, similarity

from finetune_sdk.errors import SpecError
from finetune_sdk.spec import JobSpec

CHECK = {"type": "string_check", "input": "{{sample.output_text}}", "reference": "{{item.answer}}"}
ITEM = {"answer": "Paris", "nested": {"list": ["a", "b"]}, "number": 3}


def _grade(spec: dict[str, Any], text: str, item: dict[str, Any] = ITEM) -> float:
    return graders.build(spec)(graders.sample_of(text), item)


@pytest.mark.parametrize(
    ("operation", "text", "wanted"),
    [
        ("eq", "Paris", 1.0),
        ("eq", "paris", 0.0),
        ("ne", "Rome", 1.0),
        ("like", "It is Paris.", 1.0),
        ("like", "It is paris.", 0.0),
        ("ilike", "It is PARIS.", 1.0),
        ("ilike", "It is Rome.", 0.0),
    ],
)
def test_a_string_check_compares_as_its_operation_says(operation: str, text: str, wanted: float) -> None:
    assert _grade({**CHECK, "operation": operation}, text) == wanted


def test_templates_reach_into_rows_and_parsed_answers() -> None:
    spec = {
        **CHECK,
        "operation": "eq",
        "input": "{{ sample.output_json.city }}",
        "reference": "{{item.nested.list[1]}}",
    }

    assert _grade(spec, '{"city": "b"}') == 1.0


def test_a_field_the_row_lacks_is_named_with_those_it_has() -> None:
    with pytest.raises(graders.GraderError, match=r"item\.question.*has: answer, nested, number"):
        _grade({**CHECK, "operation": "eq", "reference": "{{item.question}}"}, "Paris")


# Values by rapidfuzz 3.14 (ratio / 100), rouge-score 0.1.2 (no stemming, F1), sacrebleu 2.6 (sentence_bleu / 100)
# and nltk 3.9 (sentence_gleu).
TEXT, REFERENCE = "the cat sat on the mat", "the cat is on the red mat"
KNOWN = {
    "fuzzy_match": 40 / 47,
    "bleu": 0.2054799561675077,
    "rouge_1": 10 / 13,
    "rouge_2": 4 / 11,
    "rouge_l": 10 / 13,
    "gleu": 7 / 22,
}


@pytest.mark.parametrize("metric", KNOWN)
def test_similarities_are_those_of_the_usual_libraries(metric: str) -> None:
    assert similarity.METRICS[metric](TEXT, REFERENCE) == pytest.approx(KNOWN[metric], abs=1e-4)


@pytest.mark.parametrize("metric", similarity.METRICS)
def test_equal_texts_are_alike_and_strangers_are_not(metric: str) -> None:
    words = "one two three four five six"

    assert similarity.METRICS[metric](words, words) == pytest.approx(1.0)
    assert similarity.METRICS[metric]("", words) == 0.0


@pytest.mark.parametrize("metric", ["cosine", "meteor"])
def test_similarities_that_need_a_model_are_refused_by_name(metric: str) -> None:
    spec = {**CHECK, "type": "text_similarity", "evaluation_metric": metric}

    with pytest.raises(graders.GraderError, match=f"'{metric}' does not run here"):
        graders.build(spec)


def test_a_formula_combines_graders() -> None:
    parts = {"exact": {**CHECK, "operation": "eq"}, "near": {**CHECK, "operation": "ilike"}}
    spec = {"type": "multi", "graders": parts, "calculate_output": "0.75 * exact + min(near, 1) / 4"}

    assert _grade(spec, "paris") == 0.25
    assert _grade(spec, "Paris") == 1.0


@pytest.mark.parametrize(
    "formula", ["exact +", "exact + other", "__import__('os')", "exact.real", "exact if exact else 1", "'a'", "exit()"]
)
def test_a_formula_is_arithmetic_and_nothing_else(formula: str) -> None:
    spec = {"type": "multi", "graders": {"exact": {**CHECK, "operation": "eq"}}, "calculate_output": formula}

    with pytest.raises(graders.GraderError, match="calculate_output"):
        graders.build(spec)


def test_a_python_grader_sees_answer_and_row() -> None:
    source = "def grade(sample, item):\n    return len(sample['output_text']) / item['number']\n"

    assert _grade({"type": "python", "source": source}, "abc") == 1.0


def test_a_python_graders_number_must_be_finite() -> None:
    spec = {"type": "python", "source": "def grade(sample, item):\n    return float('nan')\n"}

    with pytest.raises(graders.GraderError, match="finite"):
        _grade(spec, "a")


def _spec(folder: Path, grader: dict[str, Any]) -> JobSpec:
    (folder / "rows.jsonl").write_text('{"prompt": "capital of France?", "answer": "Paris"}\n' * 2)
    return JobSpec.model_validate(
        {
            "provider": "peft",
            "model": "builtin/tiny",
            "data": {"train": str(folder / "rows.jsonl")},
            "method": {"kind": "rft", "grader": grader},
        }
    )


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def grade(sample, item:\n", r"grade\.py:1: not Python"),
        ("def score(sample, item):\n    return 1\n", r"no function `grade\(sample, item\)`"),
        ("x = 1\ndef grade(sample):\n    return 1\n", r"grade\.py:2: `grade` takes two arguments"),
    ],
    ids=["no python", "no grade", "one argument"],
)
def test_a_grader_file_is_read_but_not_run_at_plan(source: str, words: str, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    (tmp_path / "grade.py").write_text(f"{source}\nopen({str(marker)!r}, 'w')\n")

    with pytest.raises(SpecError, match=words):
        PeftProvider(home=tmp_path).plan(_spec(tmp_path, {"type": "python", "file": str(tmp_path / "grade.py")}))
    assert not marker.exists()


def test_a_missing_grader_file_is_refused_at_plan(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot read"):
        PeftProvider(home=tmp_path).plan(_spec(tmp_path, {"type": "python", "file": str(tmp_path / "none.py")}))


def test_the_plan_carries_the_graders_text_so_that_the_job_can_be_repeated(tmp_path: Path) -> None:
    source = "def grade(sample, item):\n    return 1.0\n"
    (tmp_path / "grade.py").write_text(source)
    plan = PeftProvider(home=tmp_path).plan(_spec(tmp_path, {"type": "python", "file": str(tmp_path / "grade.py")}))
    method: Any = plan.request["method"]

    assert method["grader"]["source"] == source
    assert method["beta"] == 0.0


def test_a_grader_that_asks_another_model_is_refused_at_plan(tmp_path: Path) -> None:
    grader = {"type": "score_model", "model": "gpt-4.1", "input": [{"role": "user", "content": "score"}]}

    with pytest.raises(SpecError, match="'score_model' needs a hosted provider"):
        PeftProvider(home=tmp_path).plan(_spec(tmp_path, grader))
