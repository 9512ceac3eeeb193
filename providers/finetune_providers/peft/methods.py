"""What the methods beyond plain language modelling need settled before the worker starts: values, files, agreements."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune_providers.peft.worker import graders
from finetune_sdk.errors import SpecError
from finetune_sdk.spec import DPO, RFT, JobSpec, LoRA, Method, PromptTuning

if TYPE_CHECKING:
    from finetune_providers.peft.map import Notes

SCORED = ("reward", "classification")
"""Methods whose model ends in scores, not in words."""
PACKABLE = ("sft", "pretraining")
BETA: Mapping[str, tuple[float, str]] = {
    "dpo": (0.1, "the paper's and TRL's value"),
    "kto": (0.1, "the paper's and TRL's value"),
    "orpo": (0.1, "the paper's lambda"),
    "rft": (0.0, "no KL term, as in TRL: no reference model, faster"),
}
SAMPLES_PER_PROMPT = 8
MAX_COMPLETION_TOKENS = 256
_SMOOTHED = ("sigmoid", "robust")
_LEARNING_RATES: Mapping[str, tuple[float, float]] = {  # (an adapter, all weights); TRL's defaults, adapters times 10
    "dpo": (1e-5, 1e-6),
    "kto": (1e-5, 1e-6),
    "orpo": (1e-5, 1e-6),
    "reward": (1e-4, 1e-5),
    "rft": (1e-5, 1e-6),
}
_ADAPTER_RATES: Mapping[str, float] = {"ia3": 8e-3, "prompt_tuning": 3e-2}  # peft's own examples
_TINY_RATE = 1e-3


def learning_rate(kind: str, adapter: str, *, tiny: bool) -> float | None:
    """The usual rate of a method or adapter of its own; None = that of plain training."""
    if adapter in _ADAPTER_RATES:
        return _ADAPTER_RATES[adapter]
    if kind not in _LEARNING_RATES:
        return None
    return _TINY_RATE if tiny else _LEARNING_RATES[kind][adapter == "full"]


def settle(method: Method, notes: Notes) -> dict[str, Any]:
    """The method as the worker gets it: no "auto" left, a grader's file replaced by its text. Raises `SpecError`."""
    made = method.model_dump(mode="json")
    if made["kind"] in BETA:
        value, why = BETA[made["kind"]]
        made["beta"] = notes.chosen("method.beta", made["beta"], value, why)
    if isinstance(method, RFT):
        made["samples_per_prompt"] = notes.chosen(
            "method.samples_per_prompt", method.samples_per_prompt, SAMPLES_PER_PROMPT, "GRPO compares within a group"
        )
        made["max_completion_tokens"] = notes.chosen(
            "method.max_completion_tokens",
            method.max_completion_tokens,
            MAX_COMPLETION_TOKENS,
            "longer answers are cut",
        )
        made["grader"] = _grader(made["grader"])
    return made


def _grader(given: Mapping[str, Any]) -> dict[str, Any]:
    """The grader with its source text inside, checked without running it."""
    made = dict(given)
    if made["type"] == "multi":
        made["graders"] = {name: _grader(part) for name, part in made["graders"].items()}
    if made["type"] == "python":
        made["source"] = made["source"] if made["file"] is None else _text(made["file"])
    try:
        graders.check(made)
    except graders.GraderError as exc:
        raise SpecError(f"method.grader: {exc}") from exc
    return made


def _text(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise SpecError(f"method.grader.file: cannot read {file!r}: {exc}") from exc


def agree(spec: JobSpec) -> None:
    """Refuse settings that cannot work together, before anything is started. Raises `SpecError`."""
    method, adapter, knobs = spec.method, spec.adapter, spec.hyperparameters
    if isinstance(method, DPO) and method.label_smoothing and method.loss not in _SMOOTHED:
        raise SpecError(f"method.label_smoothing has no meaning with loss: {method.loss}; use {' or '.join(_SMOOTHED)}")
    if method.kind == "kto" and knobs.batch_size == 1:
        raise SpecError("hyperparameters.batch_size: kto estimates its KL term within a batch; use 2 or more")
    if knobs.packing is True and method.kind not in PACKABLE:
        raise SpecError(f"hyperparameters.packing works with {' and '.join(PACKABLE)}, not with {method.kind}")
    if isinstance(adapter, LoRA) and adapter.quantize != "none" and adapter.init in ("pissa", "olora"):
        raise SpecError(
            f"adapter.init: {adapter.init} rewrites the base weights, which adapter.quantize has rounded; use only one"
        )
    if isinstance(adapter, PromptTuning):
        _agree_on_prompts(spec)


def _agree_on_prompts(spec: JobSpec) -> None:
    if spec.method.kind in SCORED:
        raise SpecError(
            f"adapter: prompt_tuning does not work with {spec.method.kind}: the score would be read at a padded "
            "position. Use lora"
        )
    if spec.hyperparameters.packing is True:
        raise SpecError("hyperparameters.packing: packed rows would share one learned prompt; leave it out")
