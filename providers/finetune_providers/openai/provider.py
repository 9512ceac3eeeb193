"""OpenAI's fine-tuning service, and every server that speaks its API. What differs between them is in `wire`.

Importing this module imports no vendor SDK; the first request does.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from pydantic import JsonValue

from finetune_sdk.data import canonical
from finetune_sdk.data.example import Example
from finetune_sdk.data.prepare import Prepared, prepare
from finetune_sdk.errors import (
    BadDelivery,
    DataError,
    JobNotFound,
    MissingExtra,
    PermissionRefused,
    ProviderError,
    SpecError,
    Throttled,
    Unreachable,
    Unsupported,
)
from finetune_sdk.graders import Grader
from finetune_sdk.provider import Capabilities, Plan, Provider
from finetune_sdk.spec import SFT, DataSpec, JobSpec
from finetune_sdk.types import Artifact, Checkpoint, Delivery, Deployment, Event, Finding, JobState, JobStatus, Severity

from . import journal as journals
from .connection import Connection, dereference
from .graders import grader_json, item_fields
from .map import (
    Json,
    capabilities,
    checkpoint,
    create_body,
    event,
    job_state,
    oldest_first,
    out_of_range,
    result_metrics,
    submission_token,
)
from .models import BaseModel, Ends, Models, ends_of, load, retirement
from .options import JobOptions, OpenAIOptions, read_options
from .planning import Survey, encode, estimate
from .rows import render
from .rules import OPENAI_RULES, Rules
from .webhooks import read
from .wire import WIRES, Wire

if TYPE_CHECKING:
    from .server import Server
    from .submission import Submission

Sender = Callable[[str, Path, str], Json]
VENDOR_URL = "https://api.openai.com/v1"
BOM = b"\xef\xbb\xbf"
LATE_S = 900.0
"""A request thought lost may still arrive so long afterwards; until then its job is looked for and cancelled."""
FREE = frozenset({JobStatus.PREPARING, JobStatus.VALIDATING, JobStatus.QUEUED})
"""Statuses in which a job has not begun to cost."""


class OpenAIProvider(Provider):
    """OpenAI. The key comes from the environment, on first use."""

    name: ClassVar[str] = "openai"
    capabilities: ClassVar[Capabilities] = capabilities(
        OPENAI_RULES,
        notes=(
            (
                "OpenAI closed self-serve fine-tuning to new organisations on 2026-05-07 and ends it on 2027-01-06; "
                "tuned models end with their base models. `base_url` leads to any other server that speaks the API."
            ),
        ),
    )
    rules: ClassVar[Rules] = OPENAI_RULES
    wires: ClassVar[Mapping[str, Wire]] = WIRES
    options_type: ClassVar[type[JobOptions]] = OpenAIOptions
    webhook_secret_env: ClassVar[str] = "OPENAI_WEBHOOK_SECRET"  # noqa: S105 - the name of a variable
    models_file: ClassVar[Path] = Path(__file__).with_name("models.toml")
    ways_out: ClassVar[str] = (
        "OpenAI has closed self-serve fine-tuning to new organisations and ends it on 2027-01-06. Ways out: the same "
        "job with `--provider azure`, or locally with `--provider peft` or `--provider unsloth` and an open model."
    )

    # --- where the server is

    @property
    def home_connection(self) -> Connection:
        """The vendor's own server: jobs there have bare references."""
        return Connection(url=VENDOR_URL, wire="openai", api_key_env="OPENAI_API_KEY")

    def connection(self, options: JobOptions) -> Connection:
        """The server a job goes to, from its options and the environment."""
        assert isinstance(options, OpenAIOptions), "options are read as `options_type`"
        url = (options.base_url or os.environ.get("OPENAI_BASE_URL") or VENDOR_URL).rstrip("/")
        wire = options.server or ("openai" if url == VENDOR_URL else "compatible")
        return Connection(
            url=url,
            wire=wire,
            api_key_env=options.api_key_env,
            organization=options.organization,
            project=options.project,
        )

    def server(self, connection: Connection, *, timeout_s: float | None = None) -> Server:
        """The server behind a connection. Raises `MissingExtra`, `AuthFailed`; sends nothing."""
        with self.extra():
            from .client import TIMEOUT_S, client, key_of
            from .server import Server
        wire = self.wires[connection.wire]
        key = key_of(connection, self.name, needed=wire.vendor_dates)
        return Server(client(connection, key, timeout_s=timeout_s or TIMEOUT_S), wire, self.name)

    @contextlib.contextmanager
    def extra(self) -> Generator[None, None, None]:
        """Turns a missing vendor SDK into the error that says how to install it."""
        try:
            yield
        except ModuleNotFoundError as exc:
            raise MissingExtra(
                f"provider {self.name!r} needs {exc.name or exc!s}, which is not installed. "
                f'Run: pip install "finetune-sdk[{self.name}]"'
            ) from exc

    def at(self, ref: str) -> tuple[Server, str]:
        """The server and the name a reference leads to."""
        connection, name = dereference(ref, default=self.home_connection)
        if connection.wire not in self.wires:
            raise JobNotFound(
                f"[{self.name}] {ref!r} names a server of an unknown kind: {connection.wire!r}", sent=False
            )
        return self.server(connection), name

    def reference(self, server_ref: str, name: str) -> str:
        """A reference to `name` on the server that another reference names."""
        connection, _ = dereference(server_ref, default=self.home_connection)
        return connection.reference(name, default=self.home_connection)

    # --- the dry run

    def options(self, spec: JobSpec) -> JobOptions:
        return read_options(self.options_type, spec.options.get(self.name, {}), self.name)

    def wire(self, connection: Connection) -> Wire:
        """The row of a server's quirks. Raises `SpecError`."""
        if connection.wire in self.wires:
            return self.wires[connection.wire]
        known = ", ".join(sorted(self.wires))
        raise SpecError(f"[{self.name}] options.{self.name}: no server kind {connection.wire!r}; there are: {known}")

    def models(self) -> Models:
        return load(self.models_file, override=self.home / f"{self.name}-models.toml")

    def today(self) -> date:
        return datetime.now(UTC).date()

    def check(self, spec: JobSpec) -> None:
        """As the contract says; also ranges, the server's own limits and the base model's methods."""
        super().check(spec)
        options = self.options(spec)
        wire = self.wire(self.connection(options))
        if faults := out_of_range(spec):
            raise SpecError(f"[{self.name}] {'; '.join(faults)}")
        for what, remedy in self.refusals(spec, options, wire):
            raise Unsupported(self.name, what, remedy)

    def refusals(self, spec: JobSpec, options: JobOptions, wire: Wire) -> Iterator[tuple[str, str]]:
        """What this server or this base model cannot do, with the remedy."""
        kind, row = spec.method.kind, self.base_model(spec, wire)
        if kind not in wire.methods:
            yield f"`method.{kind}` through {wire.name!r}", f"It has: {', '.join(sorted(wire.methods))}."
        if row.methods is not None and kind not in row.methods:
            has = ", ".join(sorted(row.methods)) or "none"
            yield f"`method.{kind}` on {spec.model_id!r}", f"Methods for this model: {has}."
        if spec.metadata and not wire.metadata:
            yield f"`metadata` through {wire.name!r}", "Remove it."
        if len(spec.metadata) > 15:  # 16 at the vendor, one of them is the submission's
            yield f"{len(spec.metadata)} pairs of `metadata`", "At most 15 are taken."
        if any(len(key) > 64 or len(value) > 512 for key, value in spec.metadata.items()):
            yield "long `metadata`", "Keys have at most 64 characters, values 512."
        if "wandb" in spec.report_to and options.wandb is None:
            yield "`report_to: [wandb]` without a project", f"Set `options.{self.name}.wandb.project`."
        if "wandb" in spec.report_to and not wire.integrations:
            yield f"`report_to` through {wire.name!r}", "Remove it."

    def base_model(self, spec: JobSpec, wire: Wire) -> BaseModel:
        """What is known about the base model; nothing where the server only speaks the format."""
        return self.models().find(spec.model_id) if wire.vendor_dates else BaseModel(id=spec.model_id)

    def plan(self, spec: JobSpec) -> Plan:
        """As the contract says. Asks the vendor when the base model ends, if there is a key; creates nothing."""
        self.check(spec)
        options = self.options(spec)
        connection = self.connection(options)
        wire, models = self.wire(connection), self.models()
        body = create_body(spec, options, wire, self.rules, self.name)
        prepared = prepare(spec.data, method=spec.method.kind)
        survey = self.survey(spec, wire, body)
        survey.look(prepared.examples())
        return Plan(
            provider=self.name,
            request=self.request(spec, options, connection, body),
            data=prepared.files,
            findings=(*prepared.findings, *survey.findings(wire), *self.dates(connection, spec.model_id)),
            cost=estimate(spec, survey, options, models.source if wire.vendor_dates else {}),
            notes=tuple(self.notes(spec, options, connection)),
        )

    def survey(self, spec: JobSpec, wire: Wire, body: Json) -> Survey:
        grader = body.get("method", {}).get("reinforcement", {}).get("grader", {})
        return Survey(
            method=spec.method.kind,
            rules=self.rules,
            model=self.base_model(spec, wire),
            item_fields=item_fields(grader),
            last_answer_only=isinstance(spec.method, SFT) and spec.method.train_on == "last_assistant",
        )

    def request(self, spec: JobSpec, options: JobOptions, connection: Connection, body: Json) -> dict[str, JsonValue]:
        """Everything `submit` needs, as JSON; `create` is sent as it stands, its placeholders filled."""
        last_only = isinstance(spec.method, SFT) and spec.method.train_on == "last_assistant"
        return {
            "server": cast("JsonValue", asdict(connection)),
            "data": cast("JsonValue", spec.data.model_dump(mode="json")),
            "method": spec.method.kind,
            "last_answer_only": last_only,
            "create": body,
            "file_wait_s": options.file_wait_s,
            "reconcile_wait_s": options.reconcile_wait_s,
            "timeout_s": options.timeout_s,
        }

    def notes(self, spec: JobSpec, _options: JobOptions, connection: Connection) -> Iterator[str]:
        """The provider's choices, each with its reason."""
        yield f"server: {connection.url} ({connection.wire}); key from {connection.api_key_env}"
        yield "the training file is uploaded anew for this submission: so a job is recognised after a lost answer"
        autos = [
            name
            for name in ("epochs", "batch_size", "learning_rate_multiplier")
            if getattr(spec.hyperparameters, name) == "auto"
        ]
        if autos:
            yield f"{', '.join(autos)}: left to the vendor"

    def ask_model(self, connection: Connection, model: str) -> tuple[Ends, list[Finding]]:
        """When the base model ends, by the vendor's API, and whether this account sees it. Costs nothing."""
        if not self.wires[connection.wire].ask_model or not self.has_key(connection):
            return Ends(), []
        try:
            return ends_of(self.server(connection).model(model)), []
        except PermissionRefused as exc:
            return Ends(), [
                _about_model("error", f"this account does not see {model!r}: {str(exc).rstrip('.')}", self.ways_out)
            ]
        except ProviderError as exc:
            return Ends(), [
                _about_model("warning", f"the vendor could not be asked about {model!r}: {exc}", "Try again.")
            ]

    def has_key(self, connection: Connection) -> bool:
        """Whether a dry run may ask the vendor something."""
        return bool(os.environ.get(connection.api_key_env))

    def dates(self, connection: Connection, model: str) -> list[Finding]:
        """What the vendor and the calendar say about a base model."""
        vendor, findings = self.ask_model(connection, model)
        if not self.wires[connection.wire].vendor_dates:
            return findings
        return findings + retirement(self.models(), model, today=self.today(), ways_out=self.ways_out, vendor=vendor)

    # --- submitting

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
        journal = journals.load(folder)
        if journal is None or not (journal.posts or journal.job):
            self.refuse_ended(connection, request["create"]["model"])
        if journal is None:
            journal = journals.start(folder, server=asdict(connection), token=submission_token(folder.name))
        uploads = _Uploads(plan, folder / "upload", self.sender(server, request), bom=server.wire.bom)
        roles = {role: f"{role}-{journal.token}.jsonl" for role in uploads.roles}
        job = self.submission(server, request).run(journal, request["create"], roles, uploads.send)
        uploads.clear()
        self.remember_doubt(folder, job)
        return job

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
        return self.home / f"{self.name}-doubts" / job

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

    # --- watching

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

    # --- what is left

    def artifacts(self, ref: str) -> list[Artifact]:
        server, job_id = self.at(ref)
        job = server.job(job_id)
        if not job.get("fine_tuned_model"):
            return []
        uri = self.reference(ref, str(job["fine_tuned_model"]))
        return [Artifact(kind="hosted", uri=uri, base_model=str(job.get("model") or "") or None)]

    def deploy(self, artifact: Artifact, *, name: str) -> Deployment:  # noqa: ARG002 - the vendor's name cannot be changed
        """Nothing to do: the vendor serves tuned models and checkpoints at once, under its own name, not `name`."""
        connection, model = dereference(artifact.uri, default=self.home_connection)
        return self._serving(connection, model, "ready")

    def deployments(self) -> Sequence[Deployment]:
        """The tuned models of the account: each answers at once, there is nothing else to deploy."""
        connection = self.connection(self.options_type())
        server = self.server(connection)
        if not server.wire.lists_models:
            raise Unsupported(self.name, f"listing models through {server.wire.name!r}", "Ask the server behind it.")
        names = [str(one["id"]) for one in server.patient().models()]
        return [self._serving(connection, name, "ready") for name in names if name.startswith(server.wire.tuned_prefix)]

    def deployment(self, name: str) -> Deployment:
        connection, model = dereference(name, default=self.home_connection)
        found = self.server(connection).patient().served(model)
        return self._serving(connection, model, "ready" if found is not None else "stopped")

    def undeploy(self, name: str) -> None:
        """Delete the tuned model: there is no other way here. See `undeploy_terms`."""
        server, model = self.at(name)
        if not model.startswith(server.wire.tuned_prefix):
            raise Unsupported(
                self.name, f"deleting {model!r}", f"A tuned model begins with {server.wire.tuned_prefix!r}."
            )
        server.delete_model(model)

    def undeploy_terms(self, name: str) -> str:
        _, model = dereference(name, default=self.home_connection)
        return f"This deletes the tuned model {model!r} at the vendor, for good: it can only be trained again."

    def _serving(self, connection: Connection, model: str, status: Literal["ready", "stopped"]) -> Deployment:
        return Deployment(
            id=connection.reference(model, default=self.home_connection),
            provider=self.name,
            model=model,
            base_url=connection.url,
            status=status,
            api_key_env=connection.api_key_env,
        )

    # --- graders

    def validate_grader(self, grader: Grader, *, options: Mapping[str, JsonValue] | None = None) -> None:
        """Ask the vendor whether it takes the grader. Raises `SpecError` with its reason."""
        server = self.server(self.connection(read_options(self.options_type, options or {}, self.name)))
        server.validate_grader(grader_json(grader, source_bytes_max=self.rules.python_grader_bytes, provider=self.name))

    def run_grader(
        self,
        grader: Grader,
        *,
        sample: str,
        item: Mapping[str, JsonValue],
        options: Mapping[str, JsonValue] | None = None,
    ) -> float:
        """The reward the vendor gives `sample` for a row's fields. Raises `SpecError` when the grader fails on it."""
        server = self.server(self.connection(read_options(self.options_type, options or {}, self.name)))
        body = grader_json(grader, source_bytes_max=self.rules.python_grader_bytes, provider=self.name)
        return server.run_grader(body, sample=sample, item=item)


