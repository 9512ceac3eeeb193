"""`--to onnx` is a job of its own: from the command line and from Python, with precision and device."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from finetune_sdk import AsyncFineTuneJob, FineTuneJob, _results
from finetune_sdk._steps import Steps
from finetune_sdk.cli.export import command as export_command
from finetune_sdk.errors import SpecError
from finetune_sdk.spec import JobSpec


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "owner/base"}))
    return folder


@pytest.fixture
def submitted(adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[JobSpec]:
    """Every description that is submitted; what a job leaves is the adapter."""
    found: list[JobSpec] = []

    def submit(spec: JobSpec, **_rest: Any) -> FineTuneJob:
        found.append(spec)
        return FineTuneJob("ft-new", home=tmp_path)

    async def submit_async(spec: JobSpec, **_rest: Any) -> AsyncFineTuneJob:
        found.append(spec)
        return AsyncFineTuneJob("ft-new", home=tmp_path)

    def exportable(_home: Path, _job_id: str) -> Steps[Path]:
        yield from ()
        return adapter

    monkeypatch.setattr(FineTuneJob, "submit", submit)
    monkeypatch.setattr(AsyncFineTuneJob, "submit", submit_async)
    monkeypatch.setattr(_results, "exportable", exportable)
    return found


def by_command(adapter: Path, home: Path) -> None:
    asked = [str(adapter), "--to", "onnx", "--precision", "fp16,int4", "--device", "cuda"]
    done = CliRunner().invoke(export_command, [*asked, "--home", str(home)])
    assert done.exit_code == 0, done.output


def by_job(_adapter: Path, home: Path) -> None:
    FineTuneJob("ft-old", home=home).export(to="onnx", precision=["fp16", "int4"], device="cuda")


def by_awaited_job(_adapter: Path, home: Path) -> None:
    asyncio.run(AsyncFineTuneJob("ft-old", home=home).export(to="onnx", precision=["fp16", "int4"], device="cuda"))


@pytest.mark.parametrize("export", [by_command, by_job, by_awaited_job])
def test_precision_and_device_reach_the_job_that_exports(
    export: Callable[[Path, Path], None], adapter: Path, submitted: list[JobSpec], tmp_path: Path
) -> None:
    export(adapter, tmp_path)
    assert [spec.provider for spec in submitted] == ["onnx"]
    asked = submitted[0].options["onnx"]
    assert (asked["source"], asked["precision"], asked["device"]) == (str(adapter), ["fp16", "int4"], "cuda")


@pytest.mark.usefixtures("submitted")
def test_an_onnx_package_has_no_folder_of_ones_choice(tmp_path: Path) -> None:
    job: Any = FineTuneJob("ft-old", home=tmp_path)
    with pytest.raises(SpecError, match="artefact of the job"):
        job.export(to="onnx", out="there")
