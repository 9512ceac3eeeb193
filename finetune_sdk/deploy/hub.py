"""All deployments, wherever they are: the servers on this machine, and what the providers serve."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from finetune_sdk import registry
from finetune_sdk.deploy import hosts, local, record
from finetune_sdk.deploy.hosts import Host
from finetune_sdk.errors import JobNotFound, SpecError, Unsupported
from finetune_sdk.provider import Provider
from finetune_sdk.store import JobStore
from finetune_sdk.types import Deployment


def listed(home: Path, *, refresh: bool = False, remote: Sequence[str] = ()) -> list[Deployment]:
    """Those on this machine as they stand, then the hosted ones made from here as last seen (or asked about now).

    `remote`: providers and hosts that are asked for everything their account serves, whoever deployed it.
    """
    here = local.deployments(home)
    known = {one.id for one in here}
    made = [one for one in JobStore(home).deployments() if one.id not in known]
    if refresh:
        made = [refreshed(home, one) for one in made]
    known |= {one.id for one in made}
    theirs = [one for name in remote for one in _keeper(home, name).deployments()]
    return [*here, *made, *(one for one in theirs if one.id not in known)]


def find(home: Path, wanted: str) -> Deployment:
    """A deployment by its id or the name it answers under. Raises `JobNotFound`, `SpecError` when several fit."""
    everything = listed(home)
    fitting = (
        [one for one in everything if one.id == wanted]
        or [one for one in everything if one.id.rpartition("/")[2] == wanted]
        or [one for one in everything if one.model == wanted]
    )
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise SpecError(f"{wanted!r} names several deployments: give an id ({', '.join(one.id for one in fitting)})")
    known = ", ".join(one.id for one in everything) or "none"
    raise JobNotFound(f"no deployment {wanted!r}; there are: {known}", sent=False)


def is_local(home: Path, deployment: Deployment) -> bool:
    """Whether it is a server on this machine."""
    return (record.folder_of(home, deployment.id) / record.RECORD).exists() if "/" not in deployment.id else False


def refreshed(home: Path, deployment: Deployment) -> Deployment:
    """As it stands now."""
    if is_local(home, deployment):
        return local.get(home, deployment.id)
    keeper = _keeper(home, deployment.provider)
    if isinstance(keeper, Provider) and not keeper.capabilities.claim("feature.deployments").support:
        return deployment
    return keeper.deployment(deployment.id)


def delete(home: Path, deployment: Deployment) -> None:
    """End it wherever it is, and forget it. Idempotent."""
    if is_local(home, deployment):
        local.remove(home, deployment.id)
    else:
        _keeper(home, deployment.provider).undeploy(deployment.id)
    JobStore(home).forget_deployment(deployment.id)


def delete_terms(home: Path, deployment: Deployment) -> str:
    """What is lost by deleting it; empty = it can be deployed again."""
    return "" if is_local(home, deployment) else _keeper(home, deployment.provider).undeploy_terms(deployment.id)


def stop(home: Path, deployment: Deployment, *, until_asked: bool = False) -> Deployment:
    """Let it cost nothing and answer nothing, but stay on the list; `until_asked`: until the next request wakes it.

    Raises `Unsupported` where only ending it is possible.
    """
    if is_local(home, deployment):
        if until_asked:
            raise Unsupported("local", "waking up by a request", "Stop it, and restart it when it is wanted.")
        return local.stop(home, deployment.id)
    return _renewed(home, _host(home, deployment, "stopping").stop(deployment.id, until_asked=until_asked))


def restart(home: Path, deployment: Deployment) -> Deployment:
    """Let one that was stopped answer again, and wait until it does. Raises `Unsupported` where nothing is stopped."""
    if is_local(home, deployment):
        return local.restart(home, deployment.id)
    return _renewed(home, _host(home, deployment, "restarting").restart(deployment.id))


def _renewed(home: Path, deployment: Deployment) -> Deployment:
    JobStore(home).renew_deployment(deployment)
    return deployment


def _host(home: Path, deployment: Deployment, doing: str) -> Host:
    keeper = _keeper(home, deployment.provider)
    if isinstance(keeper, Host):
        return keeper
    raise Unsupported(deployment.provider, f"{doing} a deployment", "End it, and deploy again when it is wanted.")


def _keeper(home: Path, name: str) -> Provider | Host:
    """Whoever serves a hosted deployment."""
    return hosts.load(name, home=home) if name in hosts.names() else registry.load(name, home=home)
