"""Checking and planning a job: everything that is known before anything is sent. A layer of `OpenAIProvider`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, date, datetime
from pathlib import Path
from typing import ClassVar, cast

from pydantic import JsonValue

from finetune_sdk.data.prepare import prepare
from finetune_sdk.errors import PermissionRefused, ProviderError, SpecError, Unsupported
from finetune_sdk.provider import Plan
from finetune_sdk.spec import SFT, JobSpec
from finetune_sdk.types import Finding, Severity

from .connection import Connection
from .graders import item_fields
from .inference import Asking, held_out_role
from .map import Json, create_body, out_of_range
from .models import BaseModel, Ends, Models, ends_of, load, retirement
from .options import JobOptions, read_options
from .place import Place
from .planning import Survey, estimate
from .rules import OPENAI_RULES, Rules
from .wire import Wire


class DryRun(Place):
    """What a job comes to, and what stands against it."""

    rules: ClassVar[Rules] = OPENAI_RULES
    models_file: ClassVar[Path] = Path(__file__).with_name("models.toml")
    ways_out: ClassVar[str] = (
        "OpenAI has closed self-serve fine-tuning to new organisations and ends it on 2027-01-06. Ways out: the same "
        "job with `--provider azure`, or locally with `--provider peft` or `--provider unsloth` and an open model."
    )

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
        if spec.evaluation is not None and "perplexity" in spec.evaluation.metrics:
            yield "`evaluation.metrics: perplexity`", "The chat API tells no likelihoods: use exact_match or accuracy."
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
        asking = asking_of(spec, prepared.rows)
        survey.look(prepared.examples(), asking)
        return Plan(
            provider=self.name,
            request=self.request(spec, options, connection, body),
            data=prepared.files,
            findings=(
                *prepared.findings,
                *(survey.findings(wire) if survey.rows or not prepared.errors else ()),
                *self.dates(connection, spec.model_id),
            ),
            cost=estimate(spec, survey, options, models.source if wire.vendor_dates else {}, asking),
            notes=(*self.notes(spec, options, connection), *([asking.words(survey.model)] if asking else [])),
        )

    def survey(self, spec: JobSpec, wire: Wire, body: Json) -> Survey:
        grader = body.get("method", {}).get("reinforcement", {}).get("grader", {})
        return Survey(
            method=spec.method.kind,
            rules=self.rules,
            model=self.base_model(spec, wire),
            item_fields=item_fields(grader),
            last_answer_only=isinstance(spec.method, SFT) and spec.method.train_on == "last_assistant",
            allowed=spec.data.allow,
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
            "evaluation": None if spec.evaluation is None else spec.evaluation.model_dump(mode="json"),
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


def asking_of(spec: JobSpec, rows: Mapping[str, int]) -> Asking | None:
    """The job's evaluation, nothing counted yet. Raises `SpecError` when there is nothing to evaluate on."""
    if spec.evaluation is None:
        return None
    role = held_out_role(rows)
    if role is None and not spec.evaluation.prompts:
        raise SpecError("evaluation needs held-out rows; set data.test or data.validation, such as 0.1")
    return Asking(spec.evaluation, role)


def _about_model(severity: Severity, message: str, fix: str) -> Finding:
    return Finding(rule="base-model", severity=severity, message=message, fix=fix)
