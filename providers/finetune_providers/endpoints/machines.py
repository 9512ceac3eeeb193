"""The machines of Inference Endpoints and what they cost, as the service tells it; nothing of it is guessed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from finetune_sdk.errors import QuotaExceeded, SpecError

_RENTABLE = ("available", "low_availability")
_SHOWN = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One that can be rented, with the words that a creating request needs."""

    id: str
    vendor: str
    region: str
    accelerator: str
    instance_type: str
    instance_size: str
    usd_per_hour: float | None
    """Per replica; None = the service did not tell."""
    status: str
    units: int
    free: int | None
    """Units that the account may still use; None = not told."""

    @property
    def price(self) -> str:
        return "an unknown price" if self.usd_per_hour is None else f"${self.usd_per_hour:.2f} an hour"

    def check(self) -> None:
        """Raise what would make a creating request fail."""
        if self.accelerator != "gpu":
            raise SpecError(f"{self.id!r} has no GPU, which the serving image (vLLM) needs")
        if self.status not in _RENTABLE:
            raise SpecError(f"{self.id!r} cannot be rented now: {self.status}")
        if self.free is not None and self.free < self.units:
            raise QuotaExceeded(
                f"[hf-endpoint] {self.id!r} needs {self.units} of its accelerators, the account may use {self.free} "
                "more. Pause another endpoint, or ask Hugging Face for a higher quota. Nothing was sent.",
                sent=False,
            )


def read(answer: Any) -> list[Machine]:
    """The answer of `GET /provider/{namespace}`. huggingface_hub's own reader fails where a price is missing."""
    return [
        _machine(one, vendor["name"], region["name"])
        for vendor in answer["vendors"]
        for region in vendor["regions"]
        for one in region["computes"]
    ]


def _machine(raw: dict[str, Any], vendor: str, region: str) -> Machine:
    quota: dict[str, Any] = raw.get("quota") or {}
    known = {"maxAccelerators", "usedAccelerators"} <= set(quota)
    price = raw.get("pricePerHour")
    return Machine(
        id=raw["id"],
        vendor=vendor,
        region=region,
        accelerator=raw["accelerator"],
        instance_type=raw["instanceType"],
        instance_size=raw["instanceSize"],
        usd_per_hour=float(price) if isinstance(price, int | float) else None,
        status=raw.get("status", "available"),
        units=raw.get("numAccelerators") or 1,
        free=quota["maxAccelerators"] - quota["usedAccelerators"] if known else None,
    )


def choose(machines: list[Machine], wanted: str | None) -> Machine:
    """The machine of that id. Raises `SpecError` with what there is, the cheapest first."""
    for one in machines:
        if one.id == wanted:
            return one
    usable = [one for one in machines if one.accelerator == "gpu" and one.status in _RENTABLE]
    usable.sort(key=lambda one: (one.usd_per_hour is None, one.usd_per_hour or 0, one.id))
    shown = "\n".join(f"  {one.id}  {one.price}" for one in usable[:_SHOWN]) or "  none"
    said = "name the machine" if wanted is None else f"there is no machine {wanted!r}"
    raise SpecError(f"{said} (machine=, `--machine ID`); with a GPU there are, the cheapest first:\n{shown}")
