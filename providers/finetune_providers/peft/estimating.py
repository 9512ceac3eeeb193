"""What a job will process, from what was seen while its data were read."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

from finetune_providers.peft import map as mapping
from finetune_providers.peft.judging import Judge
from finetune_sdk.types import Estimate


def estimate(judge: Judge, rows: Mapping[str, int], request: Mapping[str, JsonValue]) -> Estimate:
    """Tokens that training will see; it costs nothing here."""
    sent = mapping.sent(request)
    training, given = sent.training, rows.get("train", 0)
    each = judge.tokens / max(1, sum(rows.values()))
    if training.max_steps is None:
        seen, why = training.epochs * given, f"{training.epochs:g} epoch(s) of {given:,} rows"
    else:
        batch = training.batch_size * training.gradient_accumulation * sent.compute.processes
        seen = training.max_steps * batch
        why = f"max_steps {training.max_steps:,} of {batch:,} rows each, of {given:,} rows that the data have"
        if training.packing:
            each = max(each, float(judge.limit))
            why = f"max_steps {training.max_steps:,} of {batch:,} full sequences each"
    if judge.method == "rft":
        why += ", prompts only (the sampled answers come on top)"
    how = "counted with the model's vocabulary, as far as they were" if judge.counter.exact else "from their length"
    return Estimate(
        usd=0.0,
        basis=f"runs on this machine; {why}; about {each:,.0f} tokens a row ({how}), cut to {judge.limit_name}; "
        "within a factor of two",
        tokens=int(each * seen),
    )
