"""One server through the vendor's own client: requests in, plain JSON objects out, exceptions translated.

Imports the vendor SDK: only to be imported once a request is about to be made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import NoneType
from typing import Any, Final, cast

import openai
from openai.pagination import SyncCursorPage, SyncPage
from openai.types import FileObject, Model, ModelDeleted, Upload
from openai.types.chat import ChatCompletion
from openai.types.fine_tuning import FineTuningJob
from openai.types.fine_tuning.alpha import GraderRunResponse, GraderValidateResponse
from openai.types.uploads import UploadPart

from finetune_sdk.errors import (
    AuthFailed,
    JobNotFound,
    PermissionRefused,
    ProviderError,
    QuotaExceeded,
    SpecError,
    Throttled,
    Unreachable,
)

from .map import Json
from .questions import Question, calls_text
from .translate import expect, translated
from .wire import Wire

PART_BYTES = 16 * 1024 * 1024
"""Of a multi-part upload: 64 MB are allowed, a part is held in memory."""
PURPOSE: Final = "fine-tune"
MIME = "application/jsonl"
_PAGE = 100
THOUGHTS = 4096
"""Room for what a reasoning model thinks before it answers; it counts as output."""
_NO_ANSWER = frozenset({"content_filter", "content_policy_violation", "invalid_prompt"})
"""Codes of refusals that are about one question: Azure's content filter, OpenAI's usage policies."""


@dataclass(frozen=True, slots=True)
class Server:
    """The verbs of the fine-tuning API. `client` decides about retries; every verb but `create` may be repeated."""

    client: openai.OpenAI
    wire: Wire
    provider: str

    def patient(self) -> Server:
        """The same server, lost connections, 429 and 5xx being retried a few times. Never for `create`."""
        return Server(self.client.with_options(max_retries=3), self.wire, self.provider)

    # --- files

    def upload(self, path: Path, name: str) -> Json:
        """Upload a training file under a name. Streams: memory does not grow with the file."""
        size = path.stat().st_size
        with translated(self.provider, f"uploading {name}"):
            if size > self.wire.file_bytes_max and self.wire.uploads:
                return self._upload_in_parts(path, name, size)
            with path.open("rb") as handle:
                extra: Any = {}
                if self.wire.file_expiry_s is not None:
                    extra["expires_after"] = {"anchor": "created_at", "seconds": self.wire.file_expiry_s}
                answer = self.client.files.create(file=(name, handle, MIME), purpose=PURPOSE, **extra)
            return self._json(answer, FileObject, f"uploading {name}")

    def _upload_in_parts(self, path: Path, name: str, size: int) -> Json:
        what, uploads = f"uploading {name} in parts", self.client.uploads
        started = self._json(uploads.create(filename=name, purpose=PURPOSE, bytes=size, mime_type=MIME), Upload, what)
        parts: list[str] = []
        md5 = hashlib.md5(usedforsecurity=False)
        with path.open("rb") as handle:
            while piece := handle.read(PART_BYTES):
                md5.update(piece)
                part = self._json(uploads.parts.create(started["id"], data=piece), UploadPart, what)
                parts.append(part["id"])
        done = self._json(uploads.complete(started["id"], part_ids=parts, md5=md5.hexdigest()), Upload, what)
        file = done.get("file")
        if not isinstance(file, dict):
            raise ProviderError(f"[{self.provider}] {what}: the finished upload names no file. Nothing was started.")
        return cast("Json", file)

    def file(self, file_id: str) -> Json:
        with translated(self.provider, f"reading file {file_id}"):
            return self._json(self.client.files.retrieve(file_id), FileObject, "reading a file")

    def files_named(self, name: str) -> list[Json]:
        """The files of exactly this name: what a lost upload reply left behind."""
        with translated(self.provider, "listing files"):
            if self.wire.filters_files:
                items = _pages(partial(self.client.files.list, purpose=PURPOSE, order="desc", limit=_PAGE))
            else:
                items = iter(_listing(partial(self.client.files.list, purpose=PURPOSE)).data or [])
            files = (expect(one, FileObject, self.provider, "listing files").to_dict(mode="json") for one in items)
            return [one for one in files if one.get("filename") == name]

    def content(self, file_id: str) -> bytes:
        with translated(self.provider, f"downloading file {file_id}"):
            return self.client.files.content(file_id).read()

    def import_file(self, url: str, name: str) -> Json:
        """Let the service fetch a file itself (Azure, dated generation). The URL may hold a secret: it is not kept."""
        body = {"purpose": PURPOSE, "filename": name, "content_url": url}
        with translated(self.provider, f"importing {name}"):
            answer = self.client.post("/files/import", body=body, cast_to=FileObject)
            return self._json(answer, FileObject, f"importing {name}")

    # --- jobs

    def create(self, body: Mapping[str, Any], token: str) -> Json:
        """POST the job, once, whatever happens. Raises the vendor SDK's own exceptions: the submission judges them."""
        known = {key: body[key] for key in ("model", "training_file")}
        answer = self.client.with_options(max_retries=0).fine_tuning.jobs.create(
            **known,
            extra_body={key: value for key, value in body.items() if key not in known},
            extra_headers={"Idempotency-Key": token},
        )
        return self._json(answer, FineTuningJob, "creating the job")

    def job(self, job_id: str) -> Json:
        with translated(self.provider, f"reading job {job_id}"):
            return self._json(self.client.fine_tuning.jobs.retrieve(job_id), FineTuningJob, "reading a job")

    def jobs(self) -> Iterator[Json]:
        """All jobs, newest first, a page at a time."""
        with translated(self.provider, "listing jobs"):
            for one in _pages(partial(self.client.fine_tuning.jobs.list, limit=_PAGE)):
                yield expect(one, FineTuningJob, self.provider, "listing jobs").to_dict(mode="json")

    def cancel(self, job_id: str) -> Json:
        with translated(self.provider, f"cancelling job {job_id}"):
            return self._json(self.client.fine_tuning.jobs.cancel(job_id), FineTuningJob, "cancelling a job")

    def pause(self, job_id: str) -> Json:
        with translated(self.provider, f"pausing job {job_id}"):
            return self._json(self.client.fine_tuning.jobs.pause(job_id), FineTuningJob, "pausing a job")

    def resume(self, job_id: str) -> Json:
        with translated(self.provider, f"resuming job {job_id}"):
            return self._json(self.client.fine_tuning.jobs.resume(job_id), FineTuningJob, "resuming a job")

    def delete(self, job_id: str) -> None:
        """Delete a job at the vendor (Azure, dated generation)."""
        with translated(self.provider, f"deleting job {job_id}"):
            self.client.delete(f"/fine_tuning/jobs/{job_id}", cast_to=NoneType)

    def copy_checkpoint(self, job_id: str, checkpoint: str, *, destination: str, region: str) -> Json:
        """Start copying a checkpoint to another account (Azure v1, preview)."""
        body = {"destinationResourceId": destination, "region": region}
        with translated(self.provider, f"copying checkpoint {checkpoint}"):
            answer = self.client.post(_copy(job_id, checkpoint), body=body, cast_to=object, options=_COPY_PREVIEW)
            return cast("Json", expect(answer, dict, self.provider, "copying a checkpoint"))

    def checkpoint_copy(self, job_id: str, checkpoint: str) -> Json:
        """How the copy of a checkpoint stands (Azure v1, preview)."""
        with translated(self.provider, f"looking at the copy of checkpoint {checkpoint}"):
            answer = self.client.get(_copy(job_id, checkpoint), cast_to=object, options=_COPY_PREVIEW)
            return cast("Json", expect(answer, dict, self.provider, "looking at a checkpoint's copy"))

    def events(self, job_id: str) -> Iterator[Json]:
        """The job's events in the server's order, a page at a time."""
        with translated(self.provider, f"reading the events of job {job_id}"):
            for one in _pages(partial(self.client.fine_tuning.jobs.list_events, job_id, limit=_PAGE)):
                yield cast("Json", one.to_dict(mode="json"))

    def checkpoints(self, job_id: str) -> list[Json]:
        with translated(self.provider, f"reading the checkpoints of job {job_id}"):
            pages = _pages(partial(self.client.fine_tuning.jobs.checkpoints.list, job_id, limit=_PAGE))
            return [cast("Json", one.to_dict(mode="json")) for one in pages]

    def model(self, model: str) -> Json:
        """The base model as the vendor describes it. Raises `PermissionRefused` when this account does not see it."""
        try:
            return self._model(model)
        except JobNotFound as exc:
            raise PermissionRefused(str(exc)) from exc

    def _model(self, model: str) -> Json:
        with translated(self.provider, f"reading model {model}"):
            return self._json(self.client.models.retrieve(model), Model, "reading a model")

    def models(self) -> list[Json]:
        """Every model this account can call."""
        with translated(self.provider, "listing models"):
            items: list[Any] = _listing(self.client.models.list, SyncPage).data or []
            return [self._json(one, Model, "listing models") for one in items]

    def served(self, model: str) -> Json | None:
        """The model as the server describes it; None when it has no such model."""
        try:
            return self._model(model)
        except JobNotFound:
            return None

    def delete_model(self, model: str) -> None:
        """Delete a tuned model, for good. Nothing happens when it is not there."""
        try:
            with translated(self.provider, f"deleting model {model}"):
                expect(self.client.models.delete(model), ModelDeleted, self.provider, "deleting a model")
        except JobNotFound:
            return

    # --- asking models

    def chat(self, model: str, asked: Question, *, max_tokens: int, reasoning: bool = False) -> str | None:
        """A model's answer, tool calls as text; None when the service refuses to answer this question. One request."""
        limit = {self.wire.max_tokens_key: max_tokens + (THOUGHTS if reasoning else 0)}
        body: Json = {**limit, **({} if reasoning else {"temperature": 0})}
        body |= {"tools": list(asked.tools)} if asked.tools else {}
        with translated(self.provider, f"asking {model}"):
            try:
                answer: object = self.client.chat.completions.create(
                    model=model, messages=cast("Any", list(asked.messages)), extra_body=body
                )
            except openai.BadRequestError as exc:
                if exc.code in _NO_ANSWER:
                    return None
                raise
        found = self._json(answer, ChatCompletion, "asking a model")
        choices: list[Json] = found.get("choices") or [{}]
        message: Json = choices[0].get("message") or {}
        asked_for: list[Json] = message.get("tool_calls") or []
        calls = [(str(one["function"]["name"]), str(one["function"]["arguments"])) for one in asked_for]
        return calls_text(calls) if calls else str(message.get("content") or "")

    # --- graders

    def validate_grader(self, grader: Json) -> None:
        what = "validating the grader"
        with self._grading(what):
            answer = self.client.fine_tuning.alpha.graders.validate(grader=cast("Any", grader))
            expect(answer, GraderValidateResponse, self.provider, what)

    def run_grader(self, grader: Json, *, sample: str, item: Mapping[str, Any]) -> float:
        what = "running the grader"
        with self._grading(what):
            answer = self.client.fine_tuning.alpha.graders.run(
                grader=cast("Any", grader), model_sample=sample, item=dict(item)
            )
        result = self._json(answer, GraderRunResponse, what)
        metadata: Json = result.get("metadata") or {}
        flags: Json = metadata.get("errors") or {}
        wrong = sorted(name for name, value in flags.items() if value is True or (isinstance(value, str) and value))
        if wrong:
            raise SpecError(f"[{self.provider}] {what}: it fails on this sample: {', '.join(wrong)}")
        return float(result["reward"])

    @contextmanager
    def _grading(self, what: str) -> Generator[None, None, None]:
        """A refusal here is about the description of the job, not about the server."""
        try:
            with translated(self.provider, what):
                yield
        except (AuthFailed, PermissionRefused, Throttled, QuotaExceeded, Unreachable, JobNotFound):
            raise
        except ProviderError as exc:
            raise SpecError(str(exc)) from exc

    def _json(self, answer: object, kind: type[Any], what: str) -> Json:
        """The answer as it came, extra fields included."""
        return cast("Json", expect(answer, kind, self.provider, what).to_dict(mode="json"))


