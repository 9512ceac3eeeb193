# pyright: basic
# ruff: noqa: ARG002 - signatures are transformers'
"""A trainer for methods with numbers of their own: a subclass says what a batch's loss is and what else it shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.utils.data import Sampler
from transformers import Trainer

from .collate import GroupedSampler
from .trainer import Careful, Epochs


class MeteredTrainer(Careful, Trainer):
    """Logs the mean of what `measure` answers beside the loss, over all processes, `eval_` in front in validation."""

    model: Any
    train_dataset: Any
    eval_dataset: Any

    def __init__(self, *args: Any, grouped: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.model_accepts_loss_kwargs = False  # our losses are means per batch: divide by the accumulation steps
        self.tokens_seen = 0
        self._grouped = grouped
        self._sums: dict[str, torch.Tensor] = {}
        self._counts: dict[str, int] = {}
        self.add_callback(Epochs(self))

    def measure(self, model: Any, batch: dict[str, Any]) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
        """The batch's loss, and one vector per number shown (one value per example; it may be empty)."""
        raise NotImplementedError

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """`measure`, with the numbers noted."""
        loss, shown = self.measure(model, inputs)
        for name, values in shown.items():
            self._sums[name] = self._sums.get(name, 0) + values.detach().double().sum()
            self._counts[name] = self._counts.get(name, 0) + values.numel()
        return (loss, None) if return_outputs else loss

    def prediction_step(self, model: Any, inputs: Any, prediction_loss_only: bool, ignore_keys: Any = None) -> Any:
        """Loss only."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            return self.compute_loss(model, inputs).detach(), None, None

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """The training numbers gathered so far are set aside while validating."""
        sums, counts = self._sums, self._counts
        self._sums, self._counts = {}, {}
        try:
            return super().evaluate(*args, **kwargs)
        finally:
            self._sums, self._counts = sums, counts

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Adds the numbers; every process comes here, so they may be summed across them."""
        prefix = "eval_" if "eval_loss" in logs else ""
        for name in sorted(self._sums):
            both = torch.stack([torch.as_tensor(self._sums[name]), torch.tensor(float(self._counts[name])).double()])
            summed: Any = self.accelerator.reduce(both.to(self.args.device), "sum")
            total, count = summed.tolist()
            if count:
                logs[prefix + name] = total / count
        self._sums, self._counts = {}, {}
        super().log(logs, *args, **kwargs)

    def count_tokens(self, batch: Mapping[str, torch.Tensor]) -> None:
        """Note what went through training, padding included, as every trainer here does."""
        if self.model.training:
            self.tokens_seen += batch["input_ids"].numel()

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler:
        dataset = train_dataset if train_dataset is not None else self.train_dataset
        batch = self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        self.sampler = GroupedSampler(dataset.lengths, batch=batch, seed=self.args.seed, grouped=self._grouped)
        return self.sampler
