# pyright: basic
"""Jobs of the stand-in: each look at one moves it along its script."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from wire.stub_files import Files
from wire.stub_state import TERMINAL, Refused, Request, page


class Jobs(Files):
    """Creates, lists, steers."""

    def _create_job(self, request: Request) -> tuple[int, Any]:
        body = request.body
        if self.refuse_create is not None:
            raise self.refuse_create
        if self.takes is not None and not body.keys() <= self.takes:
            raise Refused(400, f"unknown fields: {sorted(body.keys() - self.takes)}")
        if self.one_at_a_time and any(job["status"] not in TERMINAL for job in self.jobs.values()):
            raise Refused(409, "A training job is already running")
        for role in ("training_file", "validation_file"):
            if body.get(role) and body[role] not in self.files:
                raise Refused(400, f"invalid {role}: {body[role]}", code="invalid_file", param=role)
            if body.get(role) and self.files[body[role]]["status"] not in ("processed", "uploaded"):
                raise Refused(400, "File not ready", param=role)
        job_id, script = f"ftjob-{next(self._ids):08d}", self.scripts.get(body["model"], self.script)
        job = {
            "id": job_id, "object": "fine_tuning.job", "created_at": self._now(), "model": body["model"],
            "training_file": body["training_file"], "validation_file": body.get("validation_file"),
            "status": script[0], "fine_tuned_model": None, "finished_at": None, "organization_id": "org-test",
            "hyperparameters": {"n_epochs": "auto"}, "result_files": [], "seed": body.get("seed", 42), "error": None,
            "trained_tokens": None, "metadata": body.get("metadata") or {}, "method": body.get("method"),
            "user_provided_suffix": body.get("suffix"), "integrations": body.get("integrations"),
        }  # fmt: skip
        if self.drops_metadata:
            job["metadata"] = {}
        self.jobs[job_id], self.events[job_id] = job, []
        self._scripts[job_id], self._lag[job_id] = list(script[1:]), self.list_lag
        if not self._rows_are_json(body["training_file"]):
            self._scripts[job_id] = ["failed"]
        self._say(job_id, "Created fine-tuning job")
        return self.dialect.created, self._shown(job)

    def _rows_are_json(self, file_id: str) -> bool:
        lines = self.content.get(file_id, b"").removeprefix(b"\xef\xbb\xbf").splitlines()
        if file_id in self.content and len(lines) < 10:
            return False
        try:
            return all(isinstance(json.loads(line), dict) for line in lines)
        except ValueError:
            return False

    def _shown(self, job: Mapping[str, Any]) -> dict[str, Any]:
        shown = {**job, "status": self.dialect.words.get(job["status"], job["status"])}
        if not self.dialect.metadata:
            for key in ("metadata", "method", "user_provided_suffix", "integrations", "organization_id"):
                del shown[key]
            shown = {key: value for key, value in shown.items() if value is not None}
            shown["hyperparameters"] = {}
        return shown

    def _get_job(self, _request: Request, job_id: str) -> tuple[int, Any]:
        job = self._job(job_id)
        shown = self._shown(job)
        self.advance(job)
        return 200, shown

    def _job(self, job_id: str) -> dict[str, Any]:
        if job_id not in self.jobs:
            raise Refused(404, f"Could not find fine tune: {job_id}", code="fine_tune_not_found", param="fine_tune_id")
        return self.jobs[job_id]

    def advance(self, job: dict[str, Any]) -> None:
        """One step along the job's script."""
        script = self._scripts[job["id"]]
        if job["status"] in TERMINAL or (job["status"] == "paused" and not script) or not script:
            return
        job["status"] = script.pop(0)
        self._say(job["id"], f"The job is {job['status']}")
        if job["status"] == "running":
            data = {"step": 1, "train_loss": 1.5, "train_mean_token_accuracy": 0.5}
            self._say(job["id"], "Step 1/3: training loss=1.50", kind="metrics", data=data)
        if job["status"] == "failed":
            job.update(error=dict(self.failure), finished_at=self._now())
        if job["status"] == "succeeded":
            suffix = job["user_provided_suffix"] or ""
            csv = b"step,train_loss,valid_loss\n1,1.5,1.7\n2,0.9,\n3,0.5,0.8\n"
            result = self._store_file("results.csv", base64.b64encode(csv), "fine-tune-results")
            job.update(
                fine_tuned_model=f"ft:{job['model']}:test:{suffix}:abc",
                finished_at=self._now(),
                trained_tokens=1234,
                result_files=[result["id"]],
            )

    def _say(self, job_id: str, message: str, *, kind: str = "message", data: Any = None) -> None:
        one = {
            "object": "fine_tuning.job.event", "id": f"ftevent-{next(self._ids):08d}", "created_at": self.clock,
            "level": "info", "message": message, "type": kind, "data": data or {},
        }  # fmt: skip
        if not self.dialect.events_have_ids:
            del one["id"]
        self.events[job_id].append(one)

    def _list_jobs(self, request: Request) -> tuple[int, Any]:
        shown: list[Any] = []
        for job in reversed(self.jobs.values()):
            if self._lag[job["id"]] > 0:
                self._lag[job["id"]] -= 1
            else:
                shown.append(self._shown(job))
        return 200, page(shown, request.query)

    def _cancel_job(self, _request: Request, job_id: str) -> tuple[int, Any]:
        return self._steer(job_id, "cancelled", ("validating_files", "queued", "running", "paused"))

    def _pause_job(self, _request: Request, job_id: str) -> tuple[int, Any]:
        return self._steer(job_id, "paused", ("running",))

    def _resume_job(self, _request: Request, job_id: str) -> tuple[int, Any]:
        return self._steer(job_id, "queued", ("paused",))

    def _steer(self, job_id: str, status: str, allowed: tuple[str, ...]) -> tuple[int, Any]:
        job = self._job(job_id)
        if job["status"] not in allowed:
            raise Refused(400, f"Job {job_id} is {job['status']}")
        if status == "queued":
            self._scripts[job_id] = list(self.scripts.get(job["model"], self.script)[-2:])
        elif status == "paused":
            self._scripts[job_id] = []
        job["status"] = status
        self._say(job_id, f"The job is {status}")
        return 200, self._shown(job)

    def _delete_job(self, _request: Request, job_id: str) -> tuple[int, Any]:
        self._job(job_id)
        del self.jobs[job_id]
        return 204, b""

    def _list_events(self, request: Request, job_id: str) -> tuple[int, Any]:
        self._job(job_id)
        return 200, page(list(reversed(self.events[job_id])), request.query)

    def _list_checkpoints(self, request: Request, job_id: str) -> tuple[int, Any]:
        job = self._job(job_id)
        steps = (20, 10) if job["status"] == "succeeded" else ()
        shown = [
            {
                "id": f"ftckpt-{job_id}-{step}", "object": "fine_tuning.job.checkpoint", "created_at": self.clock,
                "fine_tuned_model_checkpoint": f"{job['fine_tuned_model']}:ckpt-step-{step}", "step_number": step,
                "fine_tuning_job_id": job_id, "metrics": {"step": step, "train_loss": 1 / step},
            }
            for step in steps
        ]  # fmt: skip
        return 200, page(shown, request.query, ids=True)

    def _copy_checkpoint(self, request: Request, job_id: str, checkpoint: str) -> tuple[int, Any]:
        self._job(job_id)
        if request.headers.get("aoai-copy-ft-checkpoints") != "preview":
            raise Refused(404, "copying is a preview")
        if request.method == "POST":
            self.copies[checkpoint] = request.body
        if checkpoint not in self.copies:
            raise Refused(404, f"no copy of {checkpoint}")
        return 200, {"checkpointedModelName": checkpoint, "status": "Completed"}
