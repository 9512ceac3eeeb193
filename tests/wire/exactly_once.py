# pyright: basic
"""Proof that a submission starts one job, whatever is lost and whoever is killed.

    .venv/bin/python tests/wire/exactly_once.py --runs 300 --seed 0

Each run: a stateful stand-in service, a proxy that spoils requests, and a submitter that is killed (SIGKILL) at a
random step. Then others come and reconcile, some of them killed too. In the end exactly one job must be alive
upstream, the store must name it, and no job may have been charged twice. Prints one line of figures; exit code 1 on
any violation.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "providers")]

import openai  # noqa: E402
from finetune_providers.azure.provider import AzureProvider  # noqa: E402
from finetune_providers.openai import client as _client_module  # noqa: E402, F401 - loaded once, before the forks
from finetune_providers.openai import journal as journals  # noqa: E402
from finetune_providers.openai import server as server_module  # noqa: E402
from finetune_providers.openai import submission  # noqa: E402, F401
from finetune_providers.openai.provider import OpenAIProvider  # noqa: E402
from finetune_providers.openai.tokens import token_count  # noqa: E402
from wire import contract, stub  # noqa: E402
from wire.helpers import job_spec  # noqa: E402
from wire.proxy import FAULTS, Fault, Plan, creating, everything, proxying  # noqa: E402

from finetune_sdk import job as job_module  # noqa: E402
from finetune_sdk.errors import FineTuneError  # noqa: E402
from finetune_sdk.registry import standing_in  # noqa: E402
from finetune_sdk.spec import JobSpec  # noqa: E402
from finetune_sdk.store import JobStore  # noqa: E402

STEPS = ("intent", "uploading", "upload sent", "uploaded", "posting", "post sent", "bound")
"""Where a submitter can be killed: right after each thing that it does."""
DIALECTS = ("openai", "azure-v1", "azure-2024-10-21")
ROUNDS = 12
"""Processes that may try to finish one submission."""


@dataclass
class Outcome:
    """What one run came to."""

    seed: int
    kills: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    created: int = 0
    alive: int = 0
    started: int = 0
    """Jobs beyond the first that got as far as costing something."""
    known: bool = False
    errors: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        return self.alive == 1 and self.known and self.started == 0


def warm_up() -> None:
    """Load once what every child would load for itself."""
    token_count()
    client = openai.OpenAI(api_key="none")
    _ = client.files, client.models, client.uploads, client.fine_tuning.jobs.checkpoints
    for dialect in DIALECTS:
        if contract.available():
            contract.contract(dialect)


def failpoint(chosen: str | None, reached: str) -> None:
    """Die here, as `kill -9` would have it, if this is the step."""
    if chosen == reached:
        os.kill(os.getpid(), signal.SIGKILL)


def arm(chosen: str | None) -> None:
    """Put the failpoints between the steps of the procedure. Only ever called in a child."""
    save, start = journals.Journal.save, journals.start
    upload, create = server_module.Server.upload, server_module.Server.create
    bind = JobStore.bind

    def saved(self: journals.Journal, **changes: Any) -> journals.Journal:
        new = save(self, **changes)
        for key, step in (("files", "uploaded"), ("uploading", "uploading"), ("posts", "posting")):
            if key in changes:
                failpoint(chosen, step)
        return new

    def started(*args: Any, **kwargs: Any) -> journals.Journal:
        new = start(*args, **kwargs)
        failpoint(chosen, "intent")
        return new

    def after(deed: Callable[..., Any], step: str) -> Callable[..., Any]:
        def done(*args: Any, **kwargs: Any) -> Any:
            try:
                return deed(*args, **kwargs)
            finally:
                failpoint(chosen, step)

        return done

    journals.Journal.save, journals.start = saved, started  # type: ignore[method-assign]
    server_module.Server.upload = after(upload, "upload sent")  # type: ignore[method-assign]
    server_module.Server.create = after(create, "post sent")  # type: ignore[method-assign]
    JobStore.bind = after(bind, "bound")  # type: ignore[method-assign]


def in_child(deed: Callable[[], None], chosen: str | None) -> int:
    """Run in a process of its own; its wait status."""
    pid = os.fork()
    if pid == 0:
        try:
            arm(chosen)
            deed()
            os._exit(0)
        except FineTuneError as exc:
            os.write(2, f"  {type(exc).__name__}: {exc}\n".encode() if os.environ.get("VERBOSE") else b"")
            os._exit(1)
        except BaseException as exc:  # noqa: BLE001 - a child must not run on into the parent's code
            os.write(2, f"  {type(exc).__name__}: {exc}\n".encode())
            os._exit(3)
    return os.waitpid(pid, 0)[1]


def spec_for(dialect: str, folder: Path, port: int, timeout_s: float) -> JobSpec:
    provider = "openai" if dialect == "openai" else "azure"
    spec = job_spec(folder, "", provider=provider)
    where = (
        {"base_url": f"http://127.0.0.1:{port}/v1"}
        if provider == "openai"
        else {"endpoint": f"http://127.0.0.1:{port}", "api": dialect.removeprefix("azure-")}
    )
    options = {**where, "reconcile_wait_s": 0.05, "timeout_s": timeout_s}
    return spec.model_copy(update={"options": {provider: options}, "model": "a-model"})


def one_run(seed: int, folder: Path, timeout_s: float) -> Outcome:
    rng = random.Random(seed)
    dialect = rng.choice(DIALECTS)
    outcome = Outcome(seed)
    service = stub.Service(
        dialect=stub.DIALECTS[dialect],
        list_lag=rng.choice((0, 0, 1, 2)),
        drops_metadata=rng.random() < 0.3,
        script=("queued",),
    )
    plan = Plan(faults=_faults(rng), concerns=creating if rng.random() < 0.7 else everything)
    with stub.serving(service) as running, proxying(running.port, plan) as port:
        kind = OpenAIProvider if dialect == "openai" else AzureProvider
        home, spec = folder / "home", spec_for(dialect, folder, port, timeout_s)
        with standing_in(kind.name, lambda home: kind(home=home)):
            _drive(rng, home, spec, outcome)
        while plan.on_their_way:  # what was delayed arrives
            time.sleep(0.05)
        for _ in range(4):  # a watched job is looked at again and again; the list may lag behind
            job_module.FineTuneJob.list(home=home)[0].refresh()
        _judge(service, home, outcome)
        outcome.faults = plan.hits
    return outcome


def _faults(rng: random.Random) -> list[Fault | None]:
    usual = [one for name, one in FAULTS.items() if name != "out of quota"]
    return [rng.choice([None, *usual]) for _ in range(rng.choice((0, 1, 1, 2)))]


def _drive(rng: random.Random, home: Path, spec: JobSpec, outcome: Outcome) -> None:
    chosen = rng.choice([None, *STEPS])
    status = in_child(partial(_submitted, spec, home), chosen)
    for _ in range(ROUNDS):
        if os.WIFSIGNALED(status):
            outcome.kills.append(str(chosen))
        elif os.WEXITSTATUS(status) == 3:
            outcome.errors.append("a submitter crashed")
        job = JobStore(home).jobs()[0]
        if job.ref is not None:
            return
        if job.status.terminal:  # it ended with a clear refusal: nothing may be upstream
            outcome.errors.append(job.error or "")
            return
        chosen, again = rng.choice([None, None, *STEPS]), job_module.FineTuneJob.attach(job.id, home=home)
        status = in_child(partial(_reconciled, again), chosen)


def _submitted(spec: JobSpec, home: Path) -> None:
    job_module.FineTuneJob.submit(spec, home=home)


def _reconciled(job: job_module.FineTuneJob) -> None:
    job.reconcile()


def _judge(service: stub.Service, home: Path, outcome: Outcome) -> None:
    job = JobStore(home).jobs()[0]
    outcome.created, outcome.alive = len(service.jobs), len(service.alive)
    outcome.started = sum(one["status"] in ("running", "succeeded") for one in service.jobs.values()) - 1
    outcome.started = max(0, outcome.started)
    ids = [one["id"] for one in service.alive]
    outcome.known = job.ref is not None and ids == [job.ref.rpartition("#")[2]]
    if job.status.terminal and not service.alive:  # refused and nothing upstream: as sound as one job and one name
        outcome.alive, outcome.known = 1, True


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--timeout", type=float, default=1.0, help="seconds; more for a machine that is slow or busy")
    arguments = parser.parse_args()
    os.environ |= {"OPENAI_API_KEY": stub.KEY, "AZURE_OPENAI_API_KEY": stub.KEY}
    logging.getLogger("finetune_providers").setLevel(logging.ERROR)
    warm_up()
    started, outcomes = time.monotonic(), []
    for seed in range(arguments.seed, arguments.seed + arguments.runs):
        with tempfile.TemporaryDirectory() as folder:
            outcome = one_run(seed, Path(folder), arguments.timeout)
        outcomes.append(outcome)
        if not outcome.sound or outcome.errors:
            print(json.dumps(outcome.__dict__), file=sys.stderr)  # noqa: T201
    kills = Counter(step for one in outcomes for step in one.kills)
    faults = Counter(name for one in outcomes for name in one.faults if name != "none")
    print(  # noqa: T201 - it is a command
        json.dumps(
            {
                "runs": len(outcomes),
                "sound": sum(one.sound for one in outcomes),
                "kills": dict(sorted(kills.items())),
                "faults": dict(sorted(faults.items())),
                "surplus_cancelled": sum(one.created - 1 for one in outcomes if one.created > 1),
                "refused": sum(bool(one.errors) for one in outcomes),
                "seconds": round(time.monotonic() - started, 1),
            }
        )
    )
    return 0 if all(one.sound for one in outcomes) else 1


if __name__ == "__main__":
    raise SystemExit(main())
