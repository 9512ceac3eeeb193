# pyright: basic, reportMissingImports=false
"""One run of Olive: its configuration completed, its cache new, its log listened to, its success looked for on disk."""

from __future__ import annotations

import logging
import os
import re
import shutil
from pathlib import Path
from typing import Any

from . import common

EPS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "dml": "DmlExecutionProvider",
    "webgpu": "WebGpuExecutionProvider",
    "trt-rtx": "NvTensorRTRTXExecutionProvider",
}
_TASKS = {"causal": "text-generation-with-past", "classifier": "text-classification"}
_PASS = re.compile(r"(Running pass|Pass) (\S+?):\S+(?: finished in ([\d.]+) seconds)?$")


def configuration(orders: dict[str, Any], model: str, passes: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """The run configuration for these passes over this model."""
    remote = {"trust_remote_code": True} if orders["trust_remote_code"] else {}
    accelerator = {
        "device": "cpu" if orders["device"] == "cpu" else "gpu",
        "execution_providers": [EPS[orders["device"]]],
    }
    here = {"type": "LocalSystem", "accelerators": [accelerator]}
    systems = {} if "systems" in more else {"systems": {"here": here}, "host": "here", "target": "here"}
    return {
        "input_model": {
            "type": "HfModel",
            "model_path": model,
            "task": _TASKS[orders["kind"]],
            **({"load_kwargs": remote} if remote else {}),
        },
        "passes": passes,
        "evaluate_input_model": False,
        "log_severity_level": 1,
        **systems,
        **more,
    }


def run(child: Any, config: dict[str, Any], folder: Path) -> Any:
    """Olive's output model. Its exit code says nothing, and exceptions in a pass are only logged: both are looked for.

    `folder` is emptied and holds cache and output; Olive recognises files by name and not by content, so a cache that
    saw another run would answer with that one's model.
    """
    with child.loading():
        from olive.workflows import run as workflow  # noqa: PLC0415 - seconds

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.chdir(folder)
    listener = Listener(child)
    logger = logging.getLogger("olive")
    logger.addHandler(listener)
    try:
        output = workflow({**config, "cache_dir": str(folder / "cache"), "output_dir": str(folder / "out")})
    except (Exception, SystemExit) as exc:
        raise listener.failure(child, exc) from exc
    finally:
        logger.removeHandler(listener)
    if output is None or not output.has_output_model():
        raise listener.failure(child, None)
    return output


class Listener(logging.Handler):
    """Passes as events, and the last exception that was logged instead of raised."""

    def __init__(self, child: Any) -> None:
        super().__init__(logging.INFO)
        self._child = child
        self._error: Exception | None = None
        self._text = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Called by Olive's logger."""
        text = record.getMessage()
        if record.exc_info and isinstance(record.exc_info[1], Exception):
            self._error = record.exc_info[1]
        if record.levelno >= logging.ERROR:
            self._text = text
        if (found := _PASS.match(text)) is not None:
            _, name, seconds = found.groups()
            done = {} if seconds is None else {"seconds": float(seconds)}
            self._child.event(f"Olive: pass {name}{' finished' if done else ''}", **done)

    def failure(self, child: Any, raised: BaseException | None) -> Exception:
        """What went wrong, as a failure of the job."""
        if self._error is not None and isinstance(self._error, child.Failed):
            return self._error
        error = raised if self._error is None else self._error
        what = f"{type(error).__name__}: {error}" if error is not None else self._text or "it says nothing more"
        text: Exception = child.Failed(f"Olive ended without a model: {' '.join(what.split())[:500]}. See worker.log.")
        return text


def rows(orders: dict[str, Any], tokenizer: Any, wanted: int) -> list[dict[str, Any]]:
    """Training rows as token ids, for quantisers that look at data; whole conversations by the chat template."""
    module = common.peft_worker(orders["peft_worker"], "rows")
    findings = common.peft_worker(orders["peft_worker"], "findings").Findings()
    encoder = module.Encoder(tokenizer, train_on="all", max_length=orders["max_length"], findings=findings)
    found: list[dict[str, Any]] = []
    for row in module.read(Path(orders["train_rows"])):
        found += [{"input_ids": list(sample.ids), "labels": list(sample.ids)} for sample in encoder.encode(row)]
        if len(found) >= wanted:
            return found[:wanted]
    return found


def register(name: str, samples: Any) -> dict[str, Any]:
    """A data configuration of Olive's over samples that lie here: none is cut off, none is cached by file name."""
    from olive.data.registry import Registry  # noqa: PLC0415 - seconds

    Registry.register_dataset(name)(lambda **_given: samples)
    return {
        "name": name,
        "type": "DataContainer",
        "load_dataset_config": {"type": name},
        "pre_process_data_config": {"type": "skip_pre_process"},
        "post_process_data_config": {"type": "skip_post_process"},
        "dataloader_config": {"type": "default_dataloader", "params": {"batch_size": 1}},
    }
