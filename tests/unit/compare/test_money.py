"""The cap on money: what a vendor charges, also for replies that never came, stays below it."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from toy_chat import Chat, Reply, chat

from finetune_sdk.compare import Comparison
from finetune_sdk.compare.bench import Bench, Limits, Prices
from finetune_sdk.compare.budget import Budget
from finetune_sdk.compare.candidates import prices_of
from finetune_sdk.compare.items import Answer, Item
from finetune_sdk.compare.meter import Meter
from finetune_sdk.compare.state import Folder
from finetune_sdk.errors import BudgetExceeded, WrongStatus

PRICES = {"input_per_mtok": 10.0, "output_per_mtok": 30.0}
MAX_TOKENS = 20


def words(index: int) -> str:
    drawn = random.Random(index)
    return " ".join("".join(drawn.choices("abcdefghijklmnop", k=6)) for _ in range(12))


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"prompt": words(index), "completion": "joy"}) + "\n" for index in range(90)))
    return path


@dataclass
class Vendor:
    """Charges every request it has read, whatever becomes of its reply; breaks `broken` of them."""

    broken: float = 0.0
    usd: float = 0.0
    seen: list[str] = field(default_factory=list[str])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, body: dict[str, Any]) -> Reply:
        text = Chat.question(body)
        read = sum(len(one["content"]) // 3 for one in body["messages"])
        usage = {"prompt_tokens": read, "completion_tokens": body["max_tokens"]}
        with self._lock:
            self.usd += (read * PRICES["input_per_mtok"] + usage["completion_tokens"] * PRICES["output_per_mtok"]) / 1e6
            self.seen.append(text)
            breaks = random.Random(f"{text}{self.seen.count(text)}").random() < self.broken
        return (500, "it broke, and you pay") if breaks else {"content": "joy", "usage": usage}


def bench(rows: Path, server: Chat, cap: float, **more: Any) -> dict[str, Any]:
    return {
        "name": "priced", "data": {"train": str(rows), "test": 0.4}, "metrics": ["accuracy"], "max_tokens": MAX_TOKENS,
        "candidates": [{"name": "hosted", "at": {"base_url": server.base_url, "model": "m"}, "prices": PRICES}],
        "limits": {"max_cost_usd": cap, "attempts": 4, "requests": 4}, **more,
    }  # fmt: skip


@pytest.mark.parametrize("cap", [0.052, 0.07, 0.2])
def test_the_cap_holds_for_a_vendor_that_charges_for_what_it_breaks(tmp_path: Path, rows: Path, cap: float) -> None:
    vendor = Vendor(broken=0.5)
    with chat(vendor) as server:
        results = Comparison(bench(rows, server, cap), home=tmp_path / "home").run()
    assert vendor.usd > 0.02  # it was asked
    assert vendor.usd <= results.spent_usd <= cap  # type: ignore[operator]
    assert (results.candidates[0].stage == "done") == (cap == 0.2)


def test_a_second_run_does_not_forget_what_the_first_one_spent(tmp_path: Path, rows: Path) -> None:
    vendor = Vendor(broken=0.5)
    with chat(vendor) as server:
        for cap in (0.05, 0.052, 0.055):
            results = Comparison(bench(rows, server, cap), home=tmp_path / "home").run()
            assert vendor.usd <= results.spent_usd <= cap  # type: ignore[operator]


def test_what_was_answered_before_the_money_was_up_is_kept(tmp_path: Path, rows: Path) -> None:
    vendor = Vendor(broken=0.5)
    with chat(vendor) as server:
        comparison = Comparison(bench(rows, server, 0.052), home=tmp_path / "home")
        assert "asking of hosted was stopped" in str(comparison.run().candidates[0].error)
        answered = [one.item for one in Folder(comparison.home, "priced").answers("hosted").values() if not one.error]
        assert answered
        vendor.broken, already = 0.0, len(vendor.seen)
        results = Comparison(bench(rows, server, 1.0), home=tmp_path / "home").run()
    assert results.candidates[0].stage == "done"
    assert len(vendor.seen) - already == 36 - len(answered)


def test_a_judge_without_prices_is_not_asked_under_a_cap_and_one_with_prices_is_counted(
    tmp_path: Path, rows: Path
) -> None:
    judge = Vendor()
    with chat(Vendor()) as server, chat(judge) as other:
        described = bench(rows, server, 5.0, judge={"at": {"base_url": other.base_url, "model": "j"}})
        described["candidates"] *= 2
        described["candidates"][1] = {**described["candidates"][1], "name": "second"}
        results = Comparison(described, home=tmp_path / "home").run()
        assert judge.seen == []
        assert "its price is unknown" in str(results.judged[0].error)
        described["judge"]["prices"] = PRICES
        results = Comparison({**described, "name": "again"}, home=tmp_path / "home").run()
    assert len(judge.seen) == 72
    assert (results.spent_usd or 0.0) >= judge.usd
    assert results.judged[0].error is None


def test_money_that_was_in_flight_at_a_kill_counts_as_spent(tmp_path: Path) -> None:
    path, limits = tmp_path / "spent.json", Limits(max_cost_usd=1.0)
    items = [Item(id=str(n), messages=[{"role": "user", "content": "a" * 100}]) for n in range(10)]

    def begun(known: dict[str, Answer]) -> Meter:
        meter = Meter(Budget(path, limits), "one", Prices(**PRICES), max_tokens=100)
        meter.begin(items, known, lambda item: item.messages, at_once=4)
        return meter

    begun({})  # and killed: it is never left
    known = {"0": Answer(item="0", text="x", prompt_tokens=30, completion_tokens=100)}
    with begun(known):
        pass
    dearest = 4 * (100 + 100 * 3) * 10 / 1e6
    answered = (30 + 100 * 3) * 10 / 1e6
    assert Budget(path, limits).spent_usd > dearest + answered


def test_what_a_local_machine_costs_by_the_hour_is_under_the_cap_too(tmp_path: Path) -> None:
    budget = Budget(tmp_path / "spent.json", Limits(max_cost_usd=1.0))
    with (
        pytest.raises(BudgetExceeded, match="machine of big was not begun: at what runs by the hour the 1 USD"),
        budget.by_the_hour("big", 1_000.0, what="machine"),  # 3.6 seconds' worth, and stopping takes longer
    ):
        raise AssertionError("it was begun")
    with budget.by_the_hour("small", 10.0, what="machine"):
        assert budget.left_s == pytest.approx(340, abs=15)


def test_a_comparison_that_is_at_work_is_not_run_twice(tmp_path: Path, rows: Path) -> None:
    with chat(Vendor()) as server:
        comparison = Comparison(bench(rows, server, 1.0), home=tmp_path / "home")
        with (
            Folder(comparison.home, "priced").claimed(),
            pytest.raises(WrongStatus, match="at work in another process"),
        ):
            comparison.run()


@contextmanager
def running(bench: Path, home: Path) -> Generator[subprocess.Popen[bytes]]:
    command = [str(Path(sys.executable).with_name("finetune")), "compare", str(bench), "--home", str(home), "--yes"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=dict(os.environ))
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_run_goes_on_without_asking_or_paying_again(tmp_path: Path, rows: Path, how: signal.Signals) -> None:
    half, go = threading.Event(), threading.Event()
    vendor = Vendor()

    def slow(body: dict[str, Any]) -> Reply:
        reply = vendor(body)
        if len(vendor.seen) > 18:
            half.set()
            go.wait(240)
        return reply

    with chat(slow) as server:
        described = bench(rows, server, 1.0)
        path, home = tmp_path / "bench.json", tmp_path / "home"
        path.write_text(json.dumps(described))
        with running(path, home) as process:
            assert half.wait(240), process.stderr
            process.send_signal(how)
            go.set()
            said = process.communicate(timeout=240)[1].decode()
        kept = [one for one in Folder(home, "priced").answers("hosted").values() if not one.error]
        assert len(kept) >= 14
        before = len(vendor.seen)
        results = Comparison(path, home=home).run()
    assert len(vendor.seen) - before == 36 - len(kept)
    assert results.candidates[0].stage == "done"
    assert vendor.usd <= (results.spent_usd or 0.0) <= 1.0
    if how is signal.SIGINT:  # what was in flight is heard to its end
        assert len(vendor.seen) == 36
        assert "Stopped. What was answered is kept" in said


def test_models_elsewhere_are_asked_side_by_side(tmp_path: Path, rows: Path) -> None:
    both = threading.Barrier(2)
    first: set[str] = set()

    def meeting(body: dict[str, Any]) -> Reply:
        if body["model"] not in first:
            first.add(body["model"])
            both.wait(240)
        return "joy"

    with chat(meeting) as server:
        described = bench(rows, server, 1.0, limits={"requests": 1})
        at = described["candidates"][0]["at"]
        described["candidates"] = [{"name": name, "at": {**at, "model": name}} for name in ("one", "two")]
        results = Comparison(described, home=tmp_path / "home").run()
    assert [one.failed for one in results.candidates] == [0, 0]


def test_what_answers_elsewhere_has_no_price_of_a_provider(tmp_path: Path) -> None:
    tree: dict[str, Any] = {
        "name": "b", "data": {"train": str(tmp_path / "r.jsonl")}, "metrics": ["accuracy"],
        "prices": {"peft": {"compute_per_hour": 0.5}},
        "candidates": [{"name": "theirs", "at": {"base_url": "http://127.0.0.1:9/v1", "model": "m"}}],
    }  # fmt: skip
    described = Bench.model_validate(tree)
    assert prices_of(described, described.candidates[0]) == Prices()
    named = described.model_copy(update={"prices": {"given": Prices(output_per_mtok=1.0)}})
    assert prices_of(named, named.candidates[0]).output_per_mtok == 1.0
