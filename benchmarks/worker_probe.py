# pyright: basic
"""A worker around a worker: runs the one that `request["probed"]` names, and writes to `probe.json` where time went.

Each moment belongs to one part: "imports" of what is not ours, "model" (files to weights, tokenizer, adapter), "set-up"
of the vendor's trainer, its first "step", and "ours" for all the rest. Standard library only.
"""

from __future__ import annotations

import builtins
import functools
import importlib
import importlib.util
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

OURS = ("finetune_worker", "finetune_local", "_finetune", "finetune_probed")
LOADERS = {
    "transformers.modeling_utils": ("PreTrainedModel.from_pretrained",),
    "transformers.models.auto.auto_factory": ("_BaseAutoModelClass.from_pretrained",),
    "transformers.models.auto.tokenization_auto": ("AutoTokenizer.from_pretrained",),
    "transformers.models.auto.configuration_auto": ("AutoConfig.from_pretrained",),
    "unsloth_zoo.cpu.loader": ("FastCPUModel.from_pretrained", "FastCPUModel.get_peft_model"),
    "peft.peft_model": ("PeftModel.__init__",),
}
SET_UP = {
    "transformers.trainer": ("Trainer.__init__", "Trainer.train"),
    "trl.trainer.sft_trainer": ("SFTTrainer.__init__", "SFTConfig.__post_init__"),
}
FIRST = ("transformers.trainer", "Trainer.training_step")


class Clock:
    """Wall and CPU seconds of this process by part; the innermost open part gets them."""

    def __init__(self) -> None:
        self.spent: dict[str, list[float]] = {}
        self._open = ["ours"]
        self._last = self._now()
        self._thread = threading.get_ident()

    def _now(self) -> tuple[float, float]:
        return time.perf_counter(), time.process_time()

    def turn(self) -> None:
        """Give what passed since the last turn to the innermost open part."""
        now = self._now()
        spent = self.spent.setdefault(self._open[-1], [0.0, 0.0])
        for i in (0, 1):
            spent[i] += now[i] - self._last[i]
        self._last = now

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Everything inside, unless a part inside that takes it."""
        if threading.get_ident() != self._thread:
            yield
            return
        self.turn()
        self._open.append(name)
        try:
            yield
        finally:
            self.turn()
            self._open.pop()


def main(ctx: Any) -> Any:
    """Run the probed worker as the runner would."""
    clock, started = Clock(), {"at": time.time(), "cpu": time.process_time()}

    def done() -> None:
        clock.turn()
        part = ctx.dir / "probe.part"
        part.write_text(json.dumps({**started, "spent": clock.spent}))
        part.rename(ctx.dir / "probe.json")

    _watch_imports(clock, lambda: _wrap(clock, done))
    folder = Path(ctx.request["probed"])
    spec: Any = importlib.util.spec_from_file_location(
        "finetune_probed", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules["finetune_probed"] = module
    spec.loader.exec_module(module)
    return module.main(ctx)


def _watch_imports(clock: Clock, after: Callable[[], None]) -> None:
    plain, by_name = builtins.__import__, importlib.import_module

    def vendors(name: str, package: str) -> bool:
        whole = f"{package}." if name.startswith(".") else name
        return not whole.startswith(OURS)

    def watched(name: str, *args: Any, **kwargs: Any) -> Any:
        given = dict(zip(("globals", "locals", "fromlist", "level"), args, strict=False)) | kwargs
        package, relative = (given.get("globals") or {}).get("__package__") or "", bool(given.get("level"))
        if relative and package.startswith(OURS):
            return plain(name, *args, **kwargs)
        with clock.part("imports"):
            found = plain(name, *args, **kwargs)
        if not relative and "." not in package:
            after()
        return found

    def watched_by_name(name: str, package: str | None = None) -> Any:
        if not vendors(name, package or ""):
            return by_name(name, package)
        with clock.part("imports"):
            return by_name(name, package)

    builtins.__import__ = watched
    importlib.import_module = watched_by_name


def _wrap(clock: Clock, done: Callable[[], None]) -> None:
    for part, table in (("model", LOADERS), ("set-up", SET_UP)):
        for module, names in table.items():
            for name in names:
                _time(clock, part, module, name)
    _time(clock, "step", *FIRST, after=done)


def _time(clock: Clock, part: str, module: str, name: str, *, after: Callable[[], None] | None = None) -> None:
    """Replace a method by one that counts for `part`, once its class is there."""
    owner, _, method = name.partition(".")
    cls = getattr(sys.modules.get(module), owner, None)
    found = None if cls is None else cls.__dict__.get(method)
    if found is None or getattr(found, "probed", False) or getattr(getattr(found, "__func__", None), "probed", False):
        return
    inner: Any = getattr(found, "__func__", found)

    @functools.wraps(inner)
    def timed(*args: Any, **kwargs: Any) -> Any:
        with clock.part(part):
            answer = inner(*args, **kwargs)
        if after is not None:
            after()
        return answer

    timed.probed = True  # type: ignore[attr-defined]
    setattr(cls, method, type(found)(timed) if isinstance(found, classmethod | staticmethod) else timed)
