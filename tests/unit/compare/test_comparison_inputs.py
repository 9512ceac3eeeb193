"""What comparisons say about rows and benches: refusals before anybody is asked, notes where they go on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tones import Serve, bench, right, words, wrong

from finetune_sdk.compare import Comparison
from finetune_sdk.compare.bench import load
from finetune_sdk.errors import DataError, SpecError, WrongStatus


def test_a_test_row_without_a_reference_is_refused_with_its_place(tmp_path: Path, rows: Path, serve: Serve) -> None:
    test = tmp_path / "test.jsonl"
    test.write_text(json.dumps({"messages": [{"role": "user", "content": words(200)}]}) + "\n")
    described = bench(rows, {"one": serve(right)})
    described["data"] = {"train": str(rows), "test": str(test)}
    with pytest.raises(DataError, match=r"test\.jsonl:1: this test row has no reference answer"):
        Comparison(described, home=tmp_path / "home").run()


def test_labels_that_only_the_test_rows_have_are_told(tmp_path: Path, rows: Path, serve: Serve) -> None:
    test = tmp_path / "test.jsonl"
    labels = ["joy", "anger", "disgust", "joy", "anger", "disgust"]
    lines = [{"prompt": words(200 + index), "completion": label} for index, label in enumerate(labels)]
    test.write_text("".join(json.dumps(line) + "\n" for line in lines))
    described = bench(rows, {"one": serve(right)})
    described["data"] = {"train": str(rows), "test": str(test)}
    results = Comparison(described, home=tmp_path / "home").run()
    said = "2 test rows have a label that never occurs in the training rows: 'disgust'"
    assert any(note.startswith(said) for note in results.split.notes)


def test_results_before_anything_was_run_are_refused(tmp_path: Path, rows: Path, serve: Serve) -> None:
    with pytest.raises(WrongStatus, match="has not been run"):
        Comparison(bench(rows, {"one": serve(right)}), home=tmp_path / "home").results()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"metrics": []}, "metrics"),
        ({"metrics": ["acuracy"]}, "unknown metric 'acuracy'"),
        ({"metric": ["accuracy"]}, "did you mean `metrics`"),
        ({"metrics": ["accuracy", "accuracy"]}, "two metrics are called 'accuracy'"),
        ({"name": "../out"}, "name"),
        (
            {"candidates": [{"name": "a", "at": {"base_url": "https://me:pa55word@x/v1", "model": "m"}}]},
            "must not hold a name or a password",
        ),
        ({"candidates": [{"name": "a", "at": {"base_url": "ftp://x/v1", "model": "m"}}]}, "no http(s) address"),
        ({"candidates": [{"name": "a", "at": {"base_url": "http://x:99999/v1", "model": "m"}}]}, "no address"),
        ({"candidates": [{"name": "a", "at": {"base_url": " http://x/v1", "model": "m"}}]}, "no http(s) address"),
        (
            {"search": [{"candidate": "a", "over": {"x": {"low": 1.2, "high": 1.8, "whole": True}}}]},
            "no whole number between",
        ),
        ({"data": {"train": "x.jsonl", "test": 1.5}}, "test"),
        (
            {"candidates": [{"name": "a", "at": {"base_url": "http://x/v1", "model": "m"}, "tune": {}}]},
            "cannot be tuned",
        ),
        ({"api_key": "sk-proj-" + "x" * 40}, "secret"),
    ],
)
def test_a_bench_that_is_wrong_is_refused_with_its_place(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    right_one = {
        "data": {"train": "x.jsonl"},
        "metrics": ["accuracy"],
        "candidates": [{"name": "a", "at": {"base_url": "http://x/v1", "model": "m"}}],
    }
    path = tmp_path / "bench.yaml"
    path.write_text(json.dumps({**right_one, **change}))
    with pytest.raises(SpecError) as caught:
        load(path)
    assert said in str(caught.value)
    assert "bench.yaml" in str(caught.value)


def test_two_candidates_of_one_name_are_refused(tmp_path: Path, rows: Path, serve: Serve) -> None:
    server = serve(right)
    described = bench(rows, {"one": server})
    described["candidates"] *= 2
    with pytest.raises(SpecError, match="two candidates are called 'one'"):
        Comparison(described, home=tmp_path / "home").run()


def test_a_name_that_is_no_folder_is_refused(tmp_path: Path, rows: Path, serve: Serve) -> None:
    with pytest.raises(SpecError, match="name"):
        Comparison(bench(rows, {"../up": serve(right)}), home=tmp_path / "home")


def test_a_group_of_the_test_file_is_left_out_of_the_training_file(tmp_path: Path, serve: Serve) -> None:
    def patients(name: str, first: int, numbers: range) -> str:
        rows = [{"prompt": words(first + n), "completion": "joy", "patient": n % len(numbers)} for n in numbers]
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(tmp_path / name)

    described = bench(tmp_path, {"one": serve(right)})
    train, test = patients("train.jsonl", 0, range(40)), patients("test.jsonl", 500, range(35, 45))
    described["data"] = {"train": train, "test": test, "group_by": "patient"}
    frozen, _ = Comparison(described, home=tmp_path / "home").plan()
    assert (frozen.leaks, frozen.rows["train"], frozen.rows["test"]) == ({"group": 10}, 30, 10)


def test_one_test_row_is_enough_to_be_told_that_it_is_not_enough(tmp_path: Path, serve: Serve) -> None:
    lines = [json.dumps({"prompt": words(index), "completion": "a"}) for index in range(3)]
    (tmp_path / "few.jsonl").write_text("\n".join(lines))
    described = bench(tmp_path / "few.jsonl", {"one": serve(right), "two": serve(wrong)})
    results = Comparison(described, home=tmp_path / "home").run()
    assert results.split.rows["test"] == 1
    assert any("only 1 test rows" in note for note in results.split.notes)


def test_one_row_cannot_be_divided(tmp_path: Path, serve: Serve) -> None:
    (tmp_path / "one.jsonl").write_text(json.dumps({"prompt": "a", "completion": "b"}) + "\n")
    with pytest.raises(DataError, match="1 row cannot be divided into test, train"):
        Comparison(bench(tmp_path / "one.jsonl", {"one": serve(right)}), home=tmp_path / "home").run()


IMPOSSIBLE: tuple[tuple[dict[str, Any], str], ...] = (
    ({"judge": {"at": {"base_url": "http://x/v1", "model": "j"}, "against": "nobody"}}, "judge: there is no"),
    ({"curve": {}}, "curve: there is no tuned candidate; there are: none"),
    ({"candidates": [{"name": "a", "provider": "nonsense", "tune": {}}]}, "candidate 'a': no provider 'nonsense'"),
    ({"metrics": ["accuracy", {"json_schema": {"schema": "no.json"}}]}, "cannot be read as JSON"),
    ({"metrics": ["tool_call", "accuracy"]}, "'tool_call' decides, and does not fit these rows"),
    ({"search": [{"candidate": "one", "over": {"seed": [1, 2]}}]}, "search: there is no tuned candidate 'one'"),
)


@pytest.mark.parametrize(("change", "said"), IMPOSSIBLE)
def test_what_cannot_be_done_is_refused_before_anything_is_asked(
    tmp_path: Path, rows: Path, serve: Serve, change: dict[str, Any], said: str
) -> None:
    server = serve(right)
    with pytest.raises((SpecError, DataError)) as caught:
        Comparison(bench(rows, {"one": server}, **change), home=tmp_path / "home").run()
    assert said in str(caught.value)
    assert server.asked == []


def test_a_metric_that_does_not_fit_is_told_in_the_plan(tmp_path: Path, rows: Path, serve: Serve) -> None:
    described = bench(rows, {"one": serve(right)}, metrics=["accuracy", "tool_call"])
    frozen, _ = Comparison(described, home=tmp_path / "home").plan()
    assert any(note.startswith("tool_call will not be measured: ") for note in frozen.notes)


def test_another_bench_in_the_same_folder_is_refused_with_the_difference(
    tmp_path: Path, rows: Path, serve: Serve
) -> None:
    described = bench(rows, {"one": serve(right)})
    Comparison(described, home=tmp_path / "home").run()
    changed = {**described, "max_tokens": 7}
    with pytest.raises(SpecError, match=r"(?s)max_tokens: 256 -> 7.*--fork"):
        Comparison(changed, home=tmp_path / "home").run()


def test_a_bench_that_was_only_planned_may_change(tmp_path: Path, rows: Path, serve: Serve) -> None:
    first = bench(rows, {"one": serve(right)})
    assert Comparison(first, home=tmp_path / "home").plan()[0].rows["test"] == 36
    second = {**first, "data": {"train": str(rows), "test": 0.5}, "metrics": ["exact_match"]}
    results = Comparison(second, home=tmp_path / "home").run()
    assert (results.split.rows["test"], results.metric) == (45, "exact_match")


def test_test_rows_changed_behind_its_back_are_noticed(tmp_path: Path, rows: Path, serve: Serve) -> None:
    comparison = Comparison(bench(rows, {"one": serve(right)}), home=tmp_path / "home")
    comparison.run()
    items = comparison.folder / "split" / "test-items.jsonl"
    items.write_bytes(items.read_bytes().replace(b"joy", b"fun"))
    with pytest.raises(DataError, match="changed since the split was frozen"):
        comparison.run()


def test_limits_and_prices_may_change_between_runs(tmp_path: Path, rows: Path, serve: Serve) -> None:
    described = bench(rows, {"one": serve(right)})
    Comparison(described, home=tmp_path / "home").run()
    prices = {"given": {"input_per_mtok": 1.0}}
    described |= {"limits": {"requests": 2}, "prices": prices}
    described["candidates"][0]["prices"] = {"input_per_mtok": 2.0}
    Comparison(described, home=tmp_path / "home").run()


def test_answers_to_another_bench_are_not_reported_as_those_to_this_one(
    tmp_path: Path, rows: Path, serve: Serve
) -> None:
    described = bench(rows, {"one": serve(right)})
    Comparison(described, home=tmp_path / "home").run()
    other_metric = Comparison({**described, "metrics": ["exact_match"]}, home=tmp_path / "home")
    assert other_metric.results().metric == "exact_match"
    with pytest.raises(SpecError, match="max_tokens: 256 -> 7"):
        Comparison({**described, "max_tokens": 7}, home=tmp_path / "home").results()


def test_as_many_training_rows_as_asked_for_are_chosen_from_the_whole_file(tmp_path: Path, serve: Serve) -> None:
    path = tmp_path / "sorted.jsonl"
    lines = [{"prompt": words(index), "completion": str(index // 30)} for index in range(120)]  # sorted by label
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    described = bench(path, {"one": serve(right)})
    described["data"] |= {"max_train": 30}
    comparison = Comparison(described, home=tmp_path / "home")
    assert comparison.plan()[0].rows["train"] == 30
    kept = (comparison.folder / "split" / "train.jsonl").read_text().splitlines()
    assert {json.loads(line)["messages"][-1]["content"] for line in kept} == {"0", "1", "2", "3"}


@pytest.mark.parametrize(
    ("over", "said"),
    [
        ({"hyperparams.learning_rate": [0.1]}, "over 'hyperparams.learning_rate', value 0.1: .*did you mean"),
        ({"hyperparameters.learning_rate": [0.1, "much"]}, "value 'much'"),
        ({"data.train": ["a", "b"]}, "'data.train' is the comparison's own"),
    ],
)
def test_a_search_over_what_no_job_has_is_refused_before_anything_is_trained(
    over: dict[str, Any], said: str, tmp_path: Path, rows: Path
) -> None:
    described = bench(rows, {}, candidates=[{"name": "lora", "tune": {}}], base={"model": "builtin/tiny"})
    described["data"] |= {"validation": 0.1}
    described["search"] = [{"candidate": "lora", "over": over}]
    with pytest.raises(SpecError, match=said):
        Comparison(described, home=tmp_path / "home").plan()


@pytest.mark.parametrize(
    "over",
    [
        {"adapter.r": {"low": 0.4, "high": 8, "whole": True}},
        {"hyperparameters.epochs": {"low": 0, "high": 3}},
        {"hyperparameters.learning_rate": [1e-4, "auto"], "hyperparameters.learning_rate_multiplier": ["auto", 2.0]},
    ],
)
def test_a_search_is_not_refused_for_what_it_never_draws_or_can_draw_beside_something_else(
    over: dict[str, Any], tmp_path: Path, rows: Path
) -> None:
    described = bench(
        rows, {}, candidates=[{"name": "lora", "tune": {"adapter": "lora"}}], base={"model": "builtin/tiny"}
    )
    described["data"] |= {"validation": 0.1}
    described["search"] = [{"candidate": "lora", "over": over}]
    assert Comparison(described, home=tmp_path / "home").plan()[0].rows["train"] > 0


def test_a_password_in_an_address_is_not_shown_by_what_refuses_it(tmp_path: Path) -> None:
    path = tmp_path / "bench.yaml"
    at = {"base_url": "https://me:pa55word@x/v1", "model": "m"}
    path.write_text(
        json.dumps({"data": {"train": "x"}, "metrics": ["accuracy"], "candidates": [{"name": "a", "at": at}]})
    )
    with pytest.raises(SpecError, match="must not hold a name or a password") as caught:
        load(path)
    assert "pa55word" not in str(caught.value)


def test_a_user_s_function_that_counts_is_shown_as_it_is(tmp_path: Path, rows: Path, serve: Serve) -> None:
    own = tmp_path / "own.py"
    own.write_text("def score(answer, reference, item):\n    return len(answer)\n")
    described = bench(rows, {"one": serve(lambda _body: "x" * 12)}, metrics=[{"python": {"file": str(own)}}])
    results = Comparison(described, home=tmp_path / "home").run()
    assert results.summary.startswith("Only one was scored: own function 12.0")


def test_a_users_function_that_fails_on_answers_costs_only_its_own_metric(
    tmp_path: Path, rows: Path, serve: Serve
) -> None:
    own = tmp_path / "own.py"
    own.write_text("def score(answer, reference, item):\n    return {'joy': 1, 'anger': 2, 'fear': 3}[answer]\n")
    servers = {"one": serve(right), "two": serve(wrong)}
    described = bench(rows, servers, metrics=[{"python": {"file": str(own)}}, "accuracy"])
    results = Comparison(described, home=tmp_path / "home").run()
    assert "own.py:score raised KeyError: 'no idea' for item" in results.candidate("two").unfit["python"]
    assert results.candidate("two").scores["accuracy"].value == 0.0
    assert results.summary.startswith("Only one was scored: own function")
    assert any(text.startswith("two has no python: own.py:score raised KeyError") for text in results.findings)


def test_what_was_forgotten_is_measured_against_the_same_base_model(tmp_path: Path, rows: Path) -> None:
    candidates: list[dict[str, Any]] = [
        {"name": "small", "model": "org/small"},
        {"name": "large", "model": "org/large"},
        {"name": "lora", "model": "org/large", "tune": {}},
        {"name": "plain", "base_of": "lora"},
        {"name": "other", "model": "org/other", "tune": {}},
        {"name": "plain-other", "base_of": "other"},
    ]
    comparison = Comparison(bench(rows, {}, candidates=candidates), home=tmp_path / "home")
    comparison.plan()
    said = {"small": "nothing like it", "large": "Paris", "lora": "Paris", "other": "Rome", "plain-other": "Rome"}
    for name, text in said.items():
        folder = comparison.folder / "candidates" / name
        folder.mkdir(parents=True)
        (folder / "state.json").write_text(json.dumps({"stage": "done", "job_id": "ft-gone"}))
        (folder / "neutral.jsonl").write_text(json.dumps({"item": "neutral-0000", "text": text}) + "\n")
    drifts = [comparison.results().candidate(name).drift for name in ("lora", "other")]
    assert [one and one.agreement for one in drifts] == [100.0, 100.0]


def test_a_slice_that_no_test_row_belongs_to_is_refused(tmp_path: Path, rows: Path) -> None:
    described = bench(rows, {}, candidates=[{"name": "a", "model": "m"}], slices=["languge"])
    with pytest.raises(DataError, match="slices: no test row has a key 'languge'"):
        Comparison(described, home=tmp_path / "home").plan()
