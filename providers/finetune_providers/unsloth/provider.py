"""The `unsloth` provider: fine-tuning on this machine with Unsloth, in a worker process and an environment of its own.

Unsloth's pins exclude today's transformers and TRL, importing it patches both, and parts of it are AGPL-3.0: it is
never imported here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from finetune_providers.peft.provider import PeftProvider
from finetune_providers.unsloth import beside, doors
from finetune_providers.unsloth.claims import CAPABILITIES
from finetune_providers.unsloth.options import UnslothOptions, parse
from finetune_sdk.data.example import Example
from finetune_sdk.errors import SpecError, Unsupported
from finetune_sdk.provider import Capabilities, Environment, Plan
from finetune_sdk.spec import JobSpec, LoRA
from finetune_sdk.types import Finding

HERE = Path(__file__).parent
LOCK = HERE / "worker.lock"
SMOKE = ("unsloth", "trl")


class UnslothProvider(PeftProvider):
    """Trains on this machine, as `peft` does; only the worker and what it can do differ."""

    name: ClassVar[str] = "unsloth"
    capabilities: ClassVar[Capabilities] = CAPABILITIES
    environment: ClassVar[Environment | None] = Environment(lock=LOCK, smoke=SMOKE)
    worker: ClassVar[Path] = HERE / "worker"
    beside: ClassVar[tuple[Path, ...]] = (PeftProvider.worker,)

    def check(self, spec: JobSpec) -> None:
        """Beyond the table: what Unsloth does on a GPU only, and what it refuses together."""
        super().check(spec)
        doors.check(spec, spec.model_id, self.options(spec))
        adapter = spec.adapter
        if isinstance(adapter, LoRA) and adapter.init in ("pissa", "olora"):
            what = f"`adapter.init: {adapter.init}`: Unsloth's merge does not know that it rewrites the base weights"
            raise Unsupported(self.name, what, "Use init: default, or provider: peft.")
        if spec.compute.processes > 1:
            raise SpecError("compute.processes: unsloth trains in one process; use provider: peft for several")

    def rows(self, spec: JobSpec) -> str:
        """Those of the method, but a model of sentence embeddings learns from pairs."""
        return "embedding" if self.options(spec).model_class == "sentence" else super().rows(spec)

    def accepts(self, spec: JobSpec) -> Mapping[str, Callable[[Example], Iterator[Finding]]]:
        """Pictures for a model that sees, sounds for one that speaks or hears."""
        options = self.options(spec)
        if options.codec is not None:
            return beside.sounds(spec, "assistant")
        if options.model_class == "whisper":
            return beside.sounds(spec, "user")
        if options.model_class == "vision" and spec.method.kind == "sft":
            return beside.pictures(spec)
        return super().accepts(spec)

    def plan(self, spec: JobSpec) -> Plan:
        """As peft's, with the folder that relative names of pictures and sounds start from."""
        plan = super().plan(spec)
        if not self.accepts(spec):
            return plan
        return replace(plan, request={**plan.request, "folder": str(Path.cwd())})

    def options(self, spec: JobSpec) -> UnslothOptions:
        """`options.unsloth`, validated, with the class that loads this model."""
        given = parse(spec.options.get(self.name, {}))
        return given.model_copy(update={"model_class": doors.model_class(spec.model_id, given)})
