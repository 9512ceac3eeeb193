"""A hub on loopback and a provider that rents from it, for the tests of rented machines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest
from finetune_providers.hub import place
from renting import Renter
from wire.hub import TOKEN, Hub
from wire.hub_routes import serving


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The hub that `HF_ENDPOINT` names, with a token that it knows."""
    with serving(tmp_path / "machines") as made:
        monkeypatch.setenv("HF_ENDPOINT", made.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)  # this hub has no Xet store
        monkeypatch.setenv(place.REPORT_ENV, "0.5")
        monkeypatch.setattr(place, "LOOK_S", 0.0)
        yield made
        assert made.refused == [], "the hub did not understand a request"


@pytest.fixture
def renter(tmp_path: Path) -> Renter:
    """A provider with a home of its own."""
    return Renter(home=tmp_path / "home")
