"""`python -m finetune_sdk.worker.pins FOLDER...`: resolve what a worker means into its locks.

`worker.in` + `overrides.txt` (optional) become `worker.lock`. A folder with an `overrides-cuda.txt` (may be empty) gets
a `worker-cuda.lock` too, for machines with a GPU; from a `worker-cuda.in`, if there is one, because packages have other
names there. Constraints are named by `worker.in` itself (`-c FILE`).

A lock holds for every Python the resolver was asked about and for every build of torch: torch is pinned by its public
version, and what only its CUDA build brings is left to it (it pins that exactly itself).
"""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from packaging.requirements import Requirement

from finetune_sdk.errors import EnvError
from finetune_sdk.worker.installers import Installer

OLDEST_PYTHON = "3.11"
_PYTHONS = (OLDEST_PYTHON, "3.12", "3.13", "3.14")
_BUILD = re.compile(r"^(?P<pin>torch(?:vision|audio)?==[^+\s]+)(?:\+\S+)?.*$")
_CUDA_ONLY = re.compile(r"^(?:nvidia|cuda|triton)\b")
_SIZES = re.compile(r"(?P<variant>cpu|cuda)?\s*(?P<size>[\d.]+ [GM]B)")
_OVERRIDES = {"cpu": "overrides.txt", "cuda": "overrides-cuda.txt"}
_TARGETS = {"cpu": "worker.lock", "cuda": "worker-cuda.lock"}


def lock(folder: Path) -> list[Path]:
    """Write the locks of a provider's folder. Needs uv and a package index."""
    variants = ["cpu", *(["cuda"] if (folder / _OVERRIDES["cuda"]).is_file() else [])]
    return [_lock(folder, variant) for variant in variants]


def _lock(folder: Path, variant: str) -> Path:
    source, overrides, target = (folder / name for name in ("worker.in", _OVERRIDES[variant], _TARGETS[variant]))
    if variant != "cpu" and (folder / f"worker-{variant}.in").is_file():  # its packages have other names
        source = folder / f"worker-{variant}.in"
    installer = Installer.choose("uv")
    if installer.uv is None:
        raise EnvError(f"resolving {source} needs uv: {sys.executable} -m pip install uv")
    command = [installer.uv, "pip", "compile", "--quiet", "--universal", "--python-version", OLDEST_PYTHON]
    command += ["--no-header", "--no-annotate", str(source)]
    command += ["--override", str(overrides)] if overrides.is_file() else []
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=installer.environment())
    if done.returncode != 0:
        raise EnvError(f"cannot resolve {source}:\n{done.stderr.strip()}")
    said = directives(source.read_text(encoding="utf-8").splitlines(), variant)
    target.write_text(for_any_build(done.stdout.splitlines(), source.name, said), encoding="utf-8")
    return target


def directives(lines: Sequence[str], variant: str) -> list[str]:
    """What `worker.in` says about the environment, for one variant: `# finetune: size cpu 1.5 GB, cuda 9 GB`."""
    said = [line for line in lines if line.startswith("# finetune: python")]
    for line in lines:
        if line.startswith("# finetune: size "):
            sizes = {found["variant"] or variant: found["size"] for found in _SIZES.finditer(line)}
            said += [f"# finetune: size {sizes[variant]}"] if variant in sizes else []
    return said


def for_any_build(lines: Sequence[str], name: str, said: Sequence[str] = ()) -> str:
    """The resolver's pins, made independent of which build of torch the resolving machine can see."""
    pins = (line for line in lines if not _CUDA_ONLY.match(line) and _can_hold(line))
    kept = sorted({_BUILD.sub(r"\g<pin>", line) for line in pins})
    torch = ["# finetune: install torch with dependencies"] if any(line.startswith("torch==") for line in kept) else []
    return "\n".join([f"# resolved from {name} by `make lock`; edit that instead", *said, *torch, *kept]) + "\n"


def _can_hold(pin: str) -> bool:
    """Whether its marker is true on any machine that workers run on: Linux, two kinds of processor."""
    marker = Requirement(pin).marker
    machines = itertools.product(_PYTHONS, ("x86_64", "aarch64"))
    return marker is None or any(
        marker.evaluate(
            {"python_version": python, "python_full_version": f"{python}.0", "platform_machine": machine}
            | {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"}
        )
        for python, machine in machines
    )


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        for written in lock(Path(argument)):
            sys.stderr.write(f"wrote {written}\n")
