"""The rows of a plan as files for the vendor: written when they are needed, gone when the job is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from finetune_sdk.data import canonical
from finetune_sdk.data.callids import with_call_ids
from finetune_sdk.data.example import Example
from finetune_sdk.data.prepare import Prepared, prepare
from finetune_sdk.errors import DataError
from finetune_sdk.provider import Plan
from finetune_sdk.spec import DataSpec

from .map import Json
from .planning import encode
from .rows import render

Sender = Callable[[str, Path, str], Json]
"""Brings the rendered file of a role to the vendor under a name; answers the file object."""
BOM = b"\xef\xbb\xbf"


class Uploads:
    """The files of one submission."""

    def __init__(self, plan: Plan, folder: Path, send: Sender, *, bom: bool) -> None:
        self._plan = plan
        self._folder = folder
        self._send = send
        self._bom = bom
        self.roles: list[str] = [file.role for file in plan.data if file.role != "test"]

    def send(self, role: str, name: str) -> Json:
        """Upload the rows of a role."""
        path = self._folder / f"{role}.wire.jsonl"
        if not path.exists():
            self._write(role, path)
        return self._send(role, path, name)

    def _write(self, role: str, path: Path) -> None:
        request = cast("Mapping[str, Any]", self._plan.request)
        prepared = prepare(DataSpec.model_validate(request["data"]), method=request["method"])
        refuse_changed(prepared, self._plan)
        for name, source in prepared.write(self._folder).items():
            if name in self.roles:
                _render_file(source, self._folder / f"{name}.wire.jsonl", request, bom=self._bom)
            source.unlink()
        assert path.exists(), f"the plan has {role} rows"

    def clear(self) -> None:
        for path in self._folder.glob("*"):
            path.unlink()
        if self._folder.exists():
            self._folder.rmdir()


def refuse_changed(prepared: Prepared, plan: Plan) -> None:
    """Raise `DataError` unless the data are those that were planned."""
    if [file.sha256 for file in prepared.files] != [file.sha256 for file in plan.data]:
        raise DataError("the data changed since it was planned; nothing was uploaded. Plan again.")


def _render_file(source: Path, target: Path, request: Mapping[str, Any], *, bom: bool) -> None:
    part = target.with_suffix(".part")
    with source.open("rb") as lines, part.open("wb") as out:
        if bom:
            out.write(BOM)
        for line in lines:
            example: Example = with_call_ids(canonical.parse(line))
            row = render(example, request["method"], last_answer_only=request["last_answer_only"])
            assert row is not None, "the plan refused rows of another kind"
            out.write(encode(row) + b"\n")
    part.replace(target)
