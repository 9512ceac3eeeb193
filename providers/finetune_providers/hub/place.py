"""A worker on a rented machine: what Jobs and Spaces have in common. Imports no vendor SDK before it talks.

    files in a private repository -> their commit on disk -> "posting" on disk -> one creating request -> its id on disk

After a doubtful answer (and after a kill) the Hub is asked what is there, and that is adopted. Should two machines be
made for one job all the same, the repository decides: the first one claims it by a commit that only one of them can
make, the other one leaves. So a second request costs seconds, never a second training.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from finetune_providers.hub import bundle, journal
from finetune_providers.hub.journal import Journal
from finetune_providers.hub.terms import Kind, Machine, Rented
from finetune_sdk.errors import Ambiguous, JobNotFound, ProviderError, Unsupported
from finetune_sdk.redact import redact
from finetune_sdk.spec import Compute
from finetune_sdk.types import Artifact, Checkpoint, Event, JobState, JobStatus
from finetune_sdk.worker import state
from finetune_sdk.worker.places import Order, Place

if TYPE_CHECKING:
    from huggingface_hub import HfApi

log = logging.getLogger(__name__)

REPORT_ENV = "FINETUNE_HUB_REPORT_S"
REPORT_S = 60.0
"""Seconds between the reports of a machine. Each is a commit, and the Hub limits how many there may be in an hour."""
LOOK_S = 2.0
"""Seconds between two looks for a job whose answer was lost."""
_LOOKS = 3


@dataclass(frozen=True, slots=True)
class Seen:
    """What the vendor says about a machine."""

    status: JobStatus
    word: str
    """The vendor's."""
    known: bool = True
    message: str | None = None


