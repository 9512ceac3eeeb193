"""From a provider's name to the provider, and the ways in which that fails."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from finetune_sdk.errors import DuplicateProvider, MissingExtra, RegistryError, UnknownProvider
from finetune_sdk.registry import load, provider_class, providers, standing_in
from finetune_sdk.testing.fake import FakeProvider

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a distribution on the path, as pip would lay it out."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))  # pyright: ignore[reportUnknownMemberType]

    def put(name: str, entry: str, *, extras: tuple[str, ...] = (), module: str = "", source: str = "") -> None:
        info = site / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        provides = "".join(f"Provides-Extra: {extra}\n" for extra in extras)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{provides}")
        (info / "entry_points.txt").write_text(f"[finetune_sdk.providers]\n{entry}\n")
        if module:
            (site / f"{module}.py").write_text(source)

    return put


def test_our_own_providers_are_listed_by_the_same_door() -> None:
    assert ("peft", "finetune-sdk") in {(one.name, one.distribution) for one in providers()}


def test_listing_imports_no_provider() -> None:
    code = (
        "import sys; from finetune_sdk.registry import providers; assert providers();"
        "print([name for name in sys.modules if name.split('.')[0] in ('finetune_providers', 'openai', 'torch')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_an_unknown_name_lists_what_there_is_and_the_nearest(install: Install) -> None:
    with pytest.raises(UnknownProvider, match=r"no provider 'pfet'.*'peft'.*Available: .*peft"):
        provider_class("pfet")


def test_a_name_claimed_twice_names_both_claimants(install: Install) -> None:
    install("one-dist", "echo = echo_one:Echo")
    install("two-dist", "echo = echo_two:Echo")

    with pytest.raises(DuplicateProvider) as caught:
        provider_class("echo")
    assert all(text in str(caught.value) for text in ("echo_one:Echo (one-dist)", "echo_two:Echo (two-dist)"))


def test_both_claims_to_a_name_are_listed(install: Install) -> None:
    install("one-dist", "echo = echo_one:Echo")
    install("two-dist", "echo = echo_two:Echo")

    assert [one.distribution for one in providers() if one.name == "echo"] == ["one-dist", "two-dist"]


@pytest.mark.parametrize(
    ("extras", "command"), [(("echo",), 'pip install "echo-dist[echo]"'), ((), 'pip install "echo-dist"')]
)
def test_a_missing_package_comes_with_the_command_that_installs_it(
    install: Install, extras: tuple[str, ...], command: str
) -> None:
    install(
        "echo-dist", "echo = echo_missing:Echo", extras=extras, module="echo_missing", source="import no_such_vendor"
    )

    with pytest.raises(MissingExtra) as caught:
        provider_class("echo")
    assert "no_such_vendor" in str(caught.value)
    assert str(caught.value).endswith(f"Run: {command}")


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("", "does not exist"),
        ("Echo = 3", "not a subclass of Provider"),
        ("from finetune_sdk.testing.fake import FakeProvider as Echo", "calls itself 'fake'"),
    ],
    ids=["no class", "no provider", "another name"],
)
def test_a_broken_entry_point_says_what_is_wrong_with_it(install: Install, source: str, why: str) -> None:
    module = f"echo_{len(source)}"
    install("echo-dist", f"echo = {module}:Echo", module=module, source=source)

    with pytest.raises(RegistryError, match=why):
        provider_class("echo")


def test_a_stand_in_lasts_as_long_as_its_block(tmp_path: Path) -> None:
    with standing_in("fake", lambda home: FakeProvider(home=home)):
        assert isinstance(load("fake", home=tmp_path), FakeProvider)
    with pytest.raises(UnknownProvider):
        load("fake", home=tmp_path)
