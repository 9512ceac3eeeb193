"""Which interpreter an engine runs in when nothing is built for it."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest

from finetune_sdk.deploy.engines import EngineKind, engine_for
from finetune_sdk.errors import EnvError

_PRESENT = EngineKind(name="lent", serves=("model",), script=Path("start.py"), requirements=("no-such-library>=1",))


def test_vllm_is_taken_only_when_it_is_asked_for() -> None:
    assert (engine_for("model").name, engine_for("adapter", "vllm").name) == ("transformers", "vllm")


def test_this_interpreter_is_used_where_it_has_the_library(tmp_path: Path) -> None:
    engine = dataclasses.replace(_PRESENT, requirements=("pytest>=1",))

    assert engine.python(tmp_path) == Path(sys.executable)


def test_one_name_of_the_library_suffices(tmp_path: Path) -> None:
    engine = dataclasses.replace(_PRESENT, also=("pytest>=1",))

    assert engine.python(tmp_path) == Path(sys.executable)


def test_the_interpreter_beside_the_librarys_command_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "env" / "bin"
    folder.mkdir(parents=True)
    (folder / "python").symlink_to(sys.executable)
    (folder / "lent").write_text("#!/bin/sh\n")
    (folder / "lent").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))

    assert dataclasses.replace(_PRESENT, program="lent")._beside_program() == [folder / "python"]  # pyright: ignore[reportPrivateUsage]


def test_a_library_that_is_nowhere_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(EnvError, match=r"no-such-library>=1.*'lent'.*`lent` on PATH"):
        dataclasses.replace(_PRESENT, program="lent").python(tmp_path)