class HubPlace(Place):
    """References are `<kind>:<key>`; what lies behind them is in the journal of `home/jobs/<key>`."""

    kind: ClassVar[Kind]

    # --- what differs

    @abstractmethod
    def machines(self, api: HfApi) -> list[Machine]:
        """Those that can be rented, with their prices of today."""

    @abstractmethod
    def create(self, api: HfApi, made: Journal, order: Order, rented: Rented) -> str:
        """The creating request, once. Returns the machine's id; raises the vendor's exceptions."""

    @abstractmethod
    def look(self, api: HfApi, made: Journal) -> str | None:
        """The id of the machine that was made for this job, as the Hub lists it."""

    @abstractmethod
    def seen(self, api: HfApi, made: Journal, machine: str) -> Seen:
        """How the machine stands."""

    @abstractmethod
    def stop(self, api: HfApi, made: Journal, machine: str) -> None:
        """Take it away. Idempotent at the vendor."""

    @abstractmethod
    def printed(self, api: HfApi, made: Journal, machine: str) -> str:
        """The last lines the vendor has of what it printed; empty where there are none."""

    # --- planning

    def ask(self, compute: Compute) -> tuple[str, list[Machine]]:
        """Who pays, and the machines there are. Raises `AuthFailed`, `Unreachable`."""
        from finetune_providers.hub import client  # noqa: PLC0415 - imports the vendor's SDK

        api = client.connect()
        vendor: Any = api
        with client.translated("asking who the token belongs to"):
            owner: dict[str, Any] = vendor.whoami()
        with client.translated("asking for machines and prices"):
            found = self.machines(api)
        namespace = compute.namespace or str(owner["name"])
        return namespace, found

    # --- starting

    def start(self, order: Order) -> str:
        """Uploads the job and rents the machine, exactly once. Blocks as long as the upload takes."""
        from finetune_providers.hub import client  # noqa: PLC0415

        folder, rented = self._folder(order.key), msgspec.convert(order.request["rented"], Rented)
        with journal.alone(folder):
            made = journal.load(folder) or self._new(folder, order.key, rented)
            api = client.connect()
            if made.commit is None:
                order.data.write(folder / "data")
                made = self._upload(api, folder, order, made)
            if made.machine is None and made.posts:
                made = self._adopted(api, folder, made)
            if made.machine is None:
                made = self._post(api, folder, order, rented, made)
        return self.ref(order.key)

    def _new(self, folder: Path, key: str, rented: Rented) -> Journal:
        repo = f"{rented.namespace}/{name_of(key)}"
        return Journal(kind=self.kind, namespace=rented.namespace, repo=repo).save(folder)

    def _upload(self, api: HfApi, folder: Path, order: Order, made: Journal) -> Journal:
        from huggingface_hub import CommitOperationAdd  # noqa: PLC0415

        from finetune_providers.hub import client  # noqa: PLC0415

        with client.translated(f"creating the private repository {made.repo}"):
            api.create_repo(made.repo, private=True, exist_ok=True)
        files = bundle.files(folder, self.code, order)
        added = [
            CommitOperationAdd(path_in_repo=name, path_or_fileobj=what if isinstance(what, bytes) else str(what))
            for name, what in files.items()
        ]
        with client.translated(f"uploading the job to {made.repo}"):
            done = api.create_commit(made.repo, added, commit_message="The job")
        return made.save(folder, commit=str(done.oid))

    def _post(self, api: HfApi, folder: Path, order: Order, rented: Rented, made: Journal) -> Journal:
        from finetune_providers.hub import client  # noqa: PLC0415

        made = made.save(folder, posts=made.posts + 1)
        doing = f"creating the {self.kind} machine of job {order.key}"
        try:
            machine = self.create(api, made, order, rented)
        except Exception as exc:
            error = client.ours(exc, doing)
            if error is None:
                raise
            speakable = exc if redact(str(exc)) == str(exc) else None
            if client.refused(exc):
                made.save(folder, posts=made.posts - 1)
                raise error from speakable
            log.warning("[hub] %s: doubtful answer; looking it up", doing)
            found = self._adopted(api, folder, made)
            if found.machine is None:
                text = f"{error} The request was sent, and nothing is listed so far."
                raise Ambiguous(text) from speakable
            return found
        return made.save(folder, machine=machine)

    def _adopted(self, api: HfApi, folder: Path, made: Journal) -> Journal:
        """The journal with the machine that is there, if there is one; after several looks in vain unchanged."""
        from finetune_providers.hub import client  # noqa: PLC0415

        for left in range(_LOOKS - 1, -1, -1):
            try:
                with client.translated("looking for the job"):
                    machine = self.look(api, made)
            except ProviderError as exc:
                raise Ambiguous(f"{exc} So it is not known whether a machine was rented.") from exc
            if machine is not None:
                return made.save(folder, machine=machine)
            if left:
                time.sleep(LOOK_S)
        return made

    def find(self, key: str) -> str | None:
        """Asks the Hub only where a creating request of ours has no answer on record."""
        from finetune_providers.hub import client  # noqa: PLC0415

        folder = self._folder(key)
        made = journal.load(folder)
        if made is None or made.kind != self.kind:
            return None
        if made.machine is None and made.posts:
            with client.translated("looking for the job"):
                machine = self.look(client.connect(), made)
            made = made if machine is None else made.save(folder, machine=machine)
        return None if made.machine is None else self.ref(key)

    # --- watching

    def poll(self, ref: str) -> JobState:
        """From the result that came home, else from the vendor. A Hub that is down loses nothing: ask again later."""
        folder, made, machine = self._known(ref)
        end = state.result(folder)
        if end is not None:
            return state.ended(folder, end)
        api = self._api()
        return self._asked(api, folder, made, machine)

    def _asked(self, api: HfApi, folder: Path, made: Journal, machine: str) -> JobState:
        from finetune_providers.hub import client, collecting  # noqa: PLC0415

        with client.translated(f"asking how {machine} stands"):
            seen = self.seen(api, made, machine)
        if seen.status.terminal or self.outlives_its_job:
            with client.translated("fetching the result"):
                end = collecting.result(api, made)
            if end is not None:
                return self._settle(api, folder, made, seen, end)
        if not seen.status.terminal:
            cancelling = made.cancelled and seen.status is not JobStatus.PAUSED
            status = JobStatus.CANCELLING if cancelling else seen.status
            return JobState(status=status, raw_status=seen.word, known=seen.known)
        with client.translated("asking who runs the job"):
            runs = collecting.claimant(api, made)
        if runs is not None and runs != machine:  # an earlier request of ours had been obeyed after all
            return self._asked(api, folder, made.save(folder, machine=runs), runs)
        return self._without_result(api, folder, made, machine, seen)

    outlives_its_job: ClassVar[bool] = False
    """Whether the machine goes on when the job is done, so that only its result says that it is."""

    def _settle(self, api: HfApi, folder: Path, made: Journal, seen: Seen, end: Mapping[str, Any]) -> JobState:
        """Bring the result home, then believe it."""
        from finetune_providers.hub import client, collecting  # noqa: PLC0415

        found = collecting.here(end, folder)
        if found.get("status") == "cancelled" and not made.cancelled and seen.status is JobStatus.FAILED:
            found = {**found, "status": "failed", "error": seen.message or f"the machine was taken away ({seen.word})"}
        with client.translated("fetching what the job left"):
            collecting.bring_home(api, made, folder, found)
        return state.ended(folder, found)

    def _without_result(self, api: HfApi, folder: Path, made: Journal, machine: str, seen: Seen) -> JobState:
        from finetune_providers.hub import client, collecting  # noqa: PLC0415

        status = JobStatus.CANCELLED if made.cancelled else seen.status
        error = None
        if status is not JobStatus.CANCELLED:
            status = JobStatus.FAILED
            why = seen.message or f"it ended as {seen.word} and left no result"
            tail = self._last_words(api, made, machine)
            error = redact(f"{machine}: {why}" + (f"\n{tail}" if tail else ""))
        end: dict[str, Any] = {"status": str(status), "error": error, "model": None, "artifacts": []}
        with client.translated("fetching what the job left"):
            collecting.bring_home(api, made, folder, end)
        return state.ended(folder, end)

    def _last_words(self, api: HfApi, made: Journal, machine: str) -> str:
        """What it printed at the end; a log that cannot be read does not keep a job from ending."""
        from finetune_providers.hub import client  # noqa: PLC0415

        try:
            with client.translated("fetching what it printed"):
                return self.printed(api, made, machine)
        except ProviderError as exc:
            log.warning("%s", exc)
            return ""

    def events(self, ref: str, after: str | None = None) -> list[Event]:
        """As the machine last reported them."""
        from finetune_providers.hub import client, collecting  # noqa: PLC0415

        folder, made, _ = self._known(ref)
        if state.result(folder) is None:
            with client.translated("fetching the events"):
                collecting.reports(self._api(), made, folder)
        return list(state.events(folder, after))

    def checkpoints(self, ref: str) -> list[Checkpoint]:
        """None: they stay on the machine, and go with it."""
        self._known(ref)
        return []

    def artifacts(self, ref: str) -> list[Artifact]:
        """As the result lists them; they lie in `home/jobs/<key>` once the job has ended."""
        folder, _, _ = self._known(ref)
        return list(state.artifacts(folder))

    def cancel(self, ref: str) -> None:
        """Takes the machine away. The worker gets the seconds that the vendor gives it."""
        from finetune_providers.hub import client  # noqa: PLC0415

        folder, made, machine = self._known(ref)
        if state.result(folder) is not None:
            return
        api = self._api()
        with client.translated(f"asking how {machine} stands"):
            if self.seen(api, made, machine).status.terminal:
                return
        made = made.save(folder, cancelled=True)
        with client.translated(f"cancelling {machine}"):
            self.stop(api, made, machine)

    def pause(self, ref: str) -> None:  # noqa: ARG002 - the contract's signature
        """Not here: a rented machine's checkpoints go with it."""
        raise Unsupported(self.code.name, f"pausing a job at {self.kind}", "Cancel it instead.")

    def resume(self, ref: str) -> None:  # noqa: ARG002
        """Not here."""
        raise Unsupported(self.code.name, f"resuming a job at {self.kind}", "Submit it again.")

    def forget(self, ref: str) -> None:
        """Deletes the job's folder here. The private repository stays: it is the user's."""
        shutil.rmtree(self._folder(ref.partition(":")[2]), ignore_errors=True)

    # --- small things

    def ref(self, key: str) -> str:
        """The reference of a key."""
        return f"{self.kind}:{key}"

    def environment(self, made: Journal) -> dict[str, str]:
        """What the agent reads. No secret."""
        said = {"FTSDK_REPO": made.repo, "FTSDK_COMMIT": str(made.commit), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        said["FTSDK_REPORT_S"] = os.environ.get(REPORT_ENV) or f"{REPORT_S:g}"
        endpoint = os.environ.get("HF_ENDPOINT")
        return said | ({"HF_ENDPOINT": endpoint} if endpoint else {})

    def secrets(self) -> dict[str, str]:
        """The token: the agent fetches the job and brings the result home with it, and models may need it."""
        from finetune_providers.hub import client  # noqa: PLC0415

        return {"HF_TOKEN": client.token()}

    def _api(self) -> HfApi:
        from finetune_providers.hub import client  # noqa: PLC0415

        return client.connect()

    def _folder(self, key: str) -> Path:
        return self.home / "jobs" / key

    def _known(self, ref: str) -> tuple[Path, Journal, str]:
        folder = self._folder(ref.partition(":")[2])
        made = journal.load(folder)
        if made is None or made.machine is None:
            raise JobNotFound(f"[{self.code.name}] no job {ref!r} in {folder.parent}", sent=False)
        return folder, made, made.machine


def name_of(key: str) -> str:
    """Of the repository and of the Space: the key in it makes both findable, and unique."""
    return f"finetune-{key}"[:96]
