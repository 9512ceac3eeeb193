"""Which engine serves what: found by the entry points of the group `finetune_sdk.engines`, as providers are.

An engine is a script that takes the number of a socket and answers the words of
`finetune_providers/serving/worker/service.py` on it, in an interpreter that has its library.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

from finetune_sdk.errors import EnvError, Unsupported
from finetune_sdk.provider import Environment
from finetune_sdk.types import ArtifactKind
from finetune_sdk.worker.envs import EnvStore
from finetune_sdk.worker.interpreters import inspect, parse

GROUP = "finetune_sdk.engines"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineKind:
    """An engine that can be started."""

    name: str
    serves: tuple[ArtifactKind, ...]
    script: Path
    """Run as `python -I SCRIPT NAME FD`."""
    requirements: tuple[str, ...]
    """What an interpreter must have to be used as it is."""
    also: tuple[str, ...] = ()
    """Another name under which the library is distributed: where this is met, `requirements` need not be."""
    environment: Environment | None = None
    """What is built where none has; None = nothing is: the library is used where it is present."""
    environment_name: str = ""
    """Engines and providers that share an environment share this name."""
    program: str | None = None
    """A command that comes with the library: its interpreter is looked at too."""
    training_template: Path | None = None
    """The module with which training renders conversations; exports are compared with it."""
    order: int = 0
    """Among those that can serve a thing, the lowest is taken."""

    def python(self, home: Path, *, preferred: Sequence[Path] = (), say: Callable[[str], None] | None = None) -> Path:
        """The interpreter: one of `preferred` that has the libraries, else this one, else a managed environment.

        Raises `EnvError` where none has them and none is built.
        """
        present = [] if self.environment is not None else [Path(sys.executable), *self._beside_program()]
        for path in [*preferred, *present]:
            if (found := self._having(path)) is not None:
                return found
        if self.environment is None:
            names = " or ".join([*self.requirements, *self.also])
            raise EnvError(
                f"no interpreter here has {names}, which the engine {self.name!r} needs. Install it in an "
                f"environment of its own and put that one's `{self.program}` on PATH, or choose another engine."
            )
        store = EnvStore(home, on_progress=say)
        return store.python(
            self.environment_name,
            self.environment.lock,
            smoke=self.environment.smoke,
            requirements=self.requirements,
        )

    def _having(self, path: Path) -> Path | None:
        for names in (self.requirements, self.also):
            ranges = [parse(text) for text in names]
            try:
                interpreter = inspect(path, {requirement.name for requirement in ranges})
            except EnvError:
                return None  # such as an environment that was removed since
            if ranges and not interpreter.lacks(ranges):
                return interpreter.path
        return None

    def _beside_program(self) -> list[Path]:
        found = None if self.program is None else shutil.which(self.program)
        return [] if found is None else [Path(found).resolve().parent / "python"]

    def command(self, python: Path) -> tuple[str, ...]:
        """The process, without the number of its socket."""
        return (str(python), "-I", "-u", str(self.script), self.name)


def engines() -> list[EngineKind]:
    """All that are installed, the preferred first."""
    found = {entry.value: entry.load() for entry in entry_points(group=GROUP)}
    return sorted((one for one in found.values() if isinstance(one, EngineKind)), key=lambda one: (one.order, one.name))


def engine_for(kind: ArtifactKind, wanted: str = "auto") -> EngineKind:
    """The engine that serves an artifact of this kind. Raises `Unsupported`."""
    known = engines()
    fitting = [one for one in known if kind in one.serves and wanted in ("auto", one.name)]
    if fitting:
        return fitting[0]
    named = [one for one in known if one.name == wanted]
    if named:
        raise Unsupported(wanted, f"serving an artifact of kind {kind}", f"It serves: {', '.join(named[0].serves)}.")
    can = ", ".join(f"{one.name} ({', '.join(one.serves)})" for one in known) or "none"
    what = f"serving an artifact of kind {kind}" if wanted == "auto" else f"the engine {wanted!r}"
    raise Unsupported("deploy", what, f"Engines here: {can}.")
