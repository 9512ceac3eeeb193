"""Submitting exactly once to a service without idempotency keys.

    intent on disk -> a fresh upload per submission -> "posting" on disk -> one POST, no retries -> job id on disk

The training file belongs to this submission alone, so a listed job that names it is ours, whatever a proxy did to the
rest. After any doubtful answer (and after a kill) the list decides: adopt what is there; send again only after the
list was empty twice; cancel a surplus job while that is free. Imports the vendor SDK.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import openai

from finetune_sdk.errors import Ambiguous, PermissionRefused, ProviderError, QuotaExceeded, StoreError, Throttled
from finetune_sdk.redact import redact
from finetune_sdk.types import JobStatus

from .journal import Journal
from .map import Json, fill, is_ours
from .server import Server
from .translate import ours, refused, retry_after_s
from .wire import SETTLING

log = logging.getLogger(__name__)

POSTS = 3
"""Creating requests in one go, each after the list said twice that the one before had no effect."""
_CLOCK_S = 600
"""Jobs listed as older than our training file by more than this are not ours."""
_PAID = frozenset({JobStatus.RUNNING, JobStatus.PAUSED, JobStatus.SUCCEEDED})
_GRACE_UPLOADED_S = 10.0
"""How long a file may stay `uploaded`: OpenAI turns it to `processed`, some servers never do."""

Send = Callable[[str, str], Json]
"""Uploads the rows of a role under a name; answers the vendor's file object."""


