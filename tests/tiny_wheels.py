"""Making wheels on the spot and pointing the installers at them, so that environments are built without a network."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest


def make_wheel(
    folder: Path, name: str, version: str = "1.0", *, code: str = "", requires: str = "", sizes: bool = False
) -> None:
    """A pure wheel with one module of the same name; `sizes`: its RECORD says how long the module is."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    needs = f"Requires-Dist: {requires}\n" if requires else ""
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", code)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(
            f"{info}/RECORD",
            f"{name}.py,,{len(code) if sizes else ''}\n" + "".join(f"{info}/{file},,\n" for file in _INFO),
        )


_INFO = ("METADATA", "WHEEL", "RECORD")


def only_from(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make pip (and through its settings uv) see this folder and nothing else."""
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("UV_NO_CACHE", "1")


def write_lock(folder: Path, *lines: str) -> Path:
    """A `worker.lock` and the `worker.in` beside it that means the same."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "worker.in").write_text("\n".join(line for line in lines if not line.startswith("#")) + "\n")
    lock = folder / "worker.lock"
    lock.write_text("\n".join(lines) + "\n")
    return lock
