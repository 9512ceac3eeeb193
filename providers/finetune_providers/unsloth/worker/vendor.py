# pyright: basic
"""Unsloth itself: imported once, first, with everything it prints kept in worker.log."""

from __future__ import annotations

import contextlib
import importlib
import os
import time
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

CLASSES = {
    "language": "FastLanguageModel",
    "general": "FastModel",
    "vision": "FastVisionModel",
    "sentence": "FastSentenceTransformer",
    "whisper": "FastModel",
    "csm": "FastModel",
}


def load(ctx: Any) -> None:
    """Import Unsloth, before anything it patches. Fails the job with the reason when it refuses this machine."""
    began = time.monotonic()
    try:
        module = importlib.import_module("unsloth")
    except NotImplementedError as exc:
        raise ctx.Failed(f"Unsloth refuses this machine: {' '.join(str(exc).split())}") from exc
    seconds = time.monotonic() - began
    device = "cpu" if os.environ.get("UNSLOTH_ALLOW_CPU") == "1" else module.DEVICE_TYPE
    ctx.event(
        f"unsloth {version('unsloth')} on {device}, imported in {seconds:.0f} s",
        imports_s=seconds,
    )


def unsloth() -> Any:
    """The imported package."""
    return importlib.import_module("unsloth")


def on_gpu() -> bool:
    """Whether Unsloth works on an accelerator; its CPU backend has fewer features."""
    return bool(unsloth().DEVICE_TYPE != "cpu")


def fast(request: dict[str, Any]) -> Any:
    """The class that loads the model."""
    return getattr(unsloth(), CLASSES[request["options"]["model_class"]])


@contextlib.contextmanager
def answering(job: Any, model: Any) -> Iterator[None]:
    """While open the model generates: Unsloth switches caches, kernels and the tokenizer's padding side for it."""
    fast = type_of(job)
    fast.for_inference(model)
    try:
        yield
    finally:
        fast.for_training(model)


def type_of(job: Any) -> Any:
    """The class a job's model was loaded with."""
    return fast(job.request)


@contextlib.contextmanager
def tolerated() -> Iterator[None]:
    """Unsloth's own warnings are for its notebooks; what matters is compared and reported by `effective`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
