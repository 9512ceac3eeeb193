"""Hosts: where a model that lies on this machine, or on a hub, can be let answer by the hour. Found by entry points.

A host is no provider: it trains nothing. The group is `finetune_sdk.hosts`; each entry is a subclass of `Host`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import ClassVar

from finetune_sdk.errors import MissingExtra, SpecError
from finetune_sdk.types import Artifact, Deployment

GROUP = "finetune_sdk.hosts"
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosting:
    """How a host is to let a model answer."""

    machine: str | None = None
    """The host's own name of a machine; None = the error lists them with their prices."""
    repo: str | None = None
    """Where the model is pushed first: `owner/name`; None = the deployment's name in the account."""
    public: bool = False
    """Let everybody see what is pushed."""
    namespace: str | None = None
    """The account or organisation that pays; None = the token's own."""
    idle_min: int | None = 15
    """Minutes without a request after which it is scaled to zero and costs nothing; None = never."""
    base: str | None = None
    """An adapter's base model; None = the one it names."""
    image: str | None = None
    """Another version of the serving image; None = the host's default."""


class Host(ABC):
    """Constructing one sends nothing and needs no credentials."""

    name: ClassVar[str]

    def __init__(self, *, home: Path) -> None:
        self.home = home

    @abstractmethod
    def terms(self, artifact: Artifact, *, name: str, hosting: Hosting) -> str:
        """What deploying it costs from then on and what is pushed where, to be shown before anybody says yes.

        Only reads. A price that the host does not tell stays unknown. Raises `SpecError` for no such machine.
        """

    @abstractmethod
    def deploy(self, artifact: Artifact, *, name: str, hosting: Hosting, say: Say | None = None) -> Deployment:
        """Let it answer under `name`, and wait until it does. Idempotent by name; one that was stopped is resumed.

        Raises `ProviderError` when the name serves something else, `Ambiguous` when it is unknown whether it was made.
        """

    @abstractmethod
    def deployments(self) -> Sequence[Deployment]:
        """All of the account that were made by this SDK. Only reads."""

    @abstractmethod
    def deployment(self, name: str) -> Deployment:
        """As it stands now, by its id; `stopped` when it is gone."""

    @abstractmethod
    def undeploy(self, name: str) -> None:
        """End it. Idempotent."""

    def undeploy_terms(self, name: str) -> str:  # noqa: ARG002 - the contract's signature
        """What is lost by that; empty = it can be deployed again."""
        return ""

    @abstractmethod
    def stop(self, name: str, *, until_asked: bool = False) -> Deployment:
        """Let it cost nothing until `restart`, or with `until_asked` until the next request."""

    @abstractmethod
    def restart(self, name: str) -> Deployment:
        """Let it answer again, from then on at its price."""


def names() -> list[str]:
    """The hosts there are, sorted. Imports none."""
    return sorted({entry.name for entry in entry_points(group=GROUP)})


def load(name: str, *, home: Path) -> Host:
    """Raises `SpecError` when there is none of that name, `MissingExtra` when its library is not installed."""
    entry = next(iter(entry_points(group=GROUP, name=name)), None)
    if entry is None:
        raise SpecError(f"there is no host {name!r} to deploy to; there are: {', '.join(names()) or 'none'}")
    try:
        found: object = entry.load()
    except ImportError as exc:
        raise MissingExtra(f'{name} needs {exc.name}. Run: pip install "finetune-sdk[hub]"') from exc
    if not (isinstance(found, type) and issubclass(found, Host)):
        raise SpecError(f"host {name!r} is broken: {entry.value} is no subclass of Host")
    return found(home=home)
