"""The `peft` provider: fine-tuning on this machine with transformers, peft and TRL, in a worker process."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from finetune_providers.hub.rentable import Rentable
from finetune_providers.peft import map as mapping
from finetune_providers.peft import methods, models
from finetune_providers.peft.claims import CAPABILITIES
from finetune_providers.peft.estimating import estimate
from finetune_providers.peft.judging import EVERY, Judge
from finetune_providers.peft.options import PeftOptions, parse
from finetune_sdk.data import prepare
from finetune_sdk.data.example import Example
from finetune_sdk.deploy.served_here import ServedHere
from finetune_sdk.errors import SpecError, Unsupported
from finetune_sdk.provider import Capabilities, Environment, Plan
from finetune_sdk.spec import RFT, SFT, JobSpec
from finetune_sdk.types import Finding
from finetune_sdk.worker.provider import HERE as THIS_MACHINE

HERE = Path(__file__).parent
WORKER = HERE / "worker"
LOCK = HERE / "worker.lock"
SMOKE = ("torch", "transformers", "peft", "trl")


class PeftProvider(Rentable, ServedHere):
    """Trains on this machine, or on a rented one. What is here of a job lies in `home/jobs/<key>`."""

    name: ClassVar[str] = "peft"
    capabilities: ClassVar[Capabilities] = CAPABILITIES
    environment: ClassVar[Environment | None] = Environment(lock=LOCK, smoke=SMOKE)
    worker: ClassVar[Path] = WORKER
    grading: ClassVar[Path | None] = WORKER / "graders.py"

    def check(self, spec: JobSpec) -> None:
        """Beyond the table: trackers whose package is missing here, and unknown options."""
        super().check(spec)
        self.options(spec)
        if spec.compute.kind == THIS_MACHINE and spec.compute.environment in ("auto", "current"):
            self._check_trackers(spec)

    def options(self, spec: JobSpec) -> PeftOptions:
        """This provider's section of `spec.options`, validated."""
        return parse(spec.options.get(self.name, {}))

    def rows(self, spec: JobSpec) -> str:
        """The method whose rows this job learns from: its own, unless the model says otherwise."""
        return spec.method.kind

    def accepts(self, spec: JobSpec) -> Mapping[str, Callable[[Example], Iterator[Finding]]]:
        """What rows may hold beside texts (`images`, `other-parts`), each with what looks at it; usually nothing."""
        del spec
        return {}

    def _check_trackers(self, spec: JobSpec) -> None:
        missing = [name for name in spec.report_to if importlib.util.find_spec(name) is None]
        if missing:
            what = f"`report_to: [{', '.join(missing)}]` (not installed in this interpreter)"
            raise Unsupported(self.name, what, f"Install it: pip install {' '.join(missing)}; or leave it out.")

    def plan(self, spec: JobSpec) -> Plan:
        """Reads the data and, of a local model, the file names. Loads nothing heavy."""
        self.check(spec)
        options = self.options(spec)
        model = models.resolve(spec.model_id)
        rows = self.rows(spec)
        judge, doubts = _judge(spec, model, options, rows)
        judge.accepts = self.accepts(spec)
        prepared = prepare(spec.data, method=rows, judge=self.guarded(judge, spec))
        if judge.conversations and not judge.template and EVERY not in judge.accepts:
            _refuse_conversations(rows, model, self.name)
        request, notes = mapping.request(spec, model, options, prepared.files)
        if rows != spec.method.kind:
            request["data_method"] = rows
        plan = Plan(
            provider=self.name,
            request=request,
            data=prepared.files,
            findings=prepared.findings,
            cost=estimate(judge, prepared.rows, request),
            notes=(*notes, *doubts),
        )
        return self.rented(plan, spec)


def _judge(spec: JobSpec, model: str, options: PeftOptions, rows: str) -> tuple[Judge, tuple[str, ...]]:
    """Who looks at the rows, and what is to be known about how."""
    knobs, method = spec.hyperparameters, spec.method
    limit = mapping.MAX_SEQ_LENGTH if knobs.max_seq_length == "auto" else knobs.max_seq_length
    name = f"max_seq_length {limit:,}"
    context = models.context(model)
    if context is not None and context < limit:
        limit, name = context, f"the model's context of {context:,}"
    if isinstance(method, RFT):
        given = method.max_completion_tokens
        answer = methods.MAX_COMPLETION_TOKENS if given == "auto" else given
        limit, name = limit - answer, f"{name} less max_completion_tokens {answer:,}"
    counter, doubts = models.vocabulary(model)
    judge = Judge(
        method=rows,
        train_on=method.train_on if isinstance(method, SFT) else "assistant",
        limit=limit,
        limit_name=name,
        counter=counter,
        template=options.chat_template is not None or not models.lacks_chat_template(model),
    )
    return judge, doubts


def _refuse_conversations(rows: str, model: str, provider: str) -> None:
    if rows in ("pretraining", "classification", "embedding"):
        return
    raise SpecError(
        f"model: the tokenizer in {model} has no chat template, and the data are conversations; set "
        f"options.{provider}.chat_template to a Jinja template or its path, or train on prompt/completion texts"
    )
