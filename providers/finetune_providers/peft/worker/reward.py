# pyright: basic
"""A reward model: one score per conversation, higher for the chosen answer of a pair."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from transformers import TrainingArguments

from . import heads, losses, preference
from .metered import MeteredTrainer

METRICS = ("reward_accuracy", "reward_margin", "reward_mean")
prepare = preference.prepare


def load(job: Any, *, quantized: bool = True) -> Any:
    """The base model with one score."""
    return heads.load(job, labels=["reward"], quantized=quantized)


class RewardTrainer(MeteredTrainer):
    """Bradley-Terry: the probability that the chosen answer wins is the sigmoid of the score's difference."""

    zero_loss_is_fine = True

    def __init__(self, *args: Any, centre: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._centre = centre

    def measure(self, model: Any, batch: dict[str, Any]) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
        """The pairs' mean loss and how many are ordered rightly."""
        self.count_tokens(batch)
        chosen, rejected = heads.scores(model, batch).squeeze(-1).chunk(2)
        loss = losses.preferred(chosen, rejected, batch["margin"], centre=self._centre).mean()
        return loss, {
            "reward_accuracy": (chosen > rejected).float(),
            "reward_margin": chosen - rejected,
            "reward_mean": torch.cat([chosen, rejected]),
        }


def trainer(job: Any, model: Any, arguments: dict[str, Any]) -> RewardTrainer:
    """The trainer over the prepared pairs."""
    return RewardTrainer(
        model=model,
        args=TrainingArguments(**arguments),
        train_dataset=job.train,
        eval_dataset=job.validation,
        data_collator=preference.PairCollator(job.tokenizer.pad_token_id),
        centre=job.request["method"]["center_rewards"] or 0.0,
    )


def questions(_job: Any) -> list[Any]:
    """A reward model answers nothing; its measure is how often it orders held-out pairs rightly."""
    return []