_COPY_PREVIEW: Final[Any] = {"headers": {"aoai-copy-ft-checkpoints": "preview"}}


def _copy(job_id: str, checkpoint: str) -> str:
    return f"/fine_tuning/jobs/{job_id}/checkpoints/{checkpoint}/copy"


_NO_LISTING = (
    "the server answered a listing with something else: check the endpoint (`base_url`), and that no login page "
    "stands before it"
)


def _listing(ask: Callable[[], Any], kind: type[Any] = SyncCursorPage) -> Any:
    """A page of a listing. Openai 3.52 fails over a web page in place of a listing with an AttributeError."""
    try:
        page = ask()
    except AttributeError as exc:
        raise ProviderError(_NO_LISTING) from exc
    if not isinstance(page, kind):
        raise ProviderError(_NO_LISTING)
    return page


def _pages(ask: Callable[[], Any]) -> Iterator[Any]:
    """Every item of a listing. A server that answers the same page again ends it, instead of going on for ever."""
    page: Any = _listing(ask)
    seen: set[str] = set()
    while True:
        items: list[Any] = page.data or []
        ids = [str(getattr(one, "id", "")) for one in items]
        if ids and all(one in seen for one in ids):
            return
        seen.update(one for one in ids if one)
        yield from items
        if not page.has_next_page():
            return
        page = _listing(page.get_next_page)
