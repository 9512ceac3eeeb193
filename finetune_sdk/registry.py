"""From a provider's name to the provider, by the entry points of the group `finetune_sdk.providers`.

Ours come in by the same door as a stranger's.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from finetune_sdk.errors import DuplicateProvider, MissingExtra, RegistryError, UnknownProvider
from finetune_sdk.provider import Provider

GROUP = "finetune_sdk.providers"
_stand_ins: dict[str, Callable[[Path], Provider]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """One claim to a provider name, as an installed package states it; a second claim is an error at `load`."""

    name: str
    target: str
    """`module:Class`."""
    distribution: str
    version: str


def providers() -> list[Registered]:
    """Every claim there is, by name. Imports no provider and no vendor SDK."""
    return sorted((_registered(entry) for entry in _entries()), key=lambda one: (one.name, one.target))


def names() -> list[str]:
    """Every provider name that leads somewhere, sorted."""
    return sorted({entry.name for entry in _entries()} | set(_stand_ins))


def provider_class(name: str) -> type[Provider]:
    """The class behind a name. Raises `UnknownProvider`, `DuplicateProvider`, `MissingExtra`, or `RegistryError`."""
    entry = _entry(name)
    try:
        found: object = entry.load()
    except ImportError as exc:
        raise _missing(entry, exc) from exc
    except AttributeError as exc:
        raise RegistryError(f"provider {name!r} is broken: {entry.value} does not exist ({exc})") from exc
    if not (isinstance(found, type) and issubclass(found, Provider)):
        raise RegistryError(f"provider {name!r} is broken: {entry.value} is not a subclass of Provider")
    if found.name != name:
        raise RegistryError(f"provider {name!r} is broken: {entry.value} calls itself {found.name!r}")
    return found


def load(name: str, *, home: Path) -> Provider:
    """A provider ready to use; constructing it needs no credentials. Raises as `provider_class` does."""
    if name in _stand_ins:
        return _stand_ins[name](home)
    return provider_class(name)(home=home)


@contextmanager
def standing_in(name: str, factory: Callable[[Path], Provider]) -> Generator[None]:
    """While the block runs, `name` leads to `factory(home)` in this process: for tests of providers, nothing else."""
    before = _stand_ins.get(name)
    _stand_ins[name] = factory
    try:
        yield
    finally:
        if before is None:
            del _stand_ins[name]
        else:
            _stand_ins[name] = before


def _entries() -> list[EntryPoint]:
    unique = {(entry.name, entry.value, _dist_name(entry)): entry for entry in entry_points(group=GROUP)}
    return list(unique.values())


def _entry(name: str) -> EntryPoint:
    entries = _entries()
    claims = [entry for entry in entries if entry.name == name]
    if not claims:
        raise _unknown(name, sorted({entry.name for entry in entries}))
    if len(claims) > 1:
        claimants = sorted(f"{entry.value} ({_dist_name(entry)})" for entry in claims)
        raise DuplicateProvider(
            f"{len(claims)} installed packages claim provider {name!r}: {' and '.join(claimants)}. "
            f"Uninstall all but one: `pip uninstall {_dist_name(claims[-1])}`."
        )
    return claims[0]


def _unknown(name: str, known: list[str]) -> UnknownProvider:
    near = difflib.get_close_matches(name, known, n=1)
    guess = f" Did you mean {near[0]!r}?" if near else ""
    return UnknownProvider(f"no provider {name!r} is installed.{guess} Available: {', '.join(known) or 'none'}.")


def _missing(entry: EntryPoint, exc: ImportError) -> MissingExtra:
    extras = entry.dist.metadata.get_all("Provides-Extra") or [] if entry.dist else []
    wanted = f"{_dist_name(entry)}[{entry.name}]" if entry.name in extras else _dist_name(entry)
    return MissingExtra(
        f'provider {entry.name!r} needs {exc.name or exc!s}, which is not installed. Run: pip install "{wanted}"'
    )


def _registered(entry: EntryPoint) -> Registered:
    version = entry.dist.version if entry.dist else ""
    return Registered(name=entry.name, target=entry.value, distribution=_dist_name(entry), version=version)


def _dist_name(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else "an unnamed package"
