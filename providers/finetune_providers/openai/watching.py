"""Looking at jobs and steering them. A layer of `OpenAIProvider`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from finetune_sdk.errors import BadDelivery, JobNotFound, ProviderError, Throttled, Unreachable, Unsupported
from finetune_sdk.types import Checkpoint, Delivery, Event, JobState, JobStatus

from .connection import Connection, dereference
from .map import Json, checkpoint, event, job_state, oldest_first, result_metrics
from .submitting import Submitting
from .webhooks import read

if TYPE_CHECKING:
    from .server import Server


class Watching(Submitting):
    """Polling, events, checkpoints, webhooks; cancel, pause, resume."""

    webhook_secret_env: ClassVar[str] = "OPENAI_WEBHOOK_SECRET"  # noqa: S105 - the name of a variable

    def poll(self, ref: str) -> JobState:
        server, job_id = self.at(ref)
        job = server.job(job_id)
        state = job_state(job, server.wire)
        self.cancel_surplus(server, job_id, state)
        if state.status is not JobStatus.SUCCEEDED:
            return state
        return replace(state, metrics=self._results(server, job))

    def poll_many(self, refs: Sequence[str]) -> dict[str, JobState]:
        """As the contract says: a page of the list tells of a hundred jobs.

        What has ended is left out: its metrics are not in the list. So is what a server that cannot be reached keeps.
        """
        groups: dict[Connection, dict[str, str]] = {}
        for ref in refs:
            connection, job_id = dereference(ref, default=self.home_connection)
            groups.setdefault(connection, {})[job_id] = ref
        found: dict[str, JobState] = {}
        for connection, wanted in groups.items():
            if len(wanted) > 1 and self.wires[connection.wire].lists_jobs:
                with contextlib.suppress(Unreachable):
                    found.update(_listed_states(self.server(connection), wanted))
        return {ref: state for ref, state in found.items() if not state.status.terminal}

    def _results(self, server: Server, job: Json) -> dict[str, float]:
        """The last line of the job's results; empty where the server keeps none."""
        for file_id in job.get("result_files") or ():
            with contextlib.suppress(ProviderError):  # they are a convenience: the job succeeded without them
                return result_metrics(server.content(file_id))
        return {}

    def webhook(self, body: bytes, headers: Mapping[str, str], *, refs: Sequence[str]) -> Delivery | None:
        """As the contract says; the endpoint's secret is in the variable `webhook_secret_env`."""
        secret = os.environ.get(self.webhook_secret_env, "")
        if not secret:
            raise BadDelivery(f"[{self.name}] deliveries cannot be told from forgeries: set {self.webhook_secret_env}")
        notice = read(body, headers, secret=secret)
        if notice is None:
            return None
        named = (ref for ref in refs if dereference(ref, default=self.home_connection)[1] == notice.job)
        return Delivery(id=notice.id, refs=tuple(named))

    def events(self, ref: str, after: str | None = None) -> list[Event]:
        server, job_id = self.at(ref)
        raw: list[Json] = []
        for one in server.events(job_id):
            if raw and raw[0].get("created_at", 0) >= one.get("created_at", 0) and event(one).cursor == after:
                break  # newest first: everything further down is older
            raw.append(one)
        found = [event(one) for one in oldest_first(raw)]
        cursors = [one.cursor for one in found]
        return found[cursors.index(after) + 1 :] if after in cursors else found

    def checkpoints(self, ref: str) -> list[Checkpoint]:
        server, job_id = self.at(ref)
        found = [
            checkpoint(raw, self.reference(ref, str(raw["fine_tuned_model_checkpoint"])))
            for raw in server.checkpoints(job_id)
        ]
        return sorted(found, key=lambda one: one.step)

    # --- steering

    def cancel(self, ref: str) -> None:
        server, job_id = self.at(ref)
        self._steer(
            server, job_id, server.cancel, enough=lambda status: status.terminal or status is JobStatus.CANCELLING
        )

    def pause(self, ref: str) -> None:
        server, job_id = self.at(ref)
        if not server.wire.pause:
            raise Unsupported(self.name, f"pausing a job through {server.wire.name!r}", "Cancel it, or let it run.")
        self._steer(server, job_id, server.pause, enough=lambda status: status.terminal or status is JobStatus.PAUSED)

    def resume(self, ref: str) -> None:
        server, job_id = self.at(ref)
        state = job_state(server.job(job_id), server.wire)
        if state.status.terminal:
            raise Unsupported(self.name, f"resuming a job that is {state.status}", "Submit it again.")
        if state.status is JobStatus.PAUSED:
            self._steer(server, job_id, server.resume, enough=lambda status: status is not JobStatus.PAUSED)

    def _steer(
        self, server: Server, job_id: str, deed: Callable[[str], Json], *, enough: Callable[[JobStatus], bool]
    ) -> None:
        """Do it, unless the job is already there; a refusal is fine when the job got there meanwhile."""
        if enough(job_state(server.job(job_id), server.wire).status):
            return
        try:
            deed(job_id)
        except (JobNotFound, Throttled, Unreachable):
            raise
        except ProviderError:
            if not enough(job_state(server.job(job_id), server.wire).status):
                raise


def _listed_states(server: Server, wanted: Mapping[str, str]) -> Iterator[tuple[str, JobState]]:
    """The wanted jobs (references by id) as the list shows them; reading stops at the last one."""
    left = set(wanted)
    for job in server.jobs():
        if job["id"] in left:
            left.remove(job["id"])
            yield wanted[job["id"]], job_state(job, server.wire)
        if not left:
            return
