"""What this wire can do, as claims and limits, each with where it was read."""

from __future__ import annotations

from collections.abc import Mapping

from finetune_sdk.provider import YES, Capabilities, Claim, Limit, Support

from .map import READ_ON as _READ
from .map import SPEC as _SPEC
from .rules import Rules

_NO_RATE = Claim(
    Support.UNSUPPORTED,
    "takes a multiplier of its own default rate: set `learning_rate_multiplier` instead",
    _SPEC,
    _READ,
)
_LIVE = Claim(
    Support.PARTIAL, "verified against emulators and the published contract, not against the service", _SPEC, _READ
)
_WANDB = Claim(
    Support.PARTIAL,
    "needs `options.<provider>.wandb.project`; the W&B key lives in the vendor's settings",
    _SPEC,
    _READ,
)
CLAIMS: Mapping[str, Claim] = {
    "method.sft": _LIVE,
    "method.sft.train_on=last_assistant": Claim(Support.FULL, "earlier answers are sent with weight 0"),
    "method.dpo": _LIVE,
    "method.dpo.beta": YES,
    "method.rft": Claim(
        Support.PARTIAL,
        "OpenAI offered it for o4-mini only, which ended on 2026-10-23; verified against emulators",
        "https://developers.openai.com/api/docs/guides/reinforcement-fine-tuning",
        _READ,
    ),
    "method.rft.grader": YES,
    "method.rft.reasoning_effort": YES,
    "method.rft.compute_multiplier": YES,
    "method.rft.eval_interval": YES,
    "method.rft.eval_samples": YES,
    "hyperparameters.epochs": Claim(Support.FULL, "whole epochs only, 1 to 50", _SPEC, _READ),
    "hyperparameters.batch_size": Claim(Support.FULL, "1 to 256", _SPEC, _READ),
    "hyperparameters.learning_rate_multiplier": Claim(Support.FULL, "", _SPEC, _READ),
    "hyperparameters.learning_rate": _NO_RATE,
    "data.validation": YES,
    "data.test": Claim(Support.FULL, "held out here, never sent"),
    "report_to=wandb": _WANDB,
    "seed": Claim(Support.FULL, "", _SPEC, _READ),
    "suffix": Claim(Support.FULL, "followed by a token that makes the submission recognisable", _SPEC, _READ),
    "metadata": Claim(Support.FULL, "at most 15 pairs, key up to 64 characters, value up to 512", _SPEC, _READ),
    "feature.find": YES,
    "feature.resubmit": Claim(Support.FULL, "a broken off submission is finished by submitting it again, never twice"),
    "feature.events": YES,
    "feature.checkpoints": YES,
    "feature.cancel": YES,
    "feature.pause": _LIVE,
    "feature.resume": Claim(
        Support.PARTIAL, "a paused job only; a failed or cancelled one is submitted anew", _SPEC, _READ
    ),
    "feature.artifacts": YES,
    "feature.deploy": Claim(Support.FULL, "tuned models and checkpoints answer at once under the vendor's own name"),
    "feature.deployments": Claim(Support.FULL, "the account's tuned models"),
    "feature.undeploy": Claim(
        Support.PARTIAL, "deletes the tuned model for good: nothing less is offered", _SPEC, _READ
    ),
    "feature.evaluate": Claim(
        Support.PARTIAL, "asks base and tuned model through the chat API, which is charged; no perplexity"
    ),
}
LIMITS: Mapping[str, Limit] = {
    "max_file_bytes": Limit(512 * 2**20, "https://developers.openai.com/api/reference/resources/files", _READ),
    "max_upload_bytes": Limit(8 * 2**30, "https://developers.openai.com/api/reference/resources/uploads", _READ),
    "max_epochs": Limit(50, _SPEC, _READ),
    "max_batch_size": Limit(256, _SPEC, _READ),
}


def capabilities(
    rules: Rules,
    *,
    claims: Mapping[str, Claim] = CLAIMS,
    limits: Mapping[str, Limit] | None = None,
    notes: tuple[str, ...] = (),
) -> Capabilities:
    """The capabilities of a vendor that speaks this wire; `limits` are its own, on top of what the wire has."""
    return Capabilities(claims=claims, limits={**LIMITS, **rules.limits(), **(limits or {})}, notes=notes)
