"""`compute.kind: hf-space`: the worker in a docker Space of its own, as AutoTrain's Spaces backend does it.

AutoTrain's own Space starts from an image that is rebuilt by nobody, updates itself at the start and hides failures;
ours builds the locked environment and runs AutoTrain's trainers under our worker. The sequence of calls is AutoTrain's:
a repository with the rows, a Space with secrets, hardware and sleep time, then its README and Dockerfile.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, cast

from finetune_providers.hub import bundle
from finetune_providers.hub.journal import Journal
from finetune_providers.hub.place import HubPlace, Seen
from finetune_providers.hub.terms import Kind, Machine, Rented, machines
from finetune_sdk.types import JobStatus
from finetune_sdk.worker.places import Order

if TYPE_CHECKING:
    from huggingface_hub import HfApi, SpaceHardware

STAGES: Mapping[str, JobStatus] = {
    "NO_APP_FILE": JobStatus.QUEUED,  # before the Dockerfile has arrived
    "BUILDING": JobStatus.QUEUED,
    "RUNNING_BUILDING": JobStatus.QUEUED,
    "APP_STARTING": JobStatus.QUEUED,
    "RUNNING_APP_STARTING": JobStatus.RUNNING,
    "RUNNING": JobStatus.RUNNING,
    "CONFIG_ERROR": JobStatus.FAILED,
    "BUILD_ERROR": JobStatus.FAILED,
    "RUNTIME_ERROR": JobStatus.FAILED,
    "DELETING": JobStatus.FAILED,
    "STOPPED": JobStatus.FAILED,
    "PAUSED": JobStatus.FAILED,  # without a result: somebody else has paused it, and what it learned is lost
    "SLEEPING": JobStatus.FAILED,
}
"""huggingface_hub 2.4.0 `SpaceStage`; SLEEPING from https://docs.rs/hf-hub/1.0.0 (`SpaceRuntime`); read 2026-11-21."""
PORT = 7860
_FREE = "cpu-basic"
_TAIL = 30
_BUILT_WRONG = frozenset({"BUILD_ERROR", "CONFIG_ERROR"})


class HubSpaces(HubPlace):
    """Its name is made of the key, so there is one, whoever asks how often."""

    kind: ClassVar[Kind] = "hf-space"
    outlives_its_job: ClassVar[bool] = True

    def machines(self, api: HfApi) -> list[Machine]:
        return machines(api.list_spaces_hardware())

    def create(self, api: HfApi, made: Journal, order: Order, rented: Rented) -> str:
        from huggingface_hub import CommitOperationAdd  # noqa: PLC0415

        space = self._name(made)
        variables = {**self.environment(made), "FTSDK_PORT": str(PORT)}
        # cpu-basic has a sleep time that cannot be chosen; elsewhere nobody visits, so it must outlast the training
        sleep_s = None if rented.flavor == _FREE else rented.timeout_s
        api.create_repo(
            space,
            repo_type="space",
            space_sdk="docker",
            private=True,
            exist_ok=True,
            space_hardware=cast("SpaceHardware", rented.flavor),  # an enumeration behind what the Hub offers today
            space_sleep_time=sleep_s,
            space_secrets=[{"key": name, "value": value} for name, value in self.secrets().items()],
            space_variables=[{"key": name, "value": value} for name, value in variables.items()],
        )
        files = {"README.md": readme(order.key), "Dockerfile": dockerfile(bundle.image(self.code))}
        added = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=text.encode()) for name, text in files.items()]
        api.create_commit(space, added, commit_message="Train", repo_type="space")
        return space

    def look(self, api: HfApi, made: Journal) -> str | None:
        """Only a Space that has its Dockerfile: one without was begun and never finished, and `create` goes on."""
        space = self._name(made)
        return space if api.file_exists(space, "Dockerfile", repo_type="space") else None

    def seen(self, api: HfApi, made: Journal, machine: str) -> Seen:  # noqa: ARG002 - the name says it all
        runtime: Any = api.get_space_runtime(machine)
        word = str(getattr(runtime.stage, "value", runtime.stage))
        message = runtime.raw.get("errorMessage")
        return Seen(
            STAGES.get(word, JobStatus.RUNNING),
            word,
            known=word in STAGES,
            message=None if message is None else str(message),
        )

    def stop(self, api: HfApi, made: Journal, machine: str) -> None:  # noqa: ARG002
        api.pause_space(machine)

    def printed(self, api: HfApi, made: Journal, machine: str) -> str:
        build = self.seen(api, made, machine).word in _BUILT_WRONG
        lines = [line.rstrip("\n") for line in api.fetch_space_logs(machine, build=build)]
        return "\n".join(lines[-_TAIL:])

    def _name(self, made: Journal) -> str:
        return made.repo


def readme(key: str) -> str:
    """What the Hub reads of a Space."""
    return (
        f"---\ntitle: finetune {key}\nsdk: docker\napp_port: {PORT}\npinned: false\ntags:\n- autotrain\n---\n"
        "Trains a model for its owner and pauses when it is done. The result is in the model repository of the same "
        "name.\n"
    )


def dockerfile(image: str) -> str:
    """Spaces run as user 1000."""
    return (
        f"FROM {image}\n"
        "RUN useradd -m -u 1000 user\n"
        "USER user\n"
        "ENV HOME=/home/user\n"
        "WORKDIR /home/user\n"
        f"EXPOSE {PORT}\n"
        f"CMD {json.dumps(list(bundle.COMMAND))}\n"
    )
