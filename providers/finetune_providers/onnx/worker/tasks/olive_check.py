# pyright: basic, reportMissingImports=false
"""A run configuration, judged by Olive's own classes before anything is trained or built."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from . import olive_runs

_ROWS = {"name": "rows"}


def run(child: Any, orders: dict[str, Any]) -> dict[str, Any]:
    """Fails with what Olive has against it."""
    with child.loading():
        from olive.hardware import AcceleratorSpec, Device  # noqa: PLC0415 - seconds
        from olive.package_config import OlivePackageConfig  # noqa: PLC0415
        from olive.workflows.run.config import RunConfig  # noqa: PLC0415

    known = OlivePackageConfig.load_default_config()
    device = Device.CPU if orders["device"] == "cpu" else Device.GPU
    where = AcceleratorSpec(accelerator_type=device, execution_provider=olive_runs.EPS[orders["device"]])
    for passes in [*orders["chains"], *([{"train": orders["train"]}] if orders["train"] else [])]:
        for name, one in passes.items():
            _settings(child, _class(child, known, name, one["type"]), where, name, one)
        try:
            RunConfig.model_validate(olive_runs.configuration(orders, orders["model"], deepcopy(passes), orders["run"]))
        except _WRONG as exc:
            raise child.Failed(f"options.onnx.olive: Olive refuses the run configuration: {_line(exc)}") from exc
    return {}


_WRONG = (ValueError, TypeError, KeyError, AttributeError, AssertionError)
"""What Olive's classes raise; pydantic's errors are ValueErrors."""


def _class(child: Any, known: Any, name: str, kind: str) -> Any:
    try:
        return known.import_pass_module(kind)
    except (ImportError, AttributeError, OSError) as exc:
        raise child.Failed(
            f"options.onnx.olive.passes.{name}: Olive's pass {kind} needs what is not installed here: {exc}. Give an "
            "interpreter that has it as compute.environment."
        ) from exc


def _settings(child: Any, found: Any, where: Any, name: str, one: dict[str, Any]) -> None:
    """The rows come later, so their place is taken."""
    known = found.default_config(where)
    rows = {key: _ROWS for key in ("train_data_config", "data_config") if key in known}
    given = {key: value for key, value in one.items() if key in known}
    try:
        found.generate_config(where, deepcopy({**rows, **given}))
    except _WRONG as exc:
        raise child.Failed(
            f"options.onnx.olive.passes.{name}: Olive's pass {one['type']} refuses its parameters: {_line(exc)}"
        ) from exc


def _line(exc: BaseException) -> str:
    return " ".join(str(exc).split())[:500]
