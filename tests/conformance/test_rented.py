"""A provider with a worker keeps every promise on a machine rented from Hugging Face too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import huggingface_hub.constants
import pytest
import renting
from finetune_providers.hub import journal, place
from wire.hub import TOKEN, Hub
from wire.hub_routes import serving

from finetune_sdk.provider import Capabilities, Provider
from finetune_sdk.spec import JobSpec
from finetune_sdk.testing._watch import Reopen
from finetune_sdk.testing.conformance import ProviderConformance

_HERE_ONLY = ("feature.checkpoints", "feature.pause", "feature.resume")


class Renter(renting.Renter):
    """What a rented machine can: its checkpoints go with it."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        claims={name: one for name, one in renting.Renter.capabilities.claims.items() if name not in _HERE_ONLY}
    )


class TestRented(ProviderConformance):
    """All that it claims, at a hub that really runs the jobs."""

    patience_s: ClassVar[float] = 400.0
    poll_s: ClassVar[float] = 0.2

    @pytest.fixture(scope="class")
    @classmethod
    def hub(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
        with serving(tmp_path_factory.mktemp("machines")) as made, pytest.MonkeyPatch.context() as patch:
            patch.setenv("HF_ENDPOINT", made.url)
            patch.setenv("HF_TOKEN", TOKEN)
            patch.delenv("HF_HUB_OFFLINE", raising=False)
            patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
            patch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)  # this hub has no Xet store
            patch.setenv(place.REPORT_ENV, "0.5")
            patch.setattr(place, "LOOK_S", 0.0)
            yield made
            assert made.refused == []

    @pytest.fixture(scope="class")
    @classmethod
    def reopen(cls, tmp_path_factory: pytest.TempPathFactory, hub: Hub) -> Reopen:  # noqa: ARG003 - it must be there
        home = tmp_path_factory.mktemp("home")
        return lambda: Renter(home=home)

    @pytest.fixture(scope="class")
    @classmethod
    def provider(cls, reopen: Reopen) -> Provider:
        return reopen()

    @pytest.fixture(scope="class")
    @classmethod
    def spec(cls, tmp_path_factory: pytest.TempPathFactory) -> JobSpec:
        return renting.spec(tmp_path_factory.mktemp("data"))

    @pytest.fixture(scope="class")
    @classmethod
    def long_spec(cls, tmp_path_factory: pytest.TempPathFactory) -> JobSpec:
        return renting.spec(tmp_path_factory.mktemp("long"), options={"steps": 100_000, "pause_s": 0.05})

    @pytest.fixture(scope="class")
    @classmethod
    def failing_spec(cls, tmp_path_factory: pytest.TempPathFactory) -> JobSpec:
        return renting.spec(tmp_path_factory.mktemp("failing"), options={"fails": True})

    @pytest.fixture(scope="class")
    @classmethod
    def secret(cls) -> str:
        return TOKEN

    @pytest.fixture(scope="class")
    @classmethod
    def kill_worker(cls, provider: Provider, hub: Hub) -> Callable[[str], None]:
        def kill(ref: str) -> None:
            made = journal.load(_folder(provider, ref))
            assert made is not None
            assert made.machine is not None
            hub.machines[made.machine].message = "the machine was lost"
            hub.machines[made.machine].take_away("ERROR")

        return kill


def _folder(provider: Provider, ref: str) -> Path:
    return provider.home / "jobs" / ref.partition(":")[2]
