"""The repository's two comparisons, really run: local providers in their environments, and a hosted one's stand-in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from managed_envs import managed_home
from wire import stub
from wire.learner import Learner

from finetune_sdk.deploy import hub

ROOT = Path(__file__).resolve().parents[2]
SYMPTOMS = ROOT.parent / "shared" / "data" / "classify_symptoms.csv"
BENCHES = {"classification": "11_compare", "generation": "13_compare_text"}
CANDIDATES = {
    "zero-shot", "peft-lora", "peft-full", "unsloth-lora", "autotrain-full", "hosted-zero-shot", "hosted-tuned",
}  # fmt: skip
LEARNT = {"peft-lora", "peft-full", "unsloth-lora", "hosted-tuned"}


@dataclass(frozen=True)
class Ran:
    """A comparison that is over."""

    home: Path
    results: dict[str, Any]
    violations: list[str]

    @property
    def candidates(self) -> dict[str, dict[str, Any]]:
        return {one["name"]: one for one in self.results["candidates"]}

    def score(self, name: str) -> float:
        return self.candidates[name]["scores"][self.results["metric"]]["value"]


def described(kind: str, folder: Path) -> Path:
    """The example's bench; the classification on the shared data set where it is there."""
    source = ROOT / "examples" / BENCHES[kind] / "bench.yaml"
    if kind == "generation" or not SYMPTOMS.exists():
        return source
    bench = yaml.safe_load(source.read_text())
    bench["data"] |= {"train": str(SYMPTOMS), "system": "Name the illness."}
    peft = next(one for one in bench["candidates"] if "grid" in one)
    gently = {"hyperparameters": {**peft["tune"]["hyperparameters"], "learning_rate": 1e-3}}  # for 24 labels
    bench["candidates"].append({"name": "peft-full", "tune": {**peft["tune"], "adapter": "full", **gently}})
    peft["grid"]["adapter"] = ["lora"]
    (folder / "bench.yaml").write_text(yaml.safe_dump(bench))
    return folder / "bench.yaml"


@pytest.fixture(scope="module", params=BENCHES)
def ran(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    folder = tmp_path_factory.mktemp(str(request.param))
    home = managed_home(folder / "home")
    with stub.serving(Learner()) as service:
        command = [str(Path(sys.executable).with_name("finetune")), "compare", str(described(request.param, folder))]
        environment = {**os.environ, "OPENAI_API_KEY": stub.KEY, "OPENAI_BASE_URL": service.url, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [*command, "--home", str(home), "--yes", "--format", "json"],
            capture_output=True, text=True, timeout=1500, check=False, env=environment,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        yield Ran(home, json.loads(done.stdout)["results"], list(service.service.violations))


def test_every_candidate_is_done(ran: Ran) -> None:
    assert {name: one["error"] for name, one in ran.candidates.items() if one["stage"] != "done"} == {}
    assert set(ran.candidates) > CANDIDATES


def test_everybody_answered_every_question(ran: Ran) -> None:
    rows = ran.results["split"]["rows"]["test"]
    assert {(one["items"], one["failed"]) for one in ran.candidates.values()} == {(rows, 0)}


def test_tuned_candidates_have_learnt_to_answer(ran: Ran) -> None:
    assert ran.score("zero-shot") < 0.1
    assert {name for name in LEARNT if ran.score(name) < ran.score("zero-shot") + 0.1} == set()


def test_the_loss_of_every_local_job_falls(ran: Ran) -> None:
    local = [one for one in ran.candidates.values() if one["kind"] == "tuned" and one["provider"] != "openai"]
    assert {one["name"] for one in local if one["losses"][-1][1] > one["losses"][0][1] / 1.5} == set()


def test_tuning_is_found_to_be_worth_it(ran: Ran) -> None:
    assert any(text.startswith("Tuning is worth it here: ") for text in ran.results["findings"])


def test_the_hosted_candidates_kept_to_the_vendors_contract_and_have_a_price(ran: Ran) -> None:
    assert ran.violations == []
    assert ran.candidates["hosted-tuned"]["costs"]["per_1k_requests"] > 0
    assert 0 < ran.results["spent_usd"] <= 2


def test_the_key_is_in_no_file(ran: Ran) -> None:
    files = [path for path in ran.home.rglob("*") if path.is_file() and "envs" not in path.parts]
    assert [str(path) for path in files if stub.KEY.encode() in path.read_bytes()] == []


def test_nothing_is_left_standing(ran: Ran) -> None:
    assert list((ran.home / "deployments").glob("*/deployment.json")) == []


def test_nothing_that_was_stopped_is_listed_as_answering(ran: Ran) -> None:
    assert [one.id for one in hub.listed(ran.home) if one.provider != "openai"] == []
