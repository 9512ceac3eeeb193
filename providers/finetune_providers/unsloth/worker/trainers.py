# pyright: basic
# ruff: noqa: ARG002 - signatures are TRL's
"""TRL's trainers as Unsloth has patched them, fed with token columns, writing whole checkpoints, counting tokens."""

from __future__ import annotations

import importlib
from typing import Any

from .local import part

trl: Any = importlib.import_module("trl")  # with the classes that Unsloth has put there
orpo: Any = importlib.import_module("trl.experimental.orpo")
_Careful: Any = part("trainer").Careful
_graders = part("graders")


class Watched(_Careful):
    """Mixin: what every trainer here does beyond TRL."""

    tokens_seen: int = 0

    def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Count what goes through training, padding included."""
        if isinstance(inputs, dict):
            ids = (value for name, value in inputs.items() if name.endswith("input_ids") and hasattr(value, "numel"))
            self.tokens_seen += sum(int(value.numel()) for value in ids)
        return super().training_step(model, inputs, *args, **kwargs)

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        return dataset  # it is tokens already

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Ours is written at the end, with results."""


class SftTrainer(Watched, trl.SFTTrainer):
    """Next-token prediction on the labelled positions."""


class DpoTrainer(Watched, trl.DPOTrainer):
    """Learning from pairs, against the base model."""

    zero_loss_is_fine = True


class KtoTrainer(Watched, trl.KTOTrainer):
    """Learning from single answers marked good or bad."""

    zero_loss_is_fine = True


class OrpoTrainer(Watched, orpo.ORPOTrainer):
    """Learning from pairs without a reference."""

    def tokenize_row(self, feature: Any, model: Any = None) -> dict[str, Any]:
        """Our columns under the names this trainer reads."""
        made = {"prompt_input_ids": feature["prompt_ids"], "prompt_attention_mask": [1] * len(feature["prompt_ids"])}
        for side in ("chosen", "rejected"):
            prompt, answer = feature["prompt_ids"], feature[f"{side}_ids"]
            made[f"{side}_input_ids"] = [*prompt, *answer]
            made[f"{side}_attention_mask"] = [1] * (len(prompt) + len(answer))
            made[f"{side}_labels"] = [-100] * len(prompt) + list(answer)
        return made


class GrpoTrainer(Watched, trl.GRPOTrainer):
    """Sampling, grading, pushing towards the better answers."""

    zero_loss_is_fine = True  # advantages of a group sum to zero, and so does the loss; its gradient does not


def _sft(job: Any, model: Any, common: dict[str, Any]) -> Any:
    args = trl.SFTConfig(
        **common,
        max_length=job.max_length,
        packing=job.packing,
        dataset_kwargs={"skip_prepare_dataset": True},
    )
    return SftTrainer(**_given(job, model, args))


def _dpo(job: Any, model: Any, common: dict[str, Any]) -> Any:
    method = job.request["method"]
    args = trl.DPOConfig(
        **common,
        max_length=job.max_length,
        beta=method["beta"],
        loss_type=[method["loss"]],
        label_smoothing=method["label_smoothing"],
    )
    return DpoTrainer(**_given(job, model, args))


def _kto(job: Any, model: Any, common: dict[str, Any]) -> Any:
    method = job.request["method"]
    args = trl.KTOConfig(
        **common,
        max_length=job.max_length,
        beta=method["beta"],
        desirable_weight=method["desirable_weight"],
        undesirable_weight=method["undesirable_weight"],
    )
    return KtoTrainer(**_given(job, model, args))


def _orpo(job: Any, model: Any, common: dict[str, Any]) -> Any:
    args = orpo.ORPOConfig(**common, max_length=job.max_length, beta=job.request["method"]["beta"])
    return OrpoTrainer(**_given(job, model, args))


def _grpo(job: Any, model: Any, common: dict[str, Any]) -> Any:
    method = job.request["method"]
    group = method["samples_per_prompt"]
    args = trl.GRPOConfig(
        **{
            **common,
            "per_device_train_batch_size": common["per_device_train_batch_size"] * group,
            "per_device_eval_batch_size": group,
        },
        num_generations=group,
        max_completion_length=method["max_completion_tokens"],
        temperature=method["temperature"],
        beta=method["beta"],
    )
    return GrpoTrainer(**_given(job, model, args), reward_funcs=[_reward(job)])


def _reward(job: Any) -> Any:
    """The grader as TRL calls it: all answers of a batch at once, with the columns of their rows."""
    grade = _graders.build(job.request["method"]["grader"])

    def graded(completions: list[str], row: list[int], role: list[str], **_: Any) -> list[float]:
        items = (job.items[key] for key in zip(role, row, strict=True))
        try:
            return [float(grade(_graders.sample_of(text), item)) for text, item in zip(completions, items, strict=True)]
        except _graders.GraderError as exc:
            raise job.ctx.Failed(f"grader: {exc}") from exc

    return graded


def _given(job: Any, model: Any, args: Any) -> dict[str, Any]:
    return {
        "model": model,
        "args": args,
        "train_dataset": job.train,
        "eval_dataset": job.validation,
        "processing_class": job.tokenizer,
    }


MAKERS = {"sft": _sft, "pretraining": _sft, "dpo": _dpo, "kto": _kto, "orpo": _orpo, "rft": _grpo}
"""By the `kind` of the job description."""

METRICS = {
    "sft": (),
    "pretraining": (),
    "dpo": ("rewards/accuracies", "rewards/margins", "rewards/chosen", "rewards/rejected"),
    "kto": ("kl", "rewards/chosen", "rewards/rejected", "rewards/margins"),
    "orpo": ("rewards/accuracies", "rewards/margins", "rewards/chosen", "rewards/rejected"),
    "rft": ("reward", "reward_std", "kl"),
}
"""Numbers of TRL's own log lines that reach events and result."""
