"""Jobs on rented machines, for the tests: a provider with a worker that needs nothing, and a hub on loopback."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from finetune_providers.hub import rentable
from wire.hub import Hub

from finetune_sdk.data import prepare
from finetune_sdk.errors import SpecError
from finetune_sdk.provider import YES, Capabilities, Environment, Plan
from finetune_sdk.spec import JobSpec
from finetune_sdk.types import JobState
from finetune_sdk.worker.provider import CLAIMS

PATIENCE_S = 400.0
WORKER = Path(__file__).parent / "integration" / "rented_worker"


class Renter(rentable.Rentable):
    """Counts on a rented machine. `options.renter`: `steps`, `pause_s`, `fails`, and `until`, a file waited for."""

    name: ClassVar[str] = "renter"
    worker: ClassVar[Path] = WORKER / "worker.py"
    environment: ClassVar[Environment | None] = Environment(lock=WORKER / "worker.lock")
    capabilities: ClassVar[Capabilities] = Capabilities(
        claims={
            **dict.fromkeys(("method.sft", "budget.max_hours", "compute.environment", "report_to=wandb"), YES),
            **CLAIMS,
            **rentable.CLAIMS,
        }
    )

    def plan(self, spec: JobSpec) -> Plan:
        self.check(spec)
        found = prepare(spec.data, method="sft", judge=self.guarded(lambda _: (), spec))
        usual = {"steps": 2, "pause_s": 0.0, "fails": False, "until": ""}
        given = {**usual, **spec.options.get(self.name, {})}
        if given.keys() != usual.keys():
            raise SpecError(f"[renter] unknown options {sorted(given.keys() - usual.keys())}")
        request: dict[str, Any] = {
            **given,
            "model": spec.model_id,
            "method": {"kind": "sft"},
            "compute": spec.compute.model_dump(mode="json"),
            "data": spec.data.model_dump(mode="json"),
        }
        plan = Plan(provider=self.name, request=request, data=found.files, findings=found.findings)
        return self.rented(plan, spec)


def rows(path: Path, answer: str = "fine", count: int = 3) -> Path:
    """Conversations."""
    lines = [
        {"messages": [{"role": "user", "content": f"how is {i}?"}, {"role": "assistant", "content": answer}]}
        for i in range(count)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def spec(folder: Path, kind: str = "hf-jobs", **parts: Any) -> JobSpec:
    """A job of the renter's on the free machine; `parts` replace the usual ones, `options` are the worker's."""
    folder.mkdir(parents=True, exist_ok=True)
    options = parts.pop("options", {})
    compute = {"kind": kind, "flavor": "cpu-basic", **parts.pop("compute", {})}
    data = parts.pop("data", None) or {"train": str(rows(folder / "rows.jsonl"))}
    whole = {"provider": "renter", "model": "some/model", "data": data, "compute": compute}
    return JobSpec.model_validate({**whole, "options": {"renter": options}, **parts})


def until(claim: Callable[[], object]) -> None:
    """Wait for something to become true."""
    give_up_s = time.monotonic() + PATIENCE_S
    while not claim():
        assert time.monotonic() < give_up_s, "waited too long"
        time.sleep(0.05)


def ended(provider: rentable.Rentable, ref: str) -> JobState:
    """The state when it is over."""
    found: list[JobState] = []

    def over() -> bool:
        found[:] = [provider.poll(ref)]
        return found[0].status.terminal

    until(over)
    return found[0]


def machine_of(hub: Hub) -> str:
    """The id of the only machine there is."""
    (only,) = hub.machines
    return only
