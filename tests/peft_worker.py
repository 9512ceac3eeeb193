"""The peft worker's modules, loaded as the runner loads them: as a package under a private name."""

from __future__ import annotations

import importlib
import sys
import warnings
from types import ModuleType
from typing import Any

from finetune_providers.peft.provider import WORKER

from finetune_sdk.worker import runner


def module(name: str) -> Any:
    """`worker/<name>.py`. Its libraries warn about themselves while they are imported; that is not our concern."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if "finetune_worker" not in sys.modules:
            runner.load(WORKER, "finetune_worker")
        loaded: ModuleType = importlib.import_module(f"finetune_worker.{name}")
    return loaded
