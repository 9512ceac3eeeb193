# pyright: basic
"""The order of things: parameters, data, AutoTrain's trainer with our hands on it, and what it left."""

from __future__ import annotations

import importlib
import os
import resource
import shutil
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from transformers import AutoTokenizer, set_seed

from . import artifacts, asking, blocks, newer, rows, tasks, validation
from .context import Context
from .hooks import Hooks

_CLM_UTILS = "autotrain.trainers.clm.utils"
PROJECT = "model"  # AutoTrain's folder and name: letters, digits and hyphens, no path


def run(ctx: Context) -> dict[str, Any]:
    """The whole job; the result without `status` when it succeeded."""
    if ctx.stop:  # the imports took their time
        return {"status": "cancelled"}
    work = ctx.dir / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    os.chdir(work)  # AutoTrain knows its folder by a name only
    _check_device(ctx)
    newer.understand()
    set_seed(ctx.request["seed"])
    job = _Job(ctx)
    job.prepare(work / PROJECT)
    if ctx.stop:
        return {"status": "cancelled"}
    job.train()
    return job.finish(work / PROJECT)


def _check_device(ctx: Context) -> None:
    gpu = torch.cuda.is_available()
    if not gpu:
        os.environ["ACCELERATE_USE_CPU"] = "true"
    if ctx.request["compute"]["device"] == "cuda" and not gpu:
        raise ctx.Failed("compute.device is cuda, but torch sees no GPU")
    if ctx.request["parameters"].get("quantization") and not gpu:
        raise ctx.Failed("adapter.quantize needs a GPU: AutoTrain's bitsandbytes 0.45.0 has no CPU build")
    if ctx.request["compute"]["threads"] != "auto":
        torch.set_num_threads(ctx.request["compute"]["threads"])
    ctx.event(f"device: {'cuda' if gpu else 'cpu'}, {torch.get_num_threads()} threads, torch {torch.__version__}")


class _Job:
    def __init__(self, ctx: Context) -> None:
        self.ctx = ctx
        self.name: str = ctx.request["task"]
        self.task = tasks.TASKS[self.name]
        self.params = _parameters(ctx, self.task)
        self.hooks = Hooks(ctx)
        self.tokenizer: Any = None
        self.renderer: Any = None
        """The tokenizer, None where texts are taken as they are."""
        self.held_out: list[dict[str, Any]] = []
        self.asked: list[asking.Question] = []

    def prepare(self, project: Path) -> None:
        """Rows to columns, on disk where AutoTrain looks for them."""
        ctx, llm = self.ctx, self.name.startswith("llm-")
        self.tokenizer = self._tokenizer(llm)
        self.renderer = None if ctx.request["options"]["as_they_are"] else self.tokenizer
        splits = {"train": list(self._columns("train"))}
        self.held_out = list(self._columns("validation"))
        if llm:
            blocks.fit(ctx, self.params, self.tokenizer, [row.get("text") or row["chosen"] for row in splits["train"]])
        elif self.held_out:
            splits["validation"] = self.held_out
        names = rows.save(self.name, splits, project / "autotrain-data", ctx.request["labels"])
        if "validation" in splits:
            self._let_it_validate(splits, names)
        self.params.data_path = f"{PROJECT}/autotrain-data"
        self.params.save(PROJECT)

    def _columns(self, role: str) -> Any:
        found = rows.read(self.ctx.dir / "data" / f"{role}.jsonl")
        try:
            yield from rows.columns(self.name, found, self.renderer)
        except ValueError as exc:
            raise self.ctx.Failed(str(exc)) from exc

    def _let_it_validate(self, splits: Any, names: list[str]) -> None:
        """AutoTrain stops when a class is missing among the validation rows; then they are left to us."""
        column = {"text-classification": "target", "st:pair_class": "label"}.get(self.name)
        missing = set(names) - {row[column] for row in splits["validation"]} if column else set()
        if missing:
            self.ctx.event(
                f"the validation rows have no {', '.join(sorted(missing))}, so AutoTrain validates nothing",
                level="warning",
            )
            return
        self.params.valid_split = "validation"

    def _tokenizer(self, llm: bool) -> Any:
        if self.name.startswith("st:"):
            return None
        if not llm:
            return _loaded(self.ctx, lambda: AutoTokenizer.from_pretrained(self.params.model))
        with self.ctx.leaving_when_told():
            utils: Any = importlib.import_module(_CLM_UTILS)
        return _loaded(self.ctx, lambda: utils.get_tokenizer(self.params))

    def train(self) -> None:
        """AutoTrain's own trainer."""
        self.hooks.before, self.hooks.after = self._before, self._after
        _prepare_alone()
        with self.ctx.leaving_when_told():
            if self.name.startswith("llm-"):
                _keep_texts()
            self.hooks.install()
            train = tasks.trainer(self.task)
        self.ctx.event(f"AutoTrain takes over: {self.task.trainer}")
        _loaded(self.ctx, lambda: train(self.params))

    def _before(self, trainer: Any) -> None:
        ctx, wanted = self.ctx, self.ctx.request["evaluation"]
        self._told_of_losses(trainer)
        if wanted is None or self.name not in (*asking.CHATS, *asking.HEADS):
            return
        self.asked = asking.questions(ctx, self.renderer)
        if wanted["baseline"]:
            ctx.event(f"evaluating the base model on {len(self.asked)} held-out rows and prompts")
            asking.ask(ctx, trainer.model, self.tokenizer, self.asked, "base")

    def _told_of_losses(self, trainer: Any) -> None:
        if self.name != "llm-reward":
            return
        given = len(rows.read(self.ctx.dir / "data" / "train.jsonl"))
        lost = given - len(trainer.train_dataset)
        if lost:
            text = (
                f"{lost} of {given} pairs are longer than max_seq_length {self.params.block_size}; AutoTrain drops them"
            )
            self.ctx.event(text, level="warning")

    def _after(self, trainer: Any) -> None:
        if self.hooks.stopped:
            return
        if self.name.startswith("llm-") and self.held_out:
            self.ctx.event(f"evaluating {len(self.held_out)} validation rows, which AutoTrain leaves out")
            found = validation.evaluate(
                self.name, trainer.model, self.tokenizer, self.held_out, int(self.params.block_size)
            )
            self.hooks.metrics |= found
            numbers: dict[str, Any] = dict(found)
            self.ctx.event("validation", step=trainer.state.global_step, **numbers)
        if self.asked:
            self.ctx.event(f"evaluating the tuned model on {len(self.asked)} held-out rows and prompts")
            asking.ask(self.ctx, trainer.model, self.tokenizer, self.asked, "tuned")

    def finish(self, project: Path) -> dict[str, Any]:
        """Artifacts, receipt, and how it ended."""
        ctx, request = self.ctx, self.ctx.request
        parameters = self.params.model_dump(mode="json", exclude={"token"})
        template = getattr(self.tokenizer, "chat_template", None) if self.name.startswith("llm-") else None
        listed = artifacts.collect(ctx, project, base=request["model"], template=template)
        usage = {"train_s": self.hooks.train_s, "peak_memory_bytes": _peak_memory()}
        if self.asked and not self.hooks.stopped:
            asking.save(ctx.dir / "artifacts", self.asked)
            listed.append(artifacts.describe(ctx, "predictions", base=None, path=f"artifacts/{asking.FILE}"))
        listed.append(artifacts.receipt(ctx, parameters=parameters, metrics=self.hooks.metrics, usage=usage))
        shutil.rmtree(project.parent, ignore_errors=True)
        result = {
            "model": str(ctx.dir / listed[0]["path"]),
            "metrics": self.hooks.metrics,
            "usage": usage,
            "artifacts": listed,
        }
        if self.hooks.stopped == "time":
            error = f"stopped after budget.max_hours = {request['max_hours']}; what was learned until then is saved"
            return {**result, "status": "failed", "error": error}
        return {**result, "status": "cancelled"} if self.hooks.stopped else result


