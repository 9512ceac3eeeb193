# pyright: basic, reportMissingImports=false
"""A run configuration, judged by Olive's own classes before anything is trained or built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import olive_runs


def run(child: Any, orders: dict[str, Any]) -> dict[str, Any]:
    """Fails with what Olive has against it."""
    from olive.package_config import OlivePackageConfig  # noqa: PLC0415 - seconds
    from olive.workflows.run.config import RunConfig  # noqa: PLC0415

    known = OlivePackageConfig.load_default_config()
    for passes in [*orders["chains"], *([{"train": orders["train"]}] if orders["train"] else [])]:
        config = olive_runs.configuration(orders, orders["model"], passes, orders["run"])
        for name, one in passes.items():
            _importable(child, known, name, one["type"])
        try:
            RunConfig.parse_file_or_obj({**config, "cache_dir": str(Path("cache")), "output_dir": str(Path("out"))})
        except (ValueError, TypeError, KeyError, AttributeError) as exc:
            reason = " ".join(str(exc).split())[:500]
            raise child.Failed(f"options.onnx.olive: Olive refuses the run configuration: {reason}") from exc
    return {}


def _importable(child: Any, known: Any, name: str, kind: str) -> None:
    try:
        known.import_pass_module(kind)
    except (ImportError, AttributeError, OSError) as exc:
        raise child.Failed(
            f"options.onnx.olive.passes.{name}: Olive's pass {kind} needs what is not installed here: {exc}. Give an "
            "interpreter that has it as compute.environment."
        ) from exc
