"""Specs that each ask for one thing more: every method, adapter and knob, in two values where order can be told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from finetune_sdk.provider import demands
from finetune_sdk.spec import JobSpec

_GRADER = {"type": "string_check", "reference": "{{item.answer}}"}
_METHODS: Mapping[str, tuple[dict[str, Any], ...]] = {
    "sft": ({}, {"train_on": "last_assistant"}),
    "pretraining": ({},),
    "dpo": ({}, {"beta": 0.2}, {"beta": 0.3}, {"loss": "ipo"}, {"label_smoothing": 0.1}),
    "kto": ({}, {"beta": 0.2}, {"beta": 0.3}),
    "orpo": ({}, {"beta": 0.2}, {"beta": 0.3}),
    "reward": ({},),
    "classification": ({},),
    "rft": ({"grader": _GRADER},),
}
_ADAPTERS: Mapping[str, tuple[dict[str, Any], ...]] = {
    "lora": (
        {}, {"r": 4}, {"r": 6}, {"alpha": 3}, {"alpha": 5}, {"dropout": 0.1}, {"dora": True}, {"rslora": True},
        {"init": "pissa"}, {"quantize": "4bit"}, {"quantize": "8bit"}, {"target_modules": ["q_proj"]},
        {"modules_to_save": ["lm_head"]},
    ),
    "ia3": ({},),
    "prompt_tuning": ({}, {"virtual_tokens": 5}, {"virtual_tokens": 7}),
    "full": ({},),
}  # fmt: skip
_KNOBS: Mapping[str, tuple[Any, ...]] = {
    "epochs": (2, 3),
    "max_steps": (7, 9),
    "batch_size": (3, 5),
    "gradient_accumulation": (3, 5),
    "learning_rate": (0.00123, 0.00321),
    "learning_rate_multiplier": (0.7, 1.7),
    "scheduler": ("cosine", "constant"),
    "warmup_ratio": (0.07, 0.13),
    "weight_decay": (0.07, 0.13),
    "max_grad_norm": (0.7, 1.7),
    "optimizer": ("sgd", "adafactor"),
    "max_seq_length": (96, 160),
    "packing": (True, False),
    "precision": ("fp32", "bf16"),
    "gradient_checkpointing": (True, False),
    "eval_steps": (7, 9),
    "save_steps": (7, 9),
    "log_steps": (7, 9),
    "early_stopping": ({"patience": 2}, {"patience": 4}),
}


class Variation(NamedTuple):
    """A spec that differs from the author's in one thing, and the demands that this adds."""

    about: str
    """The dotted name of the thing, without its value: variations that share it must plan different requests."""
    spec: JobSpec
    added: tuple[str, ...]


def variations(base: JobSpec) -> Iterator[Variation]:
    """Every way in which a spec may ask for more; the data stay the author's."""
    for kind, changes in _METHODS.items():
        yield from (_varied(base, f"method.{kind}", change, method={"kind": kind, **change}) for change in changes)
    for kind, changes in _ADAPTERS.items():
        yield from (_varied(base, f"adapter.{kind}", change, adapter={"kind": kind, **change}) for change in changes)
    for name, values in _KNOBS.items():
        for value in values:
            knobs = {**base.hyperparameters.model_dump(exclude_defaults=True), name: value}
            if name.startswith("learning_rate"):
                knobs.pop({"learning_rate": "learning_rate_multiplier"}.get(name, "learning_rate"), None)
            yield _varied(base, f"hyperparameters.{name}", {}, hyperparameters=knobs)
    for count in (2, 3):
        yield _varied(base, "compute.processes", {}, compute={**base.compute.model_dump(), "processes": count})
    for seed in (12345, 54321):
        yield _varied(base, "seed", {}, seed=seed)
    for suffix in ("one", "two"):
        yield _varied(base, "suffix", {}, suffix=suffix)
    for number in ("1", "2"):
        yield _varied(base, "metadata", {}, metadata={"team": number})


def _varied(base: JobSpec, about: str, change: Mapping[str, Any], **parts: Any) -> Variation:
    spec = JobSpec.model_validate({**base.model_dump(mode="json"), **parts})
    added = tuple(demand for demand in demands(spec) if demand not in demands(base))
    return Variation(".".join((about, *change)), spec, added)