def _parameters(ctx: Context, task: tasks.Task) -> Any:
    """AutoTrain's parameters. It would ignore a name it does not know; here that ends the job."""
    kind = tasks.parameters(task)
    given = {
        **ctx.request["parameters"],
        **task.columns,
        **({"trainer": task.word} if task.word else {}),
        "model": ctx.request["model"],
        "project_name": PROJECT,
        "data_path": f"{PROJECT}/autotrain-data",
        "train_split": "train",
        "valid_split": None,
        "push_to_hub": False,
        "token": None,  # libraries read HF_TOKEN themselves; here it would be written to a file
    }
    unknown = sorted(given.keys() - kind.model_fields.keys())
    if unknown:
        raise ctx.Failed(f"{kind.__name__} of this AutoTrain has no {', '.join(unknown)}")
    try:
        return kind(**given)
    except ValidationError as exc:
        text = "; ".join(f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in exc.errors())
        raise ctx.Failed(f"AutoTrain refuses the parameters: {text}") from exc


def _keep_texts() -> None:
    """The rows are rendered already; AutoTrain must not put texts through its chat template."""
    utils: Any = importlib.import_module(_CLM_UTILS)
    utils.process_data_with_chat_template = lambda _config, _tokenizer, train, valid: (train, valid)


def _prepare_alone() -> None:
    """AutoTrain asks for four processes whatever the number of rows."""
    kind: Any = importlib.import_module("datasets").Dataset
    by_many = kind.map

    def mapped(data: Any, *args: Any, **kwargs: Any) -> Any:
        if len(data) < blocks.ALONE:
            kwargs["num_proc"] = None
        return by_many(data, *args, **kwargs)

    kind.map = mapped


def _loaded(ctx: Context, make: Any) -> Any:
    """What `make` gives; a model or file that the vendor's loader rejects is one sentence, not a traceback."""
    try:
        return make()
    except OSError as exc:
        if exc.errno is not None:
            raise
        text = str(exc).splitlines()[0]
        raise ctx.Failed(f"the model {ctx.request['model']!r} cannot be loaded: {text}") from exc


def _peak_memory() -> int:
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB
