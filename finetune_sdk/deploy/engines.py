"""Which engine serves what: found by the entry points of the group `finetune_sdk.engines`, as providers are.

An engine is a script that takes the number of a socket and answers the words of
`finetune_providers/serving/worker/service.py` on it, in an interpreter that has its library.
"""

from __future__ import annotations

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
    environment: Environment
    """What is built where none has."""
    environment_name: str
    """Engines and providers that share an environment share this name."""
    training_template: Path | None = None
    """The module with which training renders conversations; exports are compared with it."""
    order: int = 0
    """Among those that can serve a thing, the lowest is taken."""

    def python(self, home: Path, *, preferred: Sequence[Path] = (), say: Callable[[str], None] | None = None) -> Path:
        """The interpreter: one of `preferred` that has the libraries, else this one, else a managed environment."""
        ranges = [parse(text) for text in self.requirements]
        for path in preferred:
            try:
                interpreter = inspect(path, {requirement.name for requirement in ranges})
            except EnvError:
                continue  # such as an environment that was removed since
            if not interpreter.lacks(ranges):
                return interpreter.path
        store = EnvStore(home, on_progress=say)
        return store.python(
            self.environment_name,
            self.environment.lock,
            smoke=self.environment.smoke,
            requirements=self.requirements,
        )

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