def _listed_states(server: Server, wanted: Mapping[str, str]) -> Iterator[tuple[str, JobState]]:
    """The wanted jobs (references by id) as the list shows them; reading stops at the last one."""
    left = set(wanted)
    for job in server.jobs():
        if job["id"] in left:
            left.remove(job["id"])
            yield wanted[job["id"]], job_state(job, server.wire)
        if not left:
            return


class _Uploads:
    """The rows of a plan as files for the vendor: written when they are needed, gone when the job is known."""

    def __init__(self, plan: Plan, folder: Path, send: Sender, *, bom: bool) -> None:
        self._plan = plan
        self._folder = folder
        self._send = send
        self._bom = bom
        self.roles: list[str] = [file.role for file in plan.data if file.role != "test"]

    def send(self, role: str, name: str) -> Json:
        """Upload the rows of a role."""
        path = self._folder / f"{role}.wire.jsonl"
        if not path.exists():
            self._write(role, path)
        return self._send(role, path, name)

    def _write(self, role: str, path: Path) -> None:
        request = cast("Mapping[str, Any]", self._plan.request)
        prepared = prepare(DataSpec.model_validate(request["data"]), method=request["method"])
        _refuse_changed(prepared, self._plan)
        for name, source in prepared.write(self._folder).items():
            if name in self.roles:
                _render_file(source, self._folder / f"{name}.wire.jsonl", request, bom=self._bom)
            source.unlink()
        assert path.exists(), f"the plan has {role} rows"

    def clear(self) -> None:
        for path in self._folder.glob("*"):
            path.unlink()
        if self._folder.exists():
            self._folder.rmdir()


def _refuse_changed(prepared: Prepared, plan: Plan) -> None:
    if [file.sha256 for file in prepared.files] != [file.sha256 for file in plan.data]:
        raise DataError("the data changed since it was planned; nothing was uploaded. Plan again.")


def _render_file(source: Path, target: Path, request: Mapping[str, Any], *, bom: bool) -> None:
    part = target.with_suffix(".part")
    with source.open("rb") as lines, part.open("wb") as out:
        if bom:
            out.write(BOM)
        for line in lines:
            example: Example = canonical.parse(line)
            row = render(example, request["method"], last_answer_only=request["last_answer_only"])
            assert row is not None, "the plan refused rows of another kind"
            out.write(encode(row) + b"\n")
    part.replace(target)


def _about_model(severity: Severity, message: str, fix: str) -> Finding:
    return Finding(rule="base-model", severity=severity, message=message, fix=fix)
