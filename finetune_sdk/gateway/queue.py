"""What happens to jobs by itself: validate, wait for a turn, submit, watch, tell. One server of a home does it.

The others answer requests and take over when that one ends. Every step is stored before the next begins, so whoever
takes over finds each job where it was; a submission that broke off is found in the job store by the path of its data,
which only this job has.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial

import anyio
import anyio.abc
import anyio.to_thread
import httpx
from anyio import CancelScope, CapacityLimiter

from finetune_sdk.errors import Ambiguous, DataError, FineTuneError
from finetune_sdk.gateway.errors import code_of
from finetune_sdk.gateway.files import sweep
from finetune_sdk.gateway.jobs import unpin
from finetune_sdk.gateway.outbox import deliver
from finetune_sdk.gateway.records import Job, job_of
from finetune_sdk.gateway.service import Service
from finetune_sdk.gateway.turns import follow_up, note, stopped
from finetune_sdk.job import AsyncFineTuneJob, FineTuneJob
from finetune_sdk.spec import JobSpec
from finetune_sdk.types import JobStatus

log = logging.getLogger(__name__)

_TICK_S = 0.5
_HOSTED_S = 10.0
"""How often a hosted job is asked about; a local one every tick, which reads a few files."""
_SWEEP_S = 3600.0
_AT_REST = (JobStatus.PAUSED,)


async def work(gateway: Service) -> None:
    """Do it until cancelled."""
    lock = gateway.state.lock("queue")
    try:
        while not lock.take():
            await anyio.sleep(_TICK_S)
        await _Queue(gateway).run()
    finally:
        lock.release()


class _Queue:
    def __init__(self, gateway: Service) -> None:
        self.gateway = gateway
        self.state = gateway.state
        self.busy: set[str] = set()
        """Jobs that a task of ours is at work on."""
        self.placed: set[str] = set()
        """Jobs that were given a place and do not show it in the store yet."""
        self.asked_s: dict[str, float] = {}
        self.read: dict[str, str] = {}
        """The last event of each job that was looked through for an estimate."""
        self.reading = CapacityLimiter(1)
        self.submitting = CapacityLimiter(4)

    async def run(self) -> None:
        await anyio.to_thread.run_sync(self._recover)
        async with anyio.create_task_group() as tasks, httpx.AsyncClient() as client:
            tasks.start_soon(self._housekeeping)
            tasks.start_soon(self._deliveries, client)
            while True:
                self.gateway.wake = anyio.Event()
                self._round(tasks)
                with anyio.move_on_after(_TICK_S):
                    await self.gateway.wake.wait()

    # --- the round --------------------------------------------------------------------------------------------------

    def _round(self, tasks: anyio.abc.TaskGroup) -> None:
        jobs = self._jobs("SELECT * FROM job WHERE phase != 'over' ORDER BY seq")
        for job in jobs:
            if job.phase == "new":
                self._start(tasks, job, self._validate)
            elif job.phase == "live" and not _waits(job):
                self._start(tasks, job, self._watch)
        for job in self._whose_turn(jobs):
            self.placed.add(job.id)
            self._start(tasks, job, self._submit if job.phase == "ready" else self._resume)

    def _whose_turn(self, jobs: list[Job]) -> list[Job]:
        """The jobs that may go now: hosted ones at once, local ones while there is room, oldest first."""
        waiting = [job for job in jobs if _waits(job) and job.id not in self.placed]
        training = {job.id for job in jobs if job.local and _occupies(job)} | self.placed
        room = max(0, self.gateway.config.concurrent_jobs - len(training))
        return [*(job for job in waiting if not job.local), *[job for job in waiting if job.local][:room]]

    def _start(self, tasks: anyio.abc.TaskGroup, job: Job, deed: Callable[[Job], Awaitable[None]]) -> None:
        if job.id in self.busy or (deed == self._watch and not self._due(job)):
            return
        self.busy.add(job.id)
        tasks.start_soon(self._guarded, job, deed)

    def _due(self, job: Job) -> bool:
        every_s = _TICK_S if job.local else _HOSTED_S
        if time.monotonic() - self.asked_s.get(job.id, -every_s) < every_s:
            return False
        self.asked_s[job.id] = time.monotonic()
        return True

    async def _guarded(self, job: Job, deed: Callable[[Job], Awaitable[None]]) -> None:
        """A fault in one job is its own: it is told, and the queue goes on."""
        try:
            await deed(job)
        except Exception:
            log.exception("job %s: the queue met a fault and will try again", job.id)
            await anyio.sleep(_HOSTED_S)
        finally:
            self.busy.discard(job.id)
            self.placed.discard(job.id)
            self.gateway.wake.set()

    # --- the steps --------------------------------------------------------------------------------------------------

    async def _validate(self, job: Job) -> None:
        """The dry run: the data are read as data, and only counted."""
        spec = JobSpec.model_validate_json(job.spec)
        try:
            plan = await anyio.to_thread.run_sync(
                partial(FineTuneJob.plan, spec, home=self.gateway.home), limiter=self.reading, abandon_on_cancel=True
            )
            if plan.errors:
                raise DataError("; ".join(str(finding) for finding in plan.errors[:5]))
        except FineTuneError as error:
            await self._refuse(job, error)
            return
        await self._write(partial(self._validated, job=job))

    def _validated(self, db: sqlite3.Connection, *, job: Job) -> None:
        query = "UPDATE job SET phase = 'ready', status = 'queued' WHERE id = ? AND phase = 'new'"
        if db.execute(query, (job.id,)).rowcount:
            note(db, job.id, "Files validated, moving job to queued state")

    def _fail(self, db: sqlite3.Connection, *, job: Job, error: FineTuneError) -> None:
        param = "training_file" if isinstance(error, DataError) else None
        text = str(error).replace(str(self.state.folder / "jobs" / job.id) + "/", "")
        stopped(self.gateway, db, job, "failed", {"code": code_of(error), "message": text, "param": param})

    async def _refuse(self, job: Job, error: FineTuneError) -> None:
        """End a job that no backend has: nobody will look at its data again."""
        await self._write(partial(self._fail, job=job, error=error))
        await anyio.to_thread.run_sync(unpin, self.state, job.id)

    async def _submit(self, job: Job) -> None:
        """Hand the job to its backend. Marked first: whoever finds the mark later looks for the job before more."""
        claim = "UPDATE job SET phase = 'starting' WHERE id = ? AND phase = 'ready'"
        if not await anyio.to_thread.run_sync(self.state.change, claim, job.id):
            return  # cancelled meanwhile
        spec = JobSpec.model_validate_json(job.spec)
        with CancelScope(shield=True):  # a server that leaves waits for this, rather than leave it open
            try:
                handle = await anyio.to_thread.run_sync(
                    partial(FineTuneJob.submit, spec, home=self.gateway.home), limiter=self.submitting
                )
                store_id: str | None = handle.id
            except Ambiguous as error:
                store_id = await anyio.to_thread.run_sync(self._find, job)
                if store_id is None:
                    await self._write(partial(self._fail, job=job, error=error))
            except FineTuneError as error:
                await self._refuse(job, error)
                return
            if store_id is not None:
                await self._write(partial(self._bind, job=job, store_id=store_id))

    def _bind(self, db: sqlite3.Connection, *, job: Job, store_id: str) -> None:
        query = "UPDATE job SET phase = 'live', job_id = ? WHERE id = ? AND phase = 'starting'"
        db.execute(query, (store_id, job.id))
        note(db, job.id, "Fine-tuning job started")

    async def _resume(self, job: Job) -> None:
        """Let a job go on whose client asked for that, now that there is a place for it."""
        assert job.job_id is not None, "live"  # noqa: S101
        try:
            await AsyncFineTuneJob(job.job_id, self.gateway.home).resume()
        except FineTuneError as error:
            await self._write(partial(_told, job=job, message=f"The job cannot be resumed: {error}"))
        done = "UPDATE job SET intent = NULL WHERE id = ? AND intent = 'resume'"
        if await anyio.to_thread.run_sync(self.state.change, done, job.id):
            await follow_up(self.gateway, replace(job, intent=None))

    async def _watch(self, job: Job) -> None:
        assert job.job_id is not None, "live"  # noqa: S101
        if job.intent == "cancel":
            await AsyncFineTuneJob(job.job_id, self.gateway.home).cancel()
            told = "UPDATE job SET intent = NULL WHERE id = ?"
            await anyio.to_thread.run_sync(self.state.change, told, job.id)
        try:
            await follow_up(self.gateway, job)
            await anyio.to_thread.run_sync(self._estimate, job.id, job.job_id)
        except LookupError as error:  # removed by hand, with `finetune jobs rm`
            failure = FineTuneError(f"the job was removed from this machine: {error}")
            await self._write(partial(self._fail, job=job, error=failure))
        except FineTuneError as error:
            log.warning("job %s cannot be asked about: %s", job.id, error)
            self.asked_s[job.id] = time.monotonic() + _HOSTED_S

    def _estimate(self, job: str, store_id: str) -> None:
        """Reckon when a job will have ended from what it said last about that."""
        for event in self.gateway.store.events(store_id, after=self.read.get(job)):
            self.read[job] = event.cursor
            if "eta_s" in event.metrics:
                self.gateway.estimates[job] = round(event.at.timestamp() + event.metrics["eta_s"])

    # --- the rest ---------------------------------------------------------------------------------------------------

    def _recover(self) -> None:
        """Jobs that were being submitted when a server ended: the store has them, or they get another turn."""
        for job in self._jobs("SELECT * FROM job WHERE phase = 'starting' ORDER BY seq"):
            store_id = self._find(job)
            if store_id is not None:
                self.state.write(partial(self._bind, job=job, store_id=store_id))
            else:
                self.state.change("UPDATE job SET phase = 'ready' WHERE id = ?", job.id)

    def _find(self, job: Job) -> str | None:
        """The job of the store that trains on this job's own data."""
        train = JobSpec.model_validate_json(job.spec).data.train
        for record in self.gateway.store.jobs():
            data: Mapping[str, object] = record.spec.get("data", {})
            if data.get("train") == train:
                return record.id
        return None

    async def _housekeeping(self) -> None:
        while True:
            await anyio.to_thread.run_sync(sweep, self.gateway)
            await anyio.sleep(_SWEEP_S)

    async def _deliveries(self, client: httpx.AsyncClient) -> None:
        hooks = {hook.url: hook for hook in self.gateway.config.webhooks}
        while True:
            await deliver(self.state, hooks, client)
            await anyio.sleep(_TICK_S)

    def _jobs(self, query: str) -> list[Job]:
        return [job_of(row) for row in self.state.read(query)]

    async def _write(self, deed: Callable[[sqlite3.Connection], None]) -> None:
        await anyio.to_thread.run_sync(self.state.write, deed)


def _waits(job: Job) -> bool:
    """True for a job that wants a place: it was never submitted, or is to be resumed."""
    return job.phase == "ready" or (job.phase == "live" and job.intent == "resume")


def _occupies(job: Job) -> bool:
    """True while a local job takes one of the places: from its submission until it has ended or is paused."""
    return job.phase == "starting" or (job.phase == "live" and job.intent != "resume" and job.status != "paused")


def _told(db: sqlite3.Connection, *, job: Job, message: str) -> None:
    note(db, job.id, message, level="error", last=True)
