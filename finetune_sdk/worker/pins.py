"""`python -m finetune_sdk.worker.pins worker.in [constraints.txt]`: resolve what a worker means into `worker.lock`.

The lock holds for every Python the resolver was asked about and for machines with and without a GPU: torch is pinned by
its public version, and what only its CUDA build brings is left to it (it pins that exactly itself).
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from finetune_sdk.errors import EnvError
from finetune_sdk.worker.installers import WITH_DEPENDENCIES, Installer

OLDEST_PYTHON = "3.11"
_BUILD = re.compile(r"^(?P<pin>torch(?:vision|audio)?==[^+\s]+)(?:\+\S+)?.*$")
_CUDA_ONLY = re.compile(r"^(?:nvidia|cuda|triton)\b")


def lock(source: Path, *, constraints: Path | None = None) -> Path:
    """Write the lock beside `source`, which must be called `<name>.in`. Needs uv and a package index."""
    installer = Installer.choose("uv")
    if installer.uv is None:
        raise EnvError(f"resolving {source} needs uv: {sys.executable} -m pip install uv")
    command = [installer.uv, "pip", "compile", "--quiet", "--universal", "--python-version", OLDEST_PYTHON]
    command += ["--no-header", "--no-annotate", str(source), *(["-c", str(constraints)] if constraints else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=installer.environment())
    if done.returncode != 0:
        raise EnvError(f"cannot resolve {source}:\n{done.stderr.strip()}")
    target = source.with_suffix(".lock")
    target.write_text(for_any_build(done.stdout.splitlines(), source.name), encoding="utf-8")
    return target


def for_any_build(lines: Sequence[str], name: str) -> str:
    """The resolver's pins, made independent of which build of torch the resolving machine can see."""
    kept = sorted({_BUILD.sub(r"\g<pin>", line) for line in lines if not _CUDA_ONLY.match(line)})
    marks = [WITH_DEPENDENCIES] if any(line.startswith("torch==") for line in kept) else []
    return "\n".join([f"# resolved from {name} by `make lock`; edit that instead", *marks, *kept]) + "\n"


if __name__ == "__main__":
    given = [Path(argument) for argument in sys.argv[1:]]
    written = lock(given[0], constraints=given[1] if len(given) > 1 else None)
    sys.stderr.write(f"wrote {written}\n")
