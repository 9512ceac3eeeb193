"""Lock files: which of a provider's locks fits this machine, and what a lock says about itself.

A provider ships `worker.lock` and, where the packages differ with a GPU, `worker-cuda.lock` beside it. Lines that start
with `# finetune:` are meant for us:

    # finetune: python >=3.11,<3.13           the interpreters it was made for; default: any that the SDK runs on
    # finetune: size 1.5 GB                   what the built environment takes on disk, about
    # finetune: install torch with dependencies     those packages' dependencies differ by build; without names: all
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from finetune_sdk.errors import EnvError

Variant = Literal["auto", "cpu", "cuda"]
"""Which lock: "auto" = cuda where an NVIDIA GPU is seen."""
VARIABLE = "FINETUNE_VARIANT"
"""Environment variable that says what "auto" means."""

_DIRECTIVE = re.compile(r"^# finetune: (?P<word>python|size|install) ?(?P<rest>.*)$")
_DEPENDENCIES = re.compile(r"^(?P<names>.*?) ?with dependencies$")
_CUDA = "-cuda"
_GPUS = Path("/proc/driver/nvidia/gpus")


@dataclass(frozen=True, slots=True)
class Lock:
    """What stands in a lock file."""

    path: Path
    python: SpecifierSet
    """Which interpreters it was made for."""
    size: str | None
    """Such as "1.5 GB"; None = it does not say."""
    with_dependencies: tuple[str, ...] | None
    """Requirements to be installed with what they need; None = all of them. The rest is complete as listed."""

    @property
    def variant(self) -> Literal["cpu", "cuda", "any"]:
        """ "any" = one lock for both kinds of machine."""
        if self.path.stem.endswith(_CUDA):
            return "cuda"
        return "cpu" if _cuda_of(self.path).is_file() else "any"


def read(path: Path) -> Lock:
    """Read a lock. Raises `EnvError` when there is none, or when it says something that cannot be understood."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as exc:
        raise EnvError(f"there is no lock file {path} ({exc.strerror}), so no environment can be built") from exc
    said = {found["word"]: found["rest"].strip() for line in lines if (found := _DIRECTIVE.match(line))}
    try:
        python = SpecifierSet(said.get("python", ""))
    except InvalidSpecifier as exc:
        raise EnvError(f"{path}: {exc} in the line `# finetune: python`") from exc
    return Lock(path, python, said.get("size"), _with_dependencies(said.get("install"), lines))


def _with_dependencies(said: str | None, lines: list[str]) -> tuple[str, ...] | None:
    found = _DEPENDENCIES.match(said or "")
    if found is None:
        return ()
    names = found["names"].split()
    return tuple(line for line in lines if line.partition("==")[0] in names) if names else None


def choose(lock: Path, variant: Variant = "auto") -> Path:
    """The lock for this machine: `lock`, or its CUDA sibling. Raises `EnvError` for "cuda" when there is none."""
    wanted = _settled(variant)
    sibling = _cuda_of(lock)
    if wanted == "cpu" or (variant == "auto" and not sibling.is_file()):
        return lock
    if wanted == "auto":
        return sibling if gpu_seen() else lock
    if not sibling.is_file():
        raise EnvError(f"there is no CUDA variant: {lock} holds with and without a GPU. Leave the variant out")
    return sibling


def _settled(variant: Variant) -> Variant:
    said = os.environ.get(VARIABLE, "") or "auto"
    if variant != "auto":
        return variant
    known: tuple[Variant, ...] = get_args(Variant)
    for one in known:
        if said == one:
            return one
    raise EnvError(f"{VARIABLE}={said!r} is no variant; there are: {', '.join(get_args(Variant))}")


def gpu_seen() -> bool:
    """Whether this machine has an NVIDIA GPU with its driver. Cheap where there is none."""
    with contextlib.suppress(OSError):
        if any(_GPUS.iterdir()):
            return True
    program = shutil.which("nvidia-smi")
    if program is None:
        return False
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run([program, "-L"], capture_output=True, text=True, check=False, timeout=30)
        return done.returncode == 0 and "GPU" in done.stdout
    return False


def _cuda_of(lock: Path) -> Path:
    return lock.with_name(f"{lock.stem.removesuffix(_CUDA)}{_CUDA}{lock.suffix}")
