# pyright: basic, reportMissingImports=false
"""Fine-tuning by a pass of Olive's, inside the peft worker's job: same rows, checkpoints, events, artifacts, receipt.

Only the training itself is Olive's: its pass loads the base model, puts its adapter on and makes its trainer. The rows
come encoded by the peft worker, one sequence each, only the answers learned; Olive's own loader packs, learns the
questions too, and stops at 256 sequences without a word.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

from . import common, olive_runs
from .train import TrainingContext

_TYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
_GPU_ONLY = ("QLoRA", "LoftQ")


def run(child: Any, orders: dict[str, Any]) -> dict[str, Any]:
    """The result as the peft worker gives it."""
    peft = partial(common.peft_worker, orders["worker"])
    ctx = TrainingContext(child, orders)
    peft("quiet").settle_environment(ctx)
    _gpu(child, orders)
    methods = peft("methods").METHODS
    kind = ctx.request["method"]["kind"]
    methods[kind] = dataclasses.replace(methods[kind], trainer=partial(OlivePass, child, orders))
    peft("adapters").attach = _left_alone  # the pass brings its own
    return {"status": "succeeded", **peft("job").run(ctx)}


def _gpu(child: Any, orders: dict[str, Any]) -> None:
    import torch  # noqa: PLC0415 - after its environment variables are set

    if orders["pass"]["type"] in _GPU_ONLY and not torch.cuda.is_available():
        raise child.Failed(
            f"Olive's pass {orders['pass']['type']} trains over a 4-bit base model, which needs a GPU, and torch sees "
            "none. Use LoRA (adapter.quantize: none), or run the job where there is one."
        )


def _left_alone(_ctx: Any, model: Any, **_more: Any) -> Any:
    return model.requires_grad_(requires_grad=False)


class OlivePass:
    """A trainer as the peft worker's job knows it, which lets Olive train; afterwards it is Olive's trainer."""

    def __init__(self, child: Any, orders: dict[str, Any], job: Any, model: Any, arguments: dict[str, Any]) -> None:
        self._child, self._orders, self._job = child, orders, job
        self._base = model
        self._arguments = arguments
        self._callbacks: list[Any] = []
        self._real: Any = None
        self.ctx: Any = None
        self.keep_checkpoints = 2

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or self._real is None:
            raise AttributeError(name)
        return getattr(self._real, name)

    @property
    def tokens_seen(self) -> int:
        """Of this run."""
        return 0 if self._real is None else self._real.tokens_seen

    def add_callback(self, callback: Any) -> None:
        """For the trainer that Olive will make."""
        self._callbacks.append(callback)

    def train(self, *, resume_from_checkpoint: str | None) -> Any:
        """Run the pass; fails when it left no adapter."""
        settings = self._settings(resume_from_checkpoint)
        self._base.to("meta")  # Olive loads its own
        self._watch()
        passes = {"train": settings}
        config = olive_runs.configuration(self._orders, self._job.source, passes, {})
        olive_runs.run(self._child, config, Path(self._orders["scratch"]))
        if self._real is None or self._real.outcome is None:
            raise self._child.Failed("Olive ended without having trained; see worker.log")
        if not common.peft_worker(self._orders["worker"], "adapters").finite(self._real.model):
            raise self._child.Failed("the trained weights are not finite; lower hyperparameters.learning_rate")
        return self._real.outcome

    def _settings(self, checkpoint: str | None) -> dict[str, Any]:
        """The pass, completed: what the job description says of adapter and training, then what the pass says."""
        adapter, given = self._job.request["adapter"], dict(self._orders["pass"])
        kind = given["type"]
        made: dict[str, Any] = {
            "r": adapter.get("r", 16),
            "alpha": adapter.get("alpha", 32.0),
            "target_modules": self._targets(adapter.get("target_modules", "all-linear")),
            "torch_dtype": _TYPES[self._job.choices.precision],
        }
        made |= {} if kind in ("LoHa", "LoKr") else {"lora_dropout": adapter.get("dropout", 0.0)}
        arguments = {
            **{name: value for name, value in self._arguments.items() if value is not None and name != "fp16"},
            "gradient_checkpointing": self._job.gradient_checkpointing,
            **given.pop("training_args", {}),
            "output_dir": self._arguments["output_dir"],
            **({} if checkpoint is None else {"resume_from_checkpoint": checkpoint}),
        }
        rows = {"train_data_config": olive_runs.register("finetune_train", self._rows(self._job.train))}
        if self._job.validation is not None:
            rows["eval_data_config"] = olive_runs.register("finetune_validation", self._rows(self._job.validation))
        return {**made, **given, **rows, "training_args": arguments}

    def _targets(self, wanted: Any) -> list[str]:
        """Olive takes names only; "all-linear" is every linear layer but the head."""
        if not isinstance(wanted, str):
            return list(wanted)
        import torch  # noqa: PLC0415 - loaded by now

        head = self._base.get_output_embeddings()
        linear = [
            name for name, one in self._base.named_modules() if isinstance(one, torch.nn.Linear) and one is not head
        ]
        return sorted({name.rpartition(".")[2] for name in linear})

    def _rows(self, samples: Any) -> Any:
        return [self._row(samples[number]) for number in range(len(samples))]

    def _row(self, sample: Any) -> dict[str, list[int]]:
        weights = sample["weights"].tolist()
        if not {*weights} <= {0.0, 1.0}:
            raise self._child.Failed("Olive learns a token or not: message weights are 0 or 1 with engine: olive")
        ids = sample["ids"].tolist()
        labels = [token if weight else -100 for token, weight in zip(ids, weights, strict=True)]
        return {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": labels}

    def _watch(self) -> None:
        """Let the trainer that the pass makes save whole checkpoints, tell its steps, and obey."""
        import transformers  # noqa: PLC0415 - loaded by now

        outer, worker = self, self._orders["worker"]
        careful = common.peft_worker(worker, "trainer").Careful
        loss = _own_loss(self._child, self._orders)

        class Watched(careful, transformers.Trainer):  # type: ignore[misc, valid-type]
            """Olive's trainer."""

            def __init__(self, *args: Any, **given: Any) -> None:
                if isinstance(collate := given.get("data_collator"), partial):
                    given["data_collator"] = partial(collate.func, tokenizer=outer._job.tokenizer)  # it has a pad token
                super().__init__(*args, **given)
                self.ctx, self.keep_checkpoints = outer.ctx, outer.keep_checkpoints
                self.tokens_seen = 0
                self.outcome: Any = None
                for callback in outer._callbacks:
                    self.add_callback(callback)
                outer._real = self

            def compute_loss(self, model: Any, inputs: Any, *args: Any, **given: Any) -> Any:
                """The model's, or the user's while it trains."""
                if model.training:
                    self.tokens_seen += int(inputs["attention_mask"].sum()) if "attention_mask" in inputs else 0
                    if loss is not None:
                        return loss(model, inputs)
                return super().compute_loss(model, inputs, *args, **given)

            def train(self, *args: Any, **given: Any) -> Any:
                """Remembers how it ended."""
                self.outcome = super().train(*args, **given)
                return self.outcome

        transformers.Trainer = Watched


def _own_loss(child: Any, orders: dict[str, Any]) -> Any:
    """The user's `loss(logits, labels)` as a mean over the tokens that are learned; None without one."""
    chosen = None if orders["custom"] is None else getattr(common.user_module(child, orders["custom"]), "loss", None)
    if chosen is None:
        return None
    child.event(f"training with the loss in {orders['custom']}; validation losses stay the cross entropy")

    def loss(model: Any, inputs: Any) -> Any:
        logits = model(**{name: value for name, value in inputs.items() if name != "labels"}).logits[:, :-1]
        labels = inputs["labels"][:, 1:]
        learned = labels != -100
        found = chosen(logits[learned].float(), labels[learned])
        if tuple(found.shape) != tuple(labels[learned].shape):
            shapes = f"{tuple(labels[learned].shape)}, not {tuple(found.shape)}"
            raise child.Failed(f"{orders['custom']}: loss(logits, labels) must answer one loss per label: {shapes}")
        return found.mean()

    return loss
