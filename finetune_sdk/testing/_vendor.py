"""A vendor that costs nothing: `FakeVendor` keeps its jobs in files, so several processes see the same ones.

It is as strict as a real one. It knows no idempotency (two creations are two jobs), refuses to cancel what is over,
forgets nothing, echoes keys in its error texts, and can lose an answer after doing the work. Its clock is the number
of times a job is looked at: every `retrieve` moves the job one word along its script.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

Failure = Literal["auth", "throttled", "unreachable", "lost answer", "unknown word"]
KILL_AT = "FINETUNE_FAKE_KILL"
"""Environment variable: the process that reaches this point of the vendor (`create:before`, `create:after`,
`retrieve`) is killed, as by `kill -9`."""

_OVER = ("succeeded", "failed", "cancelled")
_DEFAULT_SCRIPT = ("validating_files", "queued", "running", "running", "running", "succeeded")
_EPOCH_S = 1_760_000_000  # where the vendor's clock starts: a fixed past moment keeps events reproducible


class VendorError(Exception):
    """The vendor answered with an error status."""

    def __init__(self, status: int, text: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.retry_after_s = retry_after_s


class VendorDown(Exception):
    """No answer came."""


class FakeVendor:
    """The vendor's side, in one folder. `key` is what the client authenticates with."""

    def __init__(self, folder: Path, *, key: str | None = None) -> None:
        self.folder = folder
        self._key = key

    # --- what a client may ask --------------------------------------------------------------------------------------

    def create(self, body: Mapping[str, Any], *, token: str) -> str:
        """Start a job, a new one every time."""
        _die_at("create:before")
        with self._exclusive():
            failure = self._failing("create", "auth", "throttled", "unreachable", "lost answer")
            number = len(self.jobs()) + 1
            job_id = f"vendor-{number:04d}"
            script = list(body.get("script") or _DEFAULT_SCRIPT)
            self._save({"id": job_id, "token": token, "body": dict(body), "script": script, "at": 0, "events": []})
        _die_at("create:after")
        if failure == "lost answer":
            raise VendorDown("the connection was lost after the request was sent")
        return job_id

    def jobs(self) -> list[dict[str, Any]]:
        """All jobs ever created, oldest first."""
        return [json.loads(file.read_text()) for file in sorted(self.folder.glob("jobs/*.json"))]

    def search(self, *, token: str) -> list[str]:
        """Ids of the jobs that were created with this token."""
        with self._exclusive():
            self._failing("search", "auth", "throttled", "unreachable")
            return [job["id"] for job in self.jobs() if job["token"] == token]

    def retrieve(self, job_id: str) -> dict[str, Any]:
        """The job now; looking makes its time pass."""
        _die_at("retrieve")
        with self._exclusive():
            failure = self._failing("retrieve", "auth", "throttled", "unreachable", "unknown word")
            job = self._load(job_id)
            self._tick(job)
            word = "frobnicating" if failure == "unknown word" else _word(job)
            return {**job, "status": word}

    def events(self, job_id: str, *, after: str | None) -> list[dict[str, Any]]:
        """The job's events after an event id, oldest first."""
        with self._exclusive():
            self._failing("events", "auth", "throttled", "unreachable")
            found: list[dict[str, Any]] = self._load(job_id)["events"]
            ids = [event["id"] for event in found]
            if after is not None and after not in ids:
                raise VendorError(400, f"no event {after!r}")
            return found if after is None else found[ids.index(after) + 1 :]

    def cancel(self, job_id: str) -> None:
        """Refused once the job is over."""
        with self._exclusive():
            self._failing("cancel", "auth", "throttled", "unreachable")
            job = self._load(job_id)
            if _word(job) in _OVER:
                raise VendorError(409, f"job {job_id} is already {_word(job)}")
            self._rewrite(job, ["cancelling", "cancelled"])

    def pause(self, job_id: str) -> None:
        """Refused unless the job runs or waits."""
        with self._exclusive():
            job = self._load(job_id)
            if _word(job) in (*_OVER, "paused", "cancelling"):
                raise VendorError(409, f"job {job_id} is {_word(job)}")
            self._rewrite(job, [*job["script"][: job["at"] + 1], "paused"], at=job["at"])

    def resume(self, job_id: str) -> None:
        """Refused while the job runs, and after it has succeeded."""
        with self._exclusive():
            job = self._load(job_id)
            if _word(job) not in ("paused", "failed", "cancelled"):
                raise VendorError(409, f"job {job_id} is {_word(job)}")
            self._rewrite(job, ["queued", "running", "running", "succeeded"])

    def model_file(self, job_id: str) -> Path:
        """Where the trained model of a succeeded job lies."""
        return self.folder / "models" / job_id / "adapter.bin"

    def serve(self, name: str) -> None:
        """Let a model answer under a name."""
        with self._exclusive():
            (self.folder / "served").mkdir(exist_ok=True)
            (self.folder / "served" / name).touch()

    def served(self) -> list[str]:
        """The names that answer."""
        return sorted(file.name for file in self.folder.glob("served/*"))

    def serve_no_more(self, name: str) -> None:
        """Nothing happens where the name does not answer."""
        with self._exclusive():
            (self.folder / "served" / name).unlink(missing_ok=True)

    # --- what a test may arrange ------------------------------------------------------------------------------------

    def fail_next(self, failure: Failure) -> None:
        """Make the next request that can fail in this way do so, in whichever process it is made."""
        with self._exclusive():
            (self.folder / "failures.json").write_text(json.dumps([*self._failures(), failure]))

    def requests(self) -> list[str]:
        """The names of all requests received."""
        file = self.folder / "requests.log"
        return file.read_text().split() if file.exists() else []

    # --- inside -----------------------------------------------------------------------------------------------------

    def _tick(self, job: dict[str, Any]) -> None:
        if job["at"] + 1 < len(job["script"]):
            job["at"] += 1
        elif _word(job) in _OVER or _word(job) == "paused":
            return
        number = len(job["events"]) + 1
        metrics = {"loss": 1.0 / number} if _word(job) == "running" else {}
        at_s = _EPOCH_S + number
        event = {"id": f"ev-{number:05d}", "at_s": at_s, "text": _word(job), "step": number, "metrics": metrics}
        job["events"].append(event)
        if _word(job) == "succeeded":
            model = self.model_file(job["id"])
            model.parent.mkdir(parents=True, exist_ok=True)
            model.write_bytes(f"weights of {job['id']}".encode())
        self._save(job)

    def _rewrite(self, job: dict[str, Any], script: list[str], *, at: int = 0) -> None:
        self._save({**job, "script": script, "at": at})

    def _load(self, job_id: str) -> dict[str, Any]:
        file = self.folder / "jobs" / f"{job_id}.json"
        if not file.exists():
            raise VendorError(404, f"no job {job_id!r}")
        job: dict[str, Any] = json.loads(file.read_text())
        return job

    def _save(self, job: dict[str, Any]) -> None:
        file = self.folder / "jobs" / f"{job['id']}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        part.write_text(json.dumps(job))
        part.replace(file)

    def _failures(self) -> list[str]:
        file = self.folder / "failures.json"
        failures: list[str] = json.loads(file.read_text()) if file.exists() else []
        return failures

    def _failing(self, request: str, *possible: Failure) -> Failure | None:
        """Log the request and raise the failure that was arranged; the ones that are no exception are returned."""
        with (self.folder / "requests.log").open("a") as log:
            log.write(f"{request}\n")
        failures = self._failures()
        failure: Failure | None = next((one for one in possible if failures.count(one)), None)
        if failure is None:
            return None
        failures.remove(failure)
        (self.folder / "failures.json").write_text(json.dumps(failures))
        if failure == "auth":
            raise VendorError(401, f"incorrect API key provided: {self._key}")  # as real vendors do
        if failure == "throttled":
            raise VendorError(429, "slow down", retry_after_s=0.01)
        if failure == "unreachable":
            raise VendorDown("connection refused")
        return failure

    @contextmanager
    def _exclusive(self) -> Generator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _word(job: Mapping[str, Any]) -> str:
    word: str = job["script"][job["at"]]
    return word


def _die_at(point: str) -> None:
    if os.environ.get(KILL_AT) == point:
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)  # the signal can take a moment; nothing below may run
