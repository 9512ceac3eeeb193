# pyright: basic
# ruff: noqa: ARG002 - signatures are transformers'
"""What every trainer of this provider does: stop on a loss that is no number or exactly zero, save whole checkpoints.

`Careful` is mixed in front of a transformers or TRL trainer class; `CompactTrainer` is for plain language modelling.
"""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Sampler
from transformers import Trainer, TrainerCallback

from . import adapters, checkpoints, disk
from .collate import GroupedSampler
from .context import Context
from .loss import CompactHead, weighted_loss


class Careful:
    """Mixin; set `ctx`, the job's context, before training."""

    ctx: Context
    keep_checkpoints: int = 2
    _aside: bool = False

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """One step; a loss that cannot be learned from ends the job with the reason."""
        loss = super().training_step(*args, **kwargs)  # type: ignore[misc]
        value = loss.item()
        step = self.state.global_step + 1  # type: ignore[attr-defined]
        if not math.isfinite(value):
            raise self.ctx.Failed(
                f"the loss became {value} at step {step}: lower hyperparameters.learning_rate, or set precision: fp32"
            )
        if value == 0.0 and not self.zero_loss_is_fine:
            raise self.ctx.Failed(
                f"the loss is exactly 0.0 at step {step}: no token of the batch is learned from, "
                "or nothing is left to learn"
            )
        return loss

    zero_loss_is_fine: bool = False
    """For methods whose loss is zero by construction at times (a group of equal rewards)."""

    def _get_output_dir(self, trial: Any) -> str:
        folder = super()._get_output_dir(trial)  # type: ignore[misc]
        return str(Path(folder) / checkpoints.PART) if self._aside else folder

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        root = Path(super()._get_output_dir(trial))  # type: ignore[misc]
        step = self.state.global_step  # type: ignore[attr-defined]
        aside = root / checkpoints.PART
        if not adapters.finite(self.model):  # type: ignore[attr-defined]
            raise self.ctx.Failed(f"the weights are no longer finite at step {step}; the checkpoint before is kept")
        if self.is_world_process_zero():  # type: ignore[attr-defined]
            shutil.rmtree(aside, ignore_errors=True)
        self.accelerator.wait_for_everyone()  # type: ignore[attr-defined]
        try:
            self._write_aside(model, trial)
            self.accelerator.wait_for_everyone()  # type: ignore[attr-defined]
            if self.is_world_process_zero():  # type: ignore[attr-defined]
                self._seal(aside / f"checkpoint-{step}", root / f"checkpoint-{step}", step)
        except disk.ERRORS as exc:
            raise self._unwritten(root, step, exc) from exc
        self.accelerator.wait_for_everyone()  # type: ignore[attr-defined]

    def _write_aside(self, model: Any, trial: Any) -> None:
        self._aside = True
        try:
            super()._save_checkpoint(model, trial)  # type: ignore[misc]
        finally:
            self._aside = False

    def _seal(self, part: Path, final: Path, step: int) -> None:
        state = self.state  # type: ignore[attr-defined]
        if state.best_global_step:
            state.best_model_checkpoint = str(final.parent / f"checkpoint-{state.best_global_step}")
            state.save_to_json(str(part / "trainer_state.json"))
        checkpoints.seal(part, final, step=step, metrics=_last_metrics(state.log_history))
        checkpoints.prune(final.parent, keep=self.keep_checkpoints, best=state.best_model_checkpoint)
        self.ctx.event(f"checkpoint-{step} saved", step=step)

    def _unwritten(self, root: Path, step: int, exc: Exception) -> Exception:
        kept = checkpoints.listed(root)
        last = f"{kept[-1].name} is kept" if kept else "there is no earlier one"
        failed = disk.unwritten(self.ctx, f"checkpoint-{step}", root, exc, kept=last)
        shutil.rmtree(root / checkpoints.PART, ignore_errors=True)
        return failed


class CompactTrainer(Careful, Trainer):
    """Next-token prediction on supervised positions only, weighted per token, in length-grouped batches."""

    def __init__(self, *args: Any, grouped: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head = CompactHead(self.accelerator.unwrap_model(self.model))
        self._grouped = grouped
        self.model_accepts_loss_kwargs = True  # so that supervised tokens are counted over the accumulated batch
        self.loss_is_scaled_for_ga = True
        self._loss_shifts_labels = True
        self.tokens_seen = 0
        self.add_callback(Epochs(self))

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Sum of weighted token losses over the number of supervised tokens, as transformers and TRL normalise it."""
        losses, _ = weighted_loss(model, self._head, inputs)
        count = losses.numel() if num_items_in_batch is None else num_items_in_batch
        loss = losses.sum() / torch.as_tensor(count, device=losses.device).clamp(min=1)
        if num_items_in_batch is not None and self.args.average_tokens_across_devices:
            loss = loss * self.accelerator.num_processes  # the count is over all processes, gradients are averaged
        if model.training:
            mask = inputs.get("attention_mask")  # packed sequences have none, and next to no padding
            self.tokens_seen += inputs["labels"].numel() if mask is None else int(mask.sum())
        return (loss, None) if return_outputs else loss

    def prediction_step(self, model: Any, inputs: Any, prediction_loss_only: bool, ignore_keys: Any = None) -> Any:
        """Loss only; logits of a whole validation set fit nowhere."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            return self.compute_loss(model, inputs).detach(), None, None

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler:
        dataset: Any = train_dataset if train_dataset is not None else self.train_dataset
        batch = self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        self.sampler = GroupedSampler(dataset.lengths, batch=batch, seed=self.args.seed, grouped=self._grouped)
        return self.sampler


class Epochs(TrainerCallback):
    """Tells the sampler the epoch itself: the data loader's own way does not reach through every wrapper on resume."""

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._trainer.sampler.set_epoch(int(state.epoch or 0))


def _last_metrics(history: list[dict[str, Any]]) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for entry in history:
        metrics.update({name: float(entry[name]) for name in ("loss", "eval_loss") if name in entry})
    return metrics
