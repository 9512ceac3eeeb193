"""Procedures and their two drivers: no network, no waiting."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import anyio
import pytest

from finetune_sdk._steps import Call, Emit, Sleep, Steps, aiterate, arun, iterate, run
from finetune_sdk.errors import Ambiguous, AuthFailed, Throttled, Unreachable


def both(make: Callable[[], Steps[Any]]) -> list[Any]:
    """The answers of both drivers."""
    return [run(make()), asyncio.run(arun(make()))]


def test_a_procedure_answers_what_it_returns() -> None:
    def add() -> Steps[int]:
        one = yield from Call(lambda: 1)
        yield from Sleep(0)
        return one + 1

    assert both(add) == [2, 2]


def test_a_procedure_needs_no_driver_to_be_tested() -> None:
    def ask() -> Steps[str]:
        return (yield from Call(str))

    steps = ask()
    assert isinstance(next(steps), Call)
    with pytest.raises(StopIteration) as end:
        steps.send("answer")
    assert end.value.value == "answer"


def test_an_exception_in_a_call_can_be_caught_in_the_procedure() -> None:
    def careful() -> Steps[str]:
        try:
            yield from Call(_missing)
        except KeyError:
            return "caught"
        return "missed"

    assert both(careful) == ["caught", "caught"]


@pytest.mark.parametrize("driver", [run, lambda steps: asyncio.run(arun(steps))])  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
def test_an_exception_that_nobody_catches_reaches_the_caller(driver: Callable[[Steps[Any]], Any]) -> None:
    def careless() -> Steps[None]:
        yield from Call(_missing)

    with pytest.raises(KeyError):
        driver(careless())


def test_what_is_emitted_is_handed_on_in_order() -> None:
    def count() -> Steps[None]:
        for number in range(3):
            yield from Call(int)
            yield from Emit(number)

    async def collected() -> list[int]:
        return [number async for number in aiterate(count())]

    assert list(iterate(count())) == asyncio.run(collected()) == [0, 1, 2]


def test_leaving_an_iteration_early_closes_the_procedure() -> None:
    closed: list[bool] = []

    def endless() -> Steps[None]:
        try:
            while True:
                yield from Emit(1)
        finally:
            closed.append(True)

    events = iterate(endless())
    next(events)
    del events

    assert closed == [True]


def test_the_async_driver_blocks_a_thread_and_not_the_loop() -> None:
    def where() -> Steps[int]:
        return (yield from Call(threading.get_ident))

    assert asyncio.run(arun(where())) != threading.get_ident()


def test_an_awaiting_task_can_be_cancelled_while_a_call_blocks() -> None:
    release = threading.Event()

    def stuck() -> Steps[bool]:
        return (yield from Call(lambda: release.wait(60)))

    async def impatient() -> None:
        async with asyncio.timeout(0.02):
            await arun(stuck())

    with pytest.raises(TimeoutError):
        asyncio.run(impatient())
    release.set()


def test_a_call_that_must_not_be_abandoned_is_waited_for() -> None:
    begun, done = threading.Event(), list[bool]()

    def deed() -> None:
        begun.set()
        threading.Event().wait(0.04)
        done.append(True)

    def careful() -> Steps[None]:
        yield from Call(deed, abandon=False)

    async def impatient() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(arun, careful())
            await asyncio.to_thread(begun.wait, 60)
            tasks.cancel_scope.cancel()

    asyncio.run(impatient())
    assert done == [True]


def test_a_call_once_begun_runs_to_its_end_even_when_its_task_is_cancelled() -> None:
    begun, ended = threading.Event(), threading.Event()

    def deed() -> None:
        begun.set()
        threading.Event().wait(0.03)
        ended.set()

    def careful() -> Steps[None]:
        yield from Call(deed, abandon=False)

    async def impatient() -> None:
        task = asyncio.create_task(arun(careful()))
        await asyncio.to_thread(begun.wait, 60)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(impatient())
    assert ended.wait(60)


def _missing() -> str:
    raise KeyError("x")


class Flaky:
    """Raises the errors one after the other, then answers how often it was called."""

    def __init__(self, errors: Sequence[Exception]) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> int:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return self.calls


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the drivers wanted to sleep; they do not. Other threads of the process sleep as they like."""
    wanted: list[float] = []
    ours, really = threading.get_ident(), time.sleep

    def nap(seconds: float) -> None:
        if threading.get_ident() == ours:
            wanted.append(seconds)
        else:
            really(seconds)

    async def sleep(seconds: float) -> None:
        wanted.append(seconds)

    monkeypatch.setattr("time.sleep", nap)
    monkeypatch.setattr("anyio.sleep", sleep)
    return wanted


def _repeated(deed: Callable[[], int], *, repeat: bool = True) -> Steps[int]:
    return (yield from Call(deed, repeat=repeat))


@pytest.mark.parametrize("error", [Throttled("slow down"), Unreachable("no answer")])
def test_a_read_is_repeated(naps: list[float], error: Exception) -> None:
    assert both(lambda: _repeated(Flaky([error, error]))) == [3, 3]
    assert len(naps) == 4


def test_a_throttled_read_waits_as_long_as_it_was_told(naps: list[float]) -> None:
    both(lambda: _repeated(Flaky([Throttled("slow down", retry_after_s=17.5)])))

    assert naps == [17.5, 17.5]


@pytest.mark.parametrize("error", [AuthFailed("no"), Ambiguous("who knows"), KeyError("bug")])
def test_other_errors_are_not_repeated(naps: list[float], error: Exception) -> None:
    flaky = Flaky([error])
    with pytest.raises(type(error)):
        run(_repeated(flaky))

    assert (flaky.calls, naps) == (1, [])


def test_what_creates_is_never_repeated(naps: list[float]) -> None:
    flaky = Flaky([Throttled("slow down"), Throttled("slow down")])
    with pytest.raises(Throttled):
        run(_repeated(flaky, repeat=False))

    assert (flaky.calls, naps) == (1, [])


def test_an_outage_without_end_is_given_up_after_minutes(naps: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.monotonic", lambda: sum(naps))
    with pytest.raises(Unreachable):
        run(_repeated(Flaky([Unreachable("down")] * 10_000)))

    assert 200 < sum(naps) <= 300