@dataclass(frozen=True, slots=True)
class Submission:
    """One submission's procedure. `run` may be called again after a kill, with the journal it left."""

    server: Server
    provider: str
    wait_s: float
    """Seconds between two looks at the list."""
    file_wait_s: float
    ways_out: str
    """What to do when the vendor does not let this account train this model."""
    sleep: Callable[[float], None] = time.sleep

    def run(self, journal: Journal, body: Mapping[str, Any], roles: Mapping[str, str], send: Send) -> str:
        """The job's id. `roles` maps data roles to file names. Raises `Ambiguous` only after a creating request."""
        if journal.job is not None:
            return journal.job
        if journal.posts:  # an earlier attempt was cut off with the request on its way
            found = self.look_twice(journal)
            if found is not None:
                return self.adopt(journal, found)
        for role, name in roles.items():
            journal = self._upload(journal, role, name, send)
        for file_id in journal.files.values():
            self._until_ready(file_id)
        return self._post(journal, fill(body, {"token": journal.token, **journal.files}))

    # --- files

    def _upload(self, journal: Journal, role: str, name: str, send: Send) -> Journal:
        if role in journal.files:
            return journal
        file: Json | None = None
        if role in journal.uploading:  # begun before: the reply may be what was lost
            file = next(iter(self.server.files_named(name)), None)
        else:
            journal = journal.save(uploading=(*journal.uploading, role))
        file = file or send(role, name)
        since = file.get("created_at")
        known = {"since": since} if role == "train" and isinstance(since, int) else {}
        return journal.save(files={**journal.files, role: str(file["id"])}, **known)

    def _until_ready(self, file_id: str) -> None:
        """Block until the file can be used. A file found bad here has cost nothing yet."""
        started, pause_s = time.monotonic(), 0.2
        while True:
            file = self.server.file(file_id)
            status, waited_s = file.get("status"), time.monotonic() - started
            if status == "error":
                reason = file.get("status_details") or "no reason given"
                raise ProviderError(f"[{self.provider}] the uploaded file {file_id} was refused: {reason}")
            if status not in SETTLING or (status == "uploaded" and waited_s >= _GRACE_UPLOADED_S):
                return
            if waited_s >= self.file_wait_s:
                raise ProviderError(
                    f"[{self.provider}] the uploaded file {file_id} is still {status!r} after {waited_s:.0f} s. "
                    "No job was created. Try again later, or raise `file_wait_s` in the provider's options."
                )
            self.sleep(pause_s)
            pause_s = min(pause_s * 1.5, 10.0)

    # --- the one request that costs

    def _post(self, journal: Journal, body: Json) -> str:
        failure: Exception | None = None
        for _ in range(POSTS):
            journal = journal.save(posts=journal.posts + 1)
            try:
                job = self.server.create(body, journal.token)
            except (openai.OpenAIError, json.JSONDecodeError, ProviderError) as exc:
                failure = exc
            else:
                return self.adopt(journal, [job] if journal.posts == 1 else self._with_twins(journal, job))
            if self._is_busy(failure):
                journal.save(posts=journal.posts - 1)
                raise ProviderError(
                    f"{self._error(failure)} This server trains one job at a time: wait for the other one, or cancel "
                    "it. No job was created."
                ) from _speakable(failure)
            if refused(failure):
                journal.save(posts=journal.posts - 1)
                raise self._refusal(failure) from _speakable(failure)
            log.warning("[%s] creating the job: doubtful answer; looking it up in the list", self.provider)
            found = self.look_twice(journal, at_least_s=_asked_wait_s(failure))
            if found is not None:
                return self.adopt(journal, found)
            error = self._error(failure)
            if isinstance(error, QuotaExceeded):  # the list confirms that it was a refusal
                journal.save(posts=journal.posts - 1)
                raise error from _speakable(failure)
        assert failure is not None, "every round that does not return ends with a failure"
        error = self._error(failure)
        if isinstance(error, Throttled):
            raise error from _speakable(failure)
        raise Ambiguous(f"{error} {POSTS} requests were sent; no job is listed so far.") from _speakable(failure)

    def _is_busy(self, exc: Exception) -> bool:
        return self.server.wire.one_job_at_a_time and isinstance(exc, openai.ConflictError)

    def _with_twins(self, journal: Journal, job: Json) -> list[Json]:
        """The job and those that earlier requests may have created after all."""
        try:
            return self.look(journal) or [job]
        except ProviderError:  # the job is there; whoever polls it looks for twins again
            return [job]

    def _error(self, exc: Exception) -> ProviderError:
        return exc if isinstance(exc, ProviderError) else ours(exc, self.provider, "creating the job")

    def _refusal(self, exc: Exception) -> ProviderError:
        error = self._error(exc)
        status = exc.status_code if isinstance(exc, openai.APIStatusError) else None
        about_model = isinstance(exc, openai.APIStatusError) and (exc.param == "model" or exc.code in _MODEL_CODES)
        if status in (403, 404) or about_model:
            return PermissionRefused(f"{error} Nothing was charged. {self.ways_out}")
        return error

    # --- looking it up

    def look_twice(self, journal: Journal, *, at_least_s: float = 0.0) -> list[Json] | None:
        """Our jobs in the list, oldest first; None after three looks in vain, the last two `wait_s` apart."""
        for pause_s in (0.0, max(self.wait_s, at_least_s), self.wait_s):
            if pause_s:
                self.sleep(pause_s)
            try:
                found = self.look(journal)
            except ProviderError as exc:
                raise Ambiguous(f"{exc} So it is not known whether the job was created.") from exc
            if found:
                return found
        return None

    def look(self, journal: Journal) -> list[Json]:
        """Our jobs in the list, oldest first. Raises `Ambiguous` for a server that lists none."""
        if not self.server.wire.lists_jobs:
            raise Ambiguous(
                f"[{self.provider}] the job was sent and its answer lost, and this server lists no jobs: look for "
                f"{journal.token!r} in the vendor's console before submitting again."
            )
        files, found = frozenset(journal.files.values()), list[Json]()
        for job in self.server.patient().jobs():
            if journal.since is not None and int(job.get("created_at") or 0) < journal.since - _CLOCK_S:
                break
            if is_ours(job, token=journal.token, files=files):
                found.append(job)
        return sorted(found, key=lambda job: int(job.get("created_at") or 0))

    def adopt(self, journal: Journal, found: list[Json]) -> str:
        """Keep the one that is furthest, else the oldest; cancel the others while that is free. Its id, stored."""
        kept = max(found, key=lambda job: (self._worth(job), -int(job.get("created_at") or 0)))
        try:
            journal = journal.save(job=str(kept["id"]))
        except StoreError as exc:
            raise Ambiguous(f"[{self.provider}] job {kept['id']} was created, but cannot be recorded: {exc}") from exc
        self.cancel_others(journal, found)
        return str(kept["id"])

    def cancel_others(self, journal: Journal, found: list[Json] | None = None) -> None:
        """Cancel every job of this submission but the one that was kept."""
        for job in self.look(journal) if found is None else found:
            status = self.server.wire.words.get(str(job.get("status")), JobStatus.RUNNING)
            if job["id"] != journal.job and not status.terminal:
                log.warning("[%s] cancelling surplus job %s (%s)", self.provider, job["id"], status)
                self._cancel_surplus(str(job["id"]))

    def _cancel_surplus(self, job_id: str) -> None:
        try:
            self.server.patient().cancel(job_id)
        except ProviderError as exc:  # the job that was kept is sound; this one is tried again while it is polled
            log.warning("[%s] surplus job %s could not be cancelled: %s", self.provider, job_id, exc)

    def _worth(self, job: Json) -> int:
        status = self.server.wire.words.get(str(job.get("status")), JobStatus.RUNNING)
        if status in _PAID:
            return 2
        return 0 if status.terminal else 1


_MODEL_CODES = frozenset({"model_not_found", "model_not_available", "unsupported_model"})


def _asked_wait_s(exc: Exception) -> float:
    return (retry_after_s(exc) or 0.0) if isinstance(exc, openai.APIStatusError) else 0.0


def _speakable(exc: Exception) -> Exception | None:
    """The cause to show, unless its text holds a secret that ours has blacked out."""
    return exc if redact(str(exc)) == str(exc) else None
