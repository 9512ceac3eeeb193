"""The order of things: check, train, merge, reference, then build and measure each candidate, package the best."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Any

from . import adapters, children, ladder, olive, packaging, preflight, room, surroundings
from .context import Context, Stopped
from .stages import Done, Stages, digest

_STATUS = {"pause": "paused", "cancel": "cancelled"}


def run(ctx: Context) -> dict[str, Any]:
    """The whole job; the result without `status` when it succeeded."""
    flow = Flow(ctx)
    try:
        return flow.run()
    except Stopped as stop:
        ctx.event(f"stopped ({stop.wish}); finished stages are kept")
        return {"status": _STATUS[stop.wish], "error": None}
    except OSError as exc:
        if exc.errno != errno.ENOSPC:
            raise
        raise ctx.Failed(
            f"the disk of {ctx.dir} is full; finished stages are kept. Free some space, then resume the job."
        ) from exc
    finally:
        surroundings.clean(ctx)


class Flow:
    """One job's way from data or a source to a package."""

    def __init__(self, ctx: Context) -> None:
        self.ctx = ctx
        self.request = ctx.request
        self.export: dict[str, Any] = ctx.request["export"]
        self.stages = Stages(ctx)
        self.apart: dict[str, str] = {}
        """Folders of the adapters that are kept apart, by name."""
        self.apart_references: dict[str, Done] = {}
        self.threads = surroundings.threads(ctx.request)

    def run(self) -> dict[str, Any]:
        """Every stage in turn."""
        preflight.check(self)
        trained = self._train()
        source = self._source(trained)
        self._room(source)
        model = self._merge(source)
        reference = self.reference(model)
        if not self.export["merge"]:
            self.apart = adapters.named(self, source)
            self.apart_references = adapters.references(self, model["path"], self.apart)
        verdict = ladder.climb(self, model, reference)
        return packaging.finish(self, trained=trained, source=source, reference=reference, verdict=verdict)

    # --- stages ------------------------------------------------------------------------------------------------------

    def _train(self) -> dict[str, Any] | None:
        """The peft worker's result; None when there is nothing to train."""
        request = self.request["train"]
        if request is None:
            return None
        done = self._trained_once(request)
        if digest(self.ctx.dir / done.result["path"]) != done.result["sha256"]:
            self.ctx.event("what was trained has changed on disk: training again", level="warning")
            self.stages.drop("train")
            done = self._trained_once(request)
        result: dict[str, Any] = done.result["result"]
        return result

    def _trained_once(self, request: dict[str, Any]) -> Done:
        def work(_folder: Path) -> dict[str, Any]:
            orders = {
                "worker": self.request["peft_worker"],
                "request": request,
                "job_id": self.ctx.job_id,
                "attempt": self.ctx.attempt,
                "custom": self.export["custom"],
            }
            orders |= olive.training(self)
            task = "train" if self.export["olive"] is None else "olive_train"
            result = children.run(self.ctx, task, orders, graceful=True, heavy=True)
            if result["status"] != "succeeded":
                raise Stopped("cancel" if result["status"] == "cancelled" else "pause")
            path = next(a["path"] for kind in _PREFERRED for a in result["artifacts"] if a["kind"] == kind)
            return {"result": result, "path": path, "sha256": digest(self.ctx.dir / path)}

        inputs = {"request": request, "custom": self._custom(), **olive.training(self, key=True)}
        return self.stages.run("train", inputs, work, what="fine-tuning")

    def _source(self, trained: dict[str, Any] | None) -> dict[str, Any]:
        """Where the model to export lies: `kind` (adapter or model), `path`, `base`."""
        if trained is None:
            given: dict[str, Any] = self.export["source"]
            return given
        kinds = {artifact["kind"]: artifact for artifact in trained["artifacts"]}
        order = ("merged", "model") if self.export["kind"] == "classifier" else _PREFERRED
        found = next(kinds[kind] for kind in order if kind in kinds)
        kind = "adapter" if found["kind"] == "adapter" else "model"
        return {"kind": kind, "path": str(self.ctx.dir / found["path"]), "base": found["base_model"]}

    def _room(self, source: dict[str, Any]) -> None:
        """A hub model that is not here yet cannot be reckoned; its download fails by itself when the disk is full."""
        folder = Path(source["base"] if source["kind"] == "adapter" else source["path"])
        fp32 = room.model_bytes_fp32(folder) if folder.is_dir() else None
        if fp32 is not None:
            precisions = [one["precision"] for one in self.export["candidates"]]
            room.check(self.ctx, room.needed(fp32, precisions, merges=source["kind"] == "adapter"))

    def _merge(self, source: dict[str, Any]) -> dict[str, Any]:
        """The folder with the model that is exported, and the hash of what it was made from."""
        if source["kind"] == "model" or not self.export["merge"]:
            path = source["path"] if source["kind"] == "model" else source["base"]
            return {"path": path, "key": _identity(path)}
        return self.merged(source)

    def merged(self, source: dict[str, Any], *, name: str = "merge") -> dict[str, Any]:
        """An adapter merged into its base."""
        inputs = {**source, "adapter": digest(Path(source["path"])), "base_is": _identity(source["base"])}

        def work(folder: Path) -> dict[str, Any]:
            orders = {**self.orders(), "adapter": source["path"], "base": source["base"], "out": str(folder)}
            return children.run(self.ctx, "merge", orders, heavy=True)

        done = self.stages.run(name, inputs, work, what="merging the adapter into its base model")
        self.ctx.event("merged exactly", logits_moved=done.result["moved"])
        return {"path": str(done.folder), "key": done.key}

    def reference(self, model: dict[str, Any], *, name: str = "reference") -> Done:
        """What PyTorch answers, on the rows held out."""
        orders = {**self.orders(), "model": model["path"], "rows_dir": str(self._rows())}
        inputs = {"model": model["key"], "rows": digest(self._rows()), **_steady(orders)}

        def work(folder: Path) -> dict[str, Any]:
            return children.run(self.ctx, self.task("reference"), {**orders, "out": str(folder)}, heavy=True)

        return self.stages.run(name, inputs, work, what="asking the unquantised model in PyTorch")

    # --- what the stages share ---------------------------------------------------------------------------------------

    def task(self, name: str) -> str:
        """The task for this kind of model: `measure` or `measure_classifier`."""
        return f"{name}_classifier" if self.export["kind"] == "classifier" else name

    def orders(self) -> dict[str, Any]:
        """What every task is told."""
        names = ("kind", "device", "trust_remote_code", "revision", "local_files_only", "chat_template", "custom")
        sizes = ("rows", "prompts", "new_tokens", "max_length", "bench_prompt", "bench_new")
        return {
            **{name: self.export[name] for name in (*names, *sizes)},
            "threads": self.threads,
            "peft_worker": self.request["peft_worker"],
            "custom_sha256": self._custom(),
            "seed": self.request["seed"],
        }

    def _custom(self) -> str | None:
        file = self.export["custom"]
        return None if file is None else digest(Path(file))

    def _rows(self) -> Path:
        """A folder with the rows that are asked: test, else validation, else (nothing is trained) the given rows."""
        folder = self.ctx.dir / "cache" / "asked"
        roles = ("test", "validation", "train")
        found = next(path for role in roles if (path := self.ctx.dir / "data" / f"{role}.jsonl").exists())
        target = folder / "data" / "test.jsonl"
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_suffix(".part")
            with found.open(encoding="utf-8") as lines:
                part.write_text(
                    "".join(line for line, _ in zip(lines, range(self.export["rows"]), strict=False)), "utf-8"
                )
            part.replace(target)
        return folder

    def clean(self) -> None:
        """Give intermediate models their room back."""
        shutil.rmtree(self.ctx.dir / "cache" / "asked", ignore_errors=True)
        for name in [path.name for path in self.stages.root.iterdir() if path.is_dir() and path.name != "train"]:
            self.stages.drop(name)


_PREFERRED = ("adapter", "model", "merged")


def _identity(path: str) -> str:
    """A folder's hash; a hub model is named by its id and revision."""
    return digest(Path(path)) if Path(path).is_dir() else path


def _steady(orders: dict[str, Any]) -> dict[str, Any]:
    """The orders without what differs between two attempts of one job."""
    return {
        name: value for name, value in orders.items() if name not in ("threads", "rows_dir", "model", "peft_worker")
    }
