"""Submitting a job once, finding it again, and cancelling late twins. A layer of `OpenAIProvider`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

from finetune_sdk.errors import DataError, PermissionRefused
from finetune_sdk.provider import Plan
from finetune_sdk.types import JobState, JobStatus

from . import journal as journals
from .connection import Connection
from .dryrun import DryRun
from .map import submission_token
from .uploads import Sender, Uploads

if TYPE_CHECKING:
    from .server import Server
    from .submission import Submission

LATE_S = 900.0
"""A request thought lost may still arrive so long afterwards; until then its job is looked for and cancelled."""
FREE = frozenset({JobStatus.PREPARING, JobStatus.VALIDATING, JobStatus.QUEUED})
"""Statuses in which a job has not begun to cost."""


class Submitting(DryRun):
    """The procedure is in `submission`; here is what surrounds it."""

    def submit(self, plan: Plan, *, key: str) -> str:
        """As the contract says, and more: calling it again with the same key finishes what was cut off, never twice."""
        if plan.errors:
            raise DataError(f"the plan has {len(plan.errors)} error(s), nothing was sent: {plan.errors[0]}")
        request = cast("Mapping[str, Any]", plan.request)
        connection = Connection.from_json(request["server"])
        server = self.server(connection, timeout_s=request["timeout_s"])
        folder = self.home / "jobs" / key
        with journals.alone(folder, self.name):
            job = self._submit(plan, folder, connection, server)
        return connection.reference(job, default=self.home_connection)

    def _submit(self, plan: Plan, folder: Path, connection: Connection, server: Server) -> str:
        request = cast("Mapping[str, Any]", plan.request)
        self.keep_held_out(plan, folder)
        journal = journals.load(folder)
        if journal is None or not (journal.posts or journal.job):
            self.refuse_ended(connection, request["create"]["model"])
        if journal is None:
            journal = journals.start(folder, server=asdict(connection), token=submission_token(folder.name))
        uploads = Uploads(plan, folder / "upload", self.sender(server, request), bom=server.wire.bom)
        roles = {role: f"{role}-{journal.token}.jsonl" for role in uploads.roles}
        job = self.submission(server, request).run(journal, request["create"], roles, uploads.send)
        uploads.clear()
        self.remember_doubt(folder, job)
        return job

    def keep_held_out(self, plan: Plan, folder: Path) -> None:
        """Keep what is needed once the job has ended, before anything is sent."""

    def sender(self, server: Server, request: Mapping[str, Any]) -> Sender:  # noqa: ARG002 - for subclasses
        """How the rows of a role get to the vendor: `send(role, rendered file, name)` answers the file object."""
        patient = server.patient()
        return lambda _role, path, name: patient.upload(path, name)

    def submission(self, server: Server, request: Mapping[str, Any]) -> Submission:
        from .submission import Submission

        return Submission(
            server=server,
            provider=self.name,
            wait_s=request["reconcile_wait_s"],
            file_wait_s=request["file_wait_s"],
            ways_out=self.ways_out,
        )

    def refuse_ended(self, connection: Connection, model: str) -> None:
        """The last look at the calendar, before anything is uploaded."""
        for finding in self.dates(connection, model):
            if finding.severity == "error":
                raise PermissionRefused(f"[{self.name}] {finding} Nothing was uploaded.")

    def find(self, key: str) -> str | None:
        """As the contract says. After a request of unknown outcome it reads the vendor's list of jobs."""
        folder = self.home / "jobs" / key
        journal = journals.load(folder)
        if journal is None:
            return None
        connection = Connection.from_json(journal.server)
        job = journal.job
        if job is None and journal.posts:
            submission = self.submission(self.server(connection), {"reconcile_wait_s": 0.0, "file_wait_s": 0.0})
            found = submission.look(journal)
            job = submission.adopt(journal, found) if found else None
        return None if job is None else connection.reference(job, default=self.home_connection)

    # --- surplus jobs: a request that was thought lost may arrive late

    def _doubt_file(self, job: str) -> Path:
        return self.home / f"{self.name}-doubts" / quote(job, safe="")

    def remember_doubt(self, folder: Path, job: str) -> None:
        """After more than one creating request: keep looking for a late twin while cancelling it is free."""
        journal = journals.load(folder)
        if journal is not None and journal.posts > 1:
            self._doubt_file(job).parent.mkdir(mode=0o700, exist_ok=True)
            journals.write_durably(self._doubt_file(job), folder.name)

    def cancel_surplus(self, server: Server, job: str, state: JobState) -> None:
        mark = self._doubt_file(job)
        if not mark.exists():
            return
        journal = journals.load(self.home / "jobs" / mark.read_text("utf-8"))
        if journal is not None:
            submission = self.submission(server, {"reconcile_wait_s": 0.0, "file_wait_s": 0.0})
            submission.cancel_others(journal)
        if state.status not in FREE and time.time() - mark.stat().st_mtime > LATE_S:
            mark.unlink(missing_ok=True)
