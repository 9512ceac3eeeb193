"""Microsoft's client and our stand-in for Azure Resource Manager, with Prism between them, which knows the contract."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from finetune_providers.azure.arm import Account, Deployments
from finetune_providers.azure.map import deployment_body
from wire.arm import ACCOUNT, TOKEN, Arm, StaticCredential, serving
from wire.prism import NEEDED, prism

from finetune_sdk.errors import QuotaExceeded

pytestmark = NEEDED
BODY = deployment_body("m.ft-0123456789abcdef0123456789abcdef", sku="Standard", capacity=1, version="1")


def deployments(port: int, folder: Path) -> Deployments:
    account = Account(subscription="sub", resource_group="rg", name="acct", arm_url=f"http://127.0.0.1:{port}")
    return Deployments(account, StaticCredential(), folder)


def test_prism_finds_nothing_against_a_deployments_whole_life(tmp_path: Path) -> None:
    arm = Arm()
    with serving(arm) as url, prism("arm", before=url) as port:
        ours = deployments(port, tmp_path)
        assert ours.get("x") is None
        created = ours.put("x", BODY, wait_s=300)
        again = ours.put("x", BODY, wait_s=300)
        names = [one.name for one in ours.list()]
        ours.delete("x")
        ours.delete("x")
    assert (created.properties.provisioning_state, again.name, names) == ("Succeeded", "x", ["x"])
    assert {method for method, path in arm.requests if path.startswith(ACCOUNT)} == {"GET", "PUT", "DELETE"}


def test_prism_takes_the_refusals_of_the_stand_in_too(tmp_path: Path) -> None:
    arm = Arm(conflicts=1, out_of_quota=True)
    with serving(arm) as url, prism("arm", before=url) as port, pytest.raises(QuotaExceeded):
        deployments(port, tmp_path).put("x", BODY, wait_s=300)
    assert arm.conflicts == 0


def test_prism_would_have_said_so() -> None:
    """The check can fail: a body the contract forbids does not get through."""
    arm = Arm()
    bad: dict[str, Any] = {"sku": {"name": "Standard", "capacity": "many"}, "properties": {}}
    with serving(arm) as url, prism("arm", before=url) as port:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}{ACCOUNT}/x?api-version=2025-09-01",
            data=json.dumps(bad).encode(),
            headers={"authorization": f"Bearer {TOKEN}", "content-type": "application/json"},
            method="PUT",
        )
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=300)
        caught.value.close()
    assert caught.value.code >= 400
