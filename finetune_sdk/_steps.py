"""Procedures without I/O: a generator yields what is to be done, a driver does it, in this thread or on an event loop.

A procedure is written once and serves `FineTuneJob` and `AsyncFineTuneJob`:

    def refresh(...) -> Steps[JobRecord]:
        job = yield from Call(partial(store.get, job_id))          # blocks: the async driver uses a thread
        yield from Sleep(2.0)

An exception inside a `Call` is raised at its `yield from`, so a procedure may catch it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeAlias, TypeVar

import anyio
import anyio.to_thread
import tenacity
from anyio.lowlevel import checkpoint

from finetune_sdk.errors import Throttled, Unreachable

T = TypeVar("T")
S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """Something that blocks. `yield from Call(deed)` answers what `deed()` returns."""

    deed: Callable[[], T]
    repeat: bool = False
    """True only for reads: throttling and lost connections are retried. Never for what creates or costs."""
    abandon: bool = True
    """False: a cancelled anyio scope waits for its end. Cancelled as a bare asyncio task it cannot wait, but the thread
    runs to its end all the same: put what belongs together into one deed."""

    def __iter__(self) -> Generator[Step, Any, T]:
        answer: T = yield self
        return answer


@dataclass(frozen=True, slots=True)
class Sleep:
    """Time to let pass."""

    seconds: float

    def __iter__(self) -> Generator[Step, Any, None]:
        yield self


@dataclass(frozen=True, slots=True)
class Emit(Generic[T]):
    """A value for the one who iterates over the procedure; `run` and `arun` drop it."""

    value: T

    def __iter__(self) -> Generator[Step, Any, None]:
        yield self


Step: TypeAlias = "Call[Any] | Sleep | Emit[Any]"
Steps: TypeAlias = Generator[Step, Any, T]

_FIRST_WAIT_S, _LONGEST_WAIT_S, _GIVE_UP_S = 0.5, 30.0, 300.0  # a short outage must not end a long wait
_backoff = tenacity.wait_random_exponential(multiplier=_FIRST_WAIT_S, max=_LONGEST_WAIT_S)


def _pause_before_retry(state: tenacity.RetryCallState) -> float:
    """What the provider asked for, else exponential with jitter."""
    error = state.outcome.exception() if state.outcome is not None else None
    if isinstance(error, Throttled) and error.retry_after_s is not None:
        return error.retry_after_s
    return _backoff(state)


_policy: dict[str, Any] = {
    "retry": tenacity.retry_if_exception_type((Throttled, Unreachable)),
    "wait": _pause_before_retry,
    "stop": tenacity.stop_before_delay(_GIVE_UP_S),
    "reraise": True,
}


def run(steps: Steps[T]) -> T:
    """Perform a procedure in this thread."""
    driver = _emitted(steps)
    while True:
        try:
            next(driver)
        except StopIteration as end:
            answer: T = end.value
            return answer


def iterate(steps: Steps[Any]) -> Iterator[Any]:
    """Perform a procedure in this thread, handing on what it emits. Leaving the loop early leaves nothing open."""
    return _emitted(steps)


def _emitted(steps: Steps[T]) -> Generator[Any, None, T]:
    advance: Callable[[], Step] = partial(next, steps)
    try:
        while True:
            step = advance()
            if isinstance(step, Emit):
                yield step.value
                advance = partial(next, steps)
                continue
            try:
                answer = _perform(step)
            except Exception as exc:  # noqa: BLE001 - handed to the procedure, which may catch it
                advance = partial(steps.throw, exc)
            else:
                advance = partial(steps.send, answer)
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        steps.close()


def _perform(step: Call[Any] | Sleep) -> Any:
    if isinstance(step, Sleep):
        return tenacity.nap.sleep(step.seconds)
    return tenacity.Retrying(**_policy)(step.deed) if step.repeat else step.deed()


async def arun(steps: Steps[T]) -> T:
    """Perform a procedure on the running event loop; what blocks runs in a thread. Cancelling leaves the job alone."""
    end: list[T] = []
    async for _ in _aemitted(steps, end):
        pass
    return end[0]


def aiterate(steps: Steps[Any]) -> AsyncIterator[Any]:
    """Perform a procedure on the running event loop, handing on what it emits."""
    return _aemitted(steps, [])


async def _aemitted(steps: Steps[T], end: list[T]) -> AsyncIterator[Any]:
    advance: Callable[[], Step] = partial(next, steps)
    try:
        while True:
            try:
                step = advance()
            except StopIteration as stop:  # must not leave a coroutine: Python would turn it into a RuntimeError
                end.append(stop.value)
                return
            if isinstance(step, Emit):
                yield step.value
                advance = partial(next, steps)
                continue
            try:
                answer = await _aperform(step)
            except Exception as exc:  # noqa: BLE001 - handed to the procedure, which may catch it
                advance = partial(steps.throw, exc)
            else:
                advance = partial(steps.send, answer)
    finally:
        steps.close()


async def _aperform(step: Call[Any] | Sleep) -> Any:
    if isinstance(step, Sleep):
        return await anyio.sleep(step.seconds)
    await checkpoint()

    async def call() -> Any:
        return await anyio.to_thread.run_sync(step.deed, abandon_on_cancel=step.abandon)

    return await tenacity.AsyncRetrying(sleep=anyio.sleep, **_policy)(call) if step.repeat else await call()
