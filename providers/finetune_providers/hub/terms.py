"""What a rented machine is and costs, asked from the Hub while a job is planned: requests that only read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import msgspec

from finetune_sdk.data.example import Example
from finetune_sdk.data.prepare import Judge
from finetune_sdk.data.tools.scan import leaving
from finetune_sdk.errors import SpecError, Unsupported
from finetune_sdk.provider import Plan
from finetune_sdk.spec import Compute, JobSpec
from finetune_sdk.types import Estimate, Finding

Kind = Literal["hf-jobs", "hf-space"]

SETUP_HOURS = 1.0
"""Beside the training: building the environment, loading the model, bringing the result home."""
LONGEST_HOURS = 24.0
"""What a machine is rented for at most where `budget.max_hours` says nothing. Hugging Face's own default for Jobs is
30 minutes, after which a training would be killed (https://huggingface.co/docs/huggingface_hub/guides/jobs, read
2026-11-21)."""
_PER_HOUR = {"minute": 60.0, "hour": 1.0, "second": 3600.0}


class Rented(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a plan's request that a rented machine needs: `rented`."""

    namespace: str
    """Who pays, and who owns the repositories."""
    flavor: str
    gpu: bool
    timeout_s: int
    """The machine is taken away after that, whatever it does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A flavor as the Hub describes it today."""

    name: str
    shown: str
    gpu: bool
    usd_per_hour: float | None
    """None = the Hub states no price by a time we know."""


def guarded(judge: Judge, spec: JobSpec) -> Judge:
    """The judge, and for rows that leave this machine the look for secrets and personal data."""
    if spec.compute.kind == "local":
        return judge

    def look(example: Example) -> Iterator[Finding]:
        yield from judge(example)
        yield from leaving(example, spec.data.allow)

    return look


def check(spec: JobSpec, provider: str) -> None:
    """What holds on this machine only. Sends nothing."""
    compute = spec.compute
    if compute.environment not in ("auto", "managed"):
        what = f"`compute.environment: {compute.environment}` with `compute.kind: {compute.kind}`"
        raise Unsupported(provider, what, "Leave it out: the environment is built there from the provider's lock.")
    trackers = [name for name in spec.report_to if name != "tensorboard"]
    if trackers:
        what = f"`report_to: {', '.join(trackers)}` with `compute.kind: {compute.kind}`"
        raise Unsupported(provider, what, "The environment there is built from the lock, which has no tracker.")
    if compute.kind == "hf-space" and compute.processes > 1:
        raise Unsupported(provider, "`compute.processes` on a Space", "Use kind: hf-jobs for several processes.")


def applied(plan: Plan, spec: JobSpec, ask: Callable[[Compute], tuple[str, list[Machine]]]) -> Plan:
    """The plan for a rented machine. `ask` answers the namespace and the machines there are."""
    compute = spec.compute
    namespace, machines = ask(compute)
    machine = _chosen(compute, machines)
    if compute.device == "cuda" and not machine.gpu:
        raise SpecError(
            f"compute.flavor: {machine.name} has no GPU, and compute.device is cuda; choose {_gpus(machines)}"
        )
    hours = LONGEST_HOURS if spec.budget.max_hours is None else spec.budget.max_hours + SETUP_HOURS
    rented = Rented(namespace=namespace, flavor=machine.name, gpu=machine.gpu, timeout_s=int(hours * 3600))
    request = {**plan.request, "rented": msgspec.to_builtins(rented)}
    notes = (*plan.notes, *_notes(spec, machine, hours, namespace))
    return replace(plan, request=request, cost=_cost(spec, machine, hours), notes=notes)


def _chosen(compute: Compute, machines: list[Machine]) -> Machine:
    found = next((one for one in machines if one.name == compute.flavor), None)
    if found is None:
        known = ", ".join(one.name for one in machines) or "none"
        raise SpecError(f"compute.flavor: there is no {compute.flavor!r} for {compute.kind}; there are: {known}")
    return found


def _gpus(machines: list[Machine]) -> str:
    return ", ".join(one.name for one in machines if one.gpu) or "another place: there is no GPU here"


def _cost(spec: JobSpec, machine: Machine, hours: float) -> Estimate:
    if machine.usd_per_hour is None:
        return Estimate(usd=None, basis=f"unknown: the Hub states no price for {machine.name} that could be read")
    rate = f"{machine.name} costs {machine.usd_per_hour:.2f} USD per hour (asked now)"
    most = machine.usd_per_hour * hours
    if spec.budget.max_hours is None:
        basis = f"unknown: {rate}, and how long it trains is not known; at most {most:.2f} USD in {hours:g} hours. "
        return Estimate(usd=None, basis=f"{basis}Set budget.max_hours to bound it")
    basis = f"at most: {rate} x {hours:g} hours (budget.max_hours and {SETUP_HOURS:g} for setting up)"
    return Estimate(usd=most, basis=basis)


def _notes(spec: JobSpec, machine: Machine, hours: float, namespace: str) -> Iterator[str]:
    where = "a Hugging Face Job" if spec.compute.kind == "hf-jobs" else "a Hugging Face Space"
    yield f"runs in {where} of {namespace} on {machine.shown}; the rows go to a private repository there"
    yield f"the machine is taken away after {hours:g} hours, whatever it does then"
    yield "there is no pausing and resuming on a rented machine"


def machines(listed: list[Any]) -> list[Machine]:
    """As `list_jobs_hardware()` and `list_spaces_hardware()` answer."""
    return [
        Machine(
            name=one.name,
            shown=one.pretty_name or one.name,
            gpu=one.accelerator is not None and one.accelerator.type == "gpu",
            usd_per_hour=_hourly(one.unit_cost_usd, one.unit_label),
        )
        for one in listed
    ]


def _hourly(usd: Any, unit: Any) -> float | None:
    times = _PER_HOUR.get(str(unit))
    return float(usd) * times if times is not None and isinstance(usd, int | float) else None
