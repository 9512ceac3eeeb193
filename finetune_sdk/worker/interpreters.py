"""What an interpreter is and has: version, platform, installed distributions. Asked of another one by running it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet

from finetune_sdk.errors import EnvError

_TIMEOUT_S = 60.0
_PROBE = """
import importlib.metadata as m, json, platform, sys, sysconfig
def version(name):
    try:
        return m.version(name)
    except m.PackageNotFoundError:
        return None
print(json.dumps({
    "version": platform.python_version(),
    "platform": f"{sys.implementation.cache_tag}-{sysconfig.get_platform()}-{platform.libc_ver()[0]}",
    "distributions": {name: version(name) for name in sys.argv[1:]},
}))
"""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python that runs."""

    path: Path
    """Not resolved: a virtual environment is recognised by the link it is started through."""
    version: str
    """Such as "3.11.7"."""
    platform: str
    distributions: Mapping[str, str | None]
    """Versions of those that were asked for; None = not installed."""

    def lacks(self, requirements: Iterable[Requirement]) -> list[str]:
        """The requirements it does not satisfy, each with what is there: `trl<1.17,>=1.16 (has 1.9.0)`."""
        return [f"{req} ({self._shown(req)})" for req in requirements if not self._satisfies(req)]

    def _satisfies(self, requirement: Requirement) -> bool:
        here = {"python_version": ".".join(self.version.split(".")[:2]), "python_full_version": self.version}
        if requirement.marker is not None and not requirement.marker.evaluate(here):
            return True
        version = self.distributions[requirement.name]
        return version is not None and requirement.specifier.contains(version, prereleases=True)

    def _shown(self, requirement: Requirement) -> str:
        version = self.distributions[requirement.name]
        return "not installed" if version is None else f"has {version}"


def parse(text: str) -> Requirement:
    """A requirement such as `trl>=1.16,<1.17`. Raises `EnvError`."""
    try:
        return Requirement(text)
    except InvalidRequirement as exc:
        raise EnvError(f"{text!r} is no requirement: {exc}") from exc


def requirement_lines(path: Path) -> list[str]:
    """The requirements of a `worker.in`, without comments and options."""
    if not path.is_file():
        raise EnvError(f"there is no requirements file {path}")
    lines = (line.partition(" #")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith(("#", "-"))]


def inspect(python: Path, names: Iterable[str] = ()) -> Interpreter:
    """Ask the interpreter, also for the versions of some distributions. Raises `EnvError` when it does not run."""
    found = Path(python).expanduser()
    if found.is_dir():  # the folder of a virtual environment
        found = found / "bin" / "python"
    if not found.exists():
        raise EnvError(f"there is no Python at {found}; give the path of an interpreter, such as /opt/env/bin/python")
    done = run_quietly(found, _PROBE, *names)
    if done.returncode != 0:
        raise EnvError(f"{found} is no working Python: {done.stderr.strip()[-500:]}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return Interpreter(found.absolute(), answer["version"], answer["platform"], answer["distributions"])


def another(wanted: SpecifierSet) -> Interpreter | None:
    """A Python on `PATH` of a wanted version, the oldest that will do: locks are made for the oldest. None = none."""
    for minor in range(11, 20):
        program = shutil.which(f"python3.{minor}") if wanted.contains(f"3.{minor}.99") else None
        if program is not None:
            with contextlib.suppress(EnvError):
                found = inspect(Path(program))
                if wanted.contains(found.version, prereleases=True):
                    return found
    return None


def run_quietly(python: Path, code: str, *args: str, timeout_s: float = _TIMEOUT_S) -> subprocess.CompletedProcess[str]:
    """Run code in an interpreter, isolated from folder, user site and PYTHON* variables."""
    command = [str(python), "-I", "-c", code, *args]
    try:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=timeout_s,
            check=False,
            env=os.environ | {"PYTHONSAFEPATH": "1"},
        )
    except OSError as exc:
        raise EnvError(f"cannot run {python}: {exc.strerror or exc}") from exc
    except subprocess.TimeoutExpired as exc:
        raise EnvError(f"{python} did not answer within {timeout_s:g} s") from exc
