"""Comparisons over real HTTP: what is asked, kept, taken up again, counted, and said."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from tones import TONES, Serve, bench, right, tone, words, wrong
from toy_chat import Chat, Reply

from finetune_sdk.compare import Comparison


def test_the_better_candidate_is_named_with_its_interval(tmp_path: Path, rows: Path, serve: Serve) -> None:
    servers = {"good": serve(right), "bad": serve(wrong)}
    results = Comparison(bench(rows, servers), home=tmp_path / "home").run()
    assert results.summary.startswith("good beats bad by 100.0 points of accuracy (95 % ")
    assert [one.scores["accuracy"].value for one in results.candidates] == [1.0, 0.0]


def test_equal_candidates_are_not_told_apart(tmp_path: Path, rows: Path, serve: Serve) -> None:
    servers = {"one": serve(right), "two": serve(right)}
    results = Comparison(bench(rows, servers), home=tmp_path / "home").run()
    assert "score the same on every item" in results.summary


def test_every_candidate_is_asked_the_same_rows_once(tmp_path: Path, rows: Path, serve: Serve) -> None:
    servers = {"one": serve(right), "two": serve(wrong)}
    results = Comparison(bench(rows, servers), home=tmp_path / "home").run()
    asked = [sorted(Chat.question(body) for body in one.asked) for one in servers.values()]
    assert asked[0] == asked[1]
    assert len(set(asked[0])) == len(asked[0]) == results.split.rows["test"] == 36


def test_a_second_run_asks_nothing_again(tmp_path: Path, rows: Path, serve: Serve) -> None:
    servers = {"one": serve(right)}
    described = bench(rows, servers)
    first = Comparison(described, home=tmp_path / "home").run()
    count = len(servers["one"].asked)
    again = Comparison(described, home=tmp_path / "home").run()
    assert len(servers["one"].asked) == count
    assert again.candidates[0].scores == first.candidates[0].scores


def test_an_interrupted_run_asks_only_what_is_missing(tmp_path: Path, rows: Path, serve: Serve) -> None:
    server = serve(right)
    described = bench(rows, {"one": server}, limits={"requests": 1})
    comparison = Comparison(described, home=tmp_path / "home")

    def interrupt(_name: str, _standing: object, done: int, _of: int) -> None:
        if done == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        comparison.run(interrupt)
    before = len(server.asked)
    comparison.run()
    assert before < 36
    assert len(server.asked) <= 36 + 1  # one was in flight when it was interrupted


def test_a_torn_last_answer_is_asked_again(tmp_path: Path, rows: Path, serve: Serve) -> None:
    server = serve(right)
    comparison = Comparison(bench(rows, {"one": server}), home=tmp_path / "home")
    comparison.run()
    folder = comparison.folder / "candidates" / "one"
    text = (folder / "answers.jsonl").read_bytes()
    (folder / "answers.jsonl").write_bytes(text[:-20])
    (folder / "state.json").write_text(json.dumps({"stage": "asking"}))
    results = comparison.run()
    assert len(server.asked) == 37
    assert results.candidates[0].failed == 0


def test_errors_are_counted_and_not_averaged_away(tmp_path: Path, rows: Path, serve: Serve) -> None:
    def flaky(body: dict[str, Any]) -> Reply:
        text = Chat.question(body)
        return (400, "this one is too hard") if text.startswith("a") else tone(text)

    server = serve(flaky)
    results = Comparison(bench(rows, {"flaky": server}), home=tmp_path / "home").run()
    found = results.candidates[0]
    hard = sum(Chat.question(body).startswith("a") for body in server.asked)
    assert found.failed == hard > 0
    assert found.scores["accuracy"].value == pytest.approx((36 - hard) / 36)
    assert next(iter(found.errors)).startswith("HTTP 400: ")


def test_a_busy_server_is_asked_again(tmp_path: Path, rows: Path, serve: Serve) -> None:
    seen: set[str] = set()

    def busy(body: dict[str, Any]) -> Reply:
        text = Chat.question(body)
        if text not in seen:
            seen.add(text)
            return 503, "overloaded"
        return tone(text)

    results = Comparison(bench(rows, {"busy": serve(busy)}), home=tmp_path / "home").run()
    assert results.candidates[0].scores["accuracy"].value == 1.0


@pytest.mark.parametrize("refuses", ["stream_options", "temperature", "max_completion_tokens"])
def test_what_a_server_does_not_take_is_left_out(tmp_path: Path, rows: Path, serve: Serve, refuses: str) -> None:
    def picky(body: dict[str, Any]) -> Reply:
        if refuses == "max_completion_tokens":
            return (400, "use max_completion_tokens instead") if "max_tokens" in body else right(body)
        return (400, f"unknown field {refuses}") if refuses in body else right(body)

    results = Comparison(bench(rows, {"picky": serve(picky)}), home=tmp_path / "home").run()
    assert results.candidates[0].scores["accuracy"].value == 1.0


def test_a_server_that_is_not_there_fails_its_candidate_only(tmp_path: Path, rows: Path, serve: Serve) -> None:
    nobody = Chat(base_url="http://127.0.0.1:9/v1")
    results = Comparison(bench(rows, {"nobody": nobody, "good": serve(right)}), home=tmp_path / "home").run()
    found = {one.name: one for one in results.candidates}
    assert found["nobody"].stage == "failed"
    assert "nobody answers at http://127.0.0.1:9/v1" in str(found["nobody"].error)
    assert found["good"].scores["accuracy"].value == 1.0


def test_a_refused_key_ends_the_candidate_at_once_and_is_shown_nowhere(
    tmp_path: Path, rows: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "sk-proj-" + "k3y" * 12
    monkeypatch.setenv("MY_KEY", key)
    server = serve(lambda _body: (401, f"wrong key {key}"))
    described = bench(rows, {})
    described["candidates"] = [
        {"name": "shut", "at": {"base_url": server.base_url, "model": "m", "api_key_env": "MY_KEY"}}
    ]
    comparison = Comparison({**described, "limits": {"requests": 1}}, home=tmp_path / "home")
    results = comparison.run()
    assert len(server.asked) == 1
    assert server.keys == [f"Bearer {key}"]
    assert "refuses the key in MY_KEY" in str(results.candidates[0].error)
    assert not [path for path in comparison.home.rglob("*") if path.is_file() and key.encode() in path.read_bytes()]


def test_few_shot_examples_come_from_the_training_rows(tmp_path: Path, rows: Path, serve: Serve) -> None:
    server = serve(right)
    described = bench(rows, {})
    at = {"base_url": server.base_url, "model": "m"}
    described["candidates"] = [{"name": "shots", "at": at, "prompt": {"few_shot": {"k": 3}}}]
    Comparison(described, home=tmp_path / "home").run()
    test = {Chat.question(body) for body in server.asked}
    first = server.asked[0]["messages"]
    assert [one["role"] for one in first] == ["user", "assistant"] * 3 + ["user"]
    assert {one["content"] for one in first[1:6:2]} == set(TONES)  # one of each label first
    assert not {one["content"] for one in first[:-1]} & test


def test_the_nearest_examples_are_those_that_share_words(tmp_path: Path, serve: Serve) -> None:
    topics = {"ships": "harbour mast sail anchor", "bread": "oven flour crust yeast", "stars": "nova orbit comet sky"}
    lines = [
        json.dumps({"prompt": f"{text} {words(index * 7 + place)}", "completion": topic})
        for index in range(20)
        for place, (topic, text) in enumerate(topics.items())
    ]
    path = tmp_path / "topics.jsonl"
    path.write_text("\n".join(lines))
    server = serve(lambda body: str(body["messages"][-2]["content"]))  # what the nearest example answered
    described = bench(path, {})
    prompt = {"few_shot": {"k": 2, "choose": "nearest"}}
    described["candidates"] = [{"name": "knn", "at": {"base_url": server.base_url, "model": "m"}, "prompt": prompt}]
    results = Comparison(described, home=tmp_path / "home").run()
    assert results.candidates[0].scores["accuracy"].value == 1.0


def test_a_budget_is_not_exceeded_and_an_unknown_price_is_no_zero(tmp_path: Path, rows: Path, serve: Serve) -> None:
    servers = {"priced": serve(right), "dear": serve(right), "unpriced": serve(right)}
    described = bench(rows, servers, limits={"max_cost_usd": 0.05}, max_tokens=10)
    described["candidates"][0]["prices"] = {"input_per_mtok": 0.1, "output_per_mtok": 0.4}
    described["candidates"][1]["prices"] = {"input_per_mtok": 100, "output_per_mtok": 4000}
    results = Comparison(described, home=tmp_path / "home").run()
    found = {one.name: one for one in results.candidates}
    assert found["priced"].stage == "done"
    assert found["priced"].costs.evaluation == pytest.approx(36 * (12 * 0.1 + 3 * 0.4) / 1e6)
    assert found["dear"].stage == found["unpriced"].stage == "over budget"
    assert "its price is unknown" in str(found["unpriced"].error)
    assert not servers["dear"].asked
    assert not servers["unpriced"].asked
    assert (results.spent_usd or 0.0) <= 0.05


def test_a_judge_that_prefers_the_first_answer_decides_nothing(tmp_path: Path, rows: Path, serve: Serve) -> None:
    servers = {"one": serve(right), "two": serve(wrong)}
    judge = serve(lambda _body: "Both are fine.\nVerdict: A")
    described = bench(rows, servers, judge={"at": {"base_url": judge.base_url, "model": "judge"}})
    results = Comparison(described, home=tmp_path / "home").run()
    found = results.judged[0]
    assert (found.won, found.lost, found.inconsistent) == (0, 0, 36)


def test_a_judge_that_looks_at_the_answers_is_believed(tmp_path: Path, rows: Path, serve: Serve) -> None:
    def fair(body: dict[str, Any]) -> Reply:
        text = Chat.question(body)
        return "Verdict: B" if text.index("no idea") < text.index("Answer B:") else "Verdict: A"

    servers = {"one": serve(wrong), "two": serve(right)}
    described = bench(rows, servers, judge={"at": {"base_url": serve(fair).base_url, "model": "judge"}})
    found = Comparison(described, home=tmp_path / "home").run().judged[0]
    assert (found.candidate, found.against, found.won, found.lost) == ("two", "one", 36, 0)
    assert found.p_value is not None
    assert found.p_value < 1e-6


def test_a_judges_nonsense_is_counted_apart(tmp_path: Path, rows: Path, serve: Serve) -> None:
    servers = {"one": serve(right), "two": serve(wrong)}
    described = bench(
        rows, servers, judge={"at": {"base_url": serve(lambda _body: "I like turtles").base_url, "model": "j"}}
    )
    found = Comparison(described, home=tmp_path / "home").run().judged[0]
    assert (found.nonsense, found.won + found.lost + found.tied, found.share) == (36, 0, None)


def test_a_judge_that_is_rate_limited_is_asked_again_and_then_counted(tmp_path: Path, rows: Path, serve: Serve) -> None:
    seen: list[str] = []

    def busy(body: dict[str, Any]) -> Reply:
        text = Chat.question(body)
        seen.append(text)
        if text.startswith("Question:\na") or seen.count(text) == 1:  # these always, the others once
            return 429, "slow down"
        return "Verdict: tie"

    servers = {"one": serve(right), "two": serve(wrong)}
    described = bench(
        rows,
        servers,
        judge={"at": {"base_url": serve(busy).base_url, "model": "j"}},
        limits={"attempts": 2, "requests": 64},
    )
    found = Comparison(described, home=tmp_path / "home").run().judged[0]
    refused = {text for text in seen if text.startswith("Question:\na")}
    assert found.failed == len(refused) / 2 > 0
    assert found.tied == 36 - found.failed


def test_an_answer_that_takes_too_long_is_an_error_and_its_time_is_no_latency(
    tmp_path: Path, rows: Path, serve: Serve
) -> None:
    end = threading.Event()

    def slow(body: dict[str, Any]) -> Reply:
        text = Chat.question(body)
        if text.startswith("a"):
            end.wait(240)
        return tone(text)

    server = serve(slow)
    limits = {"request_timeout_s": 1.0, "attempts": 1, "requests": 36}
    try:
        found = Comparison(bench(rows, {"slow": server}, limits=limits), home=tmp_path / "home").run().candidates[0]
    finally:
        end.set()
    late = sum(Chat.question(body).startswith("a") for body in server.asked)
    assert found.failed >= late > 0
    assert all("Timeout" in error for error in found.errors)


def test_slices_and_confusion_are_reported(tmp_path: Path, rows: Path, serve: Serve) -> None:
    lines = [json.loads(line) for line in rows.read_text().splitlines()]
    rows.write_text("\n".join(json.dumps({**one, "desk": "east" if i % 2 else "west"}) for i, one in enumerate(lines)))
    described = bench(rows, {"one": serve(right)}, slices=["desk"])
    found = Comparison(described, home=tmp_path / "home").run().candidates[0]
    assert {one.value for one in found.slices} == {"east", "west"}
    assert sum(one.items for one in found.slices) == 36
    assert set(found.confusion or {}) == set(TONES)


def test_a_report_holds_the_verdict_and_no_link_outside(tmp_path: Path, rows: Path, serve: Serve) -> None:
    comparison = Comparison(bench(rows, {"one": serve(right), "two": serve(wrong)}), home=tmp_path / "home")
    results = comparison.run()
    page = (comparison.folder / "report.html").read_text()
    assert results.summary in page
    assert 'http-equiv="Content-Security-Policy" content="default-src \'none\'' in page
    assert "src=" not in page.replace("default-src", "").replace("-src", "")
    assert json.loads((comparison.folder / "report.json").read_text())["summary"] == results.summary
    assert results.summary in (comparison.folder / "report.md").read_text()


def test_candidates_that_answered_nothing_are_not_called_equal(tmp_path: Path, rows: Path, serve: Serve) -> None:
    servers = {name: serve(lambda _body: (404, "no such model")) for name in ("one", "two")}
    results = Comparison(bench(rows, servers), home=tmp_path / "home").run()
    assert results.summary.startswith("Nobody answered a single question: HTTP 404")


def test_a_server_that_is_slow_to_list_its_models_is_asked_all_the_same(
    tmp_path: Path, rows: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(_self: httpx.Client, url: str, **_more: Any) -> None:
        raise httpx.ReadTimeout(f"nothing read from {url}")

    monkeypatch.setattr(httpx.Client, "get", late)
    results = Comparison(bench(rows, {"one": serve(right)}), home=tmp_path / "home").run()
    assert (results.candidates[0].stage, results.candidates[0].failed) == ("done", 0)


def test_questions_that_had_to_be_asked_again_are_counted(tmp_path: Path, rows: Path, serve: Serve) -> None:
    seen: set[str] = set()

    def once(body: dict[str, Any]) -> Reply:
        text = Chat.question(body)
        if text not in seen and text < "h":
            seen.add(text)
            return 429, "slow down"
        return tone(text)

    found = Comparison(bench(rows, {"one": serve(once)}), home=tmp_path / "home").run().candidates[0]
    assert found.again == len(seen) > 0
    assert found.failed == 0


def test_a_server_is_told_that_few_pieces_will_do(tmp_path: Path, rows: Path, serve: Serve) -> None:
    server = serve(right)
    Comparison(bench(rows, {"one": server}), home=tmp_path / "home").run()
    assert set(server.preferred) == {"stream-interval=16"}
