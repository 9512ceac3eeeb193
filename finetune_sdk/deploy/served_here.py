"""The deployment verbs of a provider whose models lie on this disk: a base class for it."""

from __future__ import annotations

from finetune_sdk.deploy import local
from finetune_sdk.provider import YES, Claim, Provider, Support
from finetune_sdk.types import Artifact, Deployment

CLAIMS = {
    "feature.deploy": Claim(Support.PARTIAL, "a server on this machine, with the extra `serve`; no classifiers"),
    "feature.deployments": YES,
    "feature.undeploy": YES,
}
"""To be added to such a provider's claims."""


class ServedHere(Provider):
    """Deploys to servers on this machine. They outlive whoever started them."""

    def deploy(self, artifact: Artifact, *, name: str) -> Deployment:
        """A server here; it answers when this returns."""
        return local.deploy(self.home, artifact, name=name, provider=self.name)

    def deployments(self) -> list[Deployment]:
        """The servers here that serve what this provider trained."""
        return [one for one in local.deployments(self.home) if one.provider == self.name]

    def deployment(self, name: str) -> Deployment:
        """By the state of its processes."""
        return local.find(self.home, name, provider=self.name)

    def undeploy(self, name: str) -> None:
        """Stops the server and forgets it; the model stays."""
        local.remove(self.home, name)
