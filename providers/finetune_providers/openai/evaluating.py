"""Evaluating the base and the tuned model on the held-out rows, through the chat API. A layer of `OpenAIProvider`.

The rows are kept when the job is submitted, so that later changes of the data do not matter. The answers lie in the
job's folder, `evaluation/`; its `predictions.jsonl` has the rows that a local job's worker writes.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

import msgspec

from finetune_sdk.data import canonical
from finetune_sdk.data.prepare import prepare
from finetune_sdk.errors import WrongStatus
from finetune_sdk.provider import Plan
from finetune_sdk.spec import DataSpec

from .asking import Answers, ask_all
from .inference import held_out_role
from .journal import write_durably
from .map import Json
from .questions import Question, free, question
from .uploads import refuse_changed
from .watching import Watching

if TYPE_CHECKING:
    pass

FOLDER, ROWS, ANSWERS, PREDICTIONS = "evaluation", "rows.jsonl", "answers.jsonl", "predictions.jsonl"


class Evaluating(Watching):
    """The paid part of an evaluation happens once: answers are kept, whoever breaks off."""

    def evaluate(self, ref: str, *, key: str) -> Path:
        folder = self.home / "jobs" / key / FOLDER
        final = folder / PREDICTIONS
        if not (folder / "wanted.json").exists():
            raise WrongStatus(f"job {key} was submitted without `evaluation`: there are no held-out rows to ask about")
        with _alone(folder):
            if not final.exists():
                self._ask(ref, folder)
        self._pointer(ref).parent.mkdir(mode=0o700, exist_ok=True)
        write_durably(self._pointer(ref), key)
        return final

    def _ask(self, ref: str, folder: Path) -> None:
        server, job_id = self.at(ref)
        wanted = cast("Json", json.loads((folder / "wanted.json").read_text("utf-8")))
        tuned = server.patient().job(job_id).get("fine_tuned_model")
        if not tuned:
            raise WrongStatus(f"[{self.name}] job {job_id} has no tuned model yet")
        questions, answers = _questions(folder, wanted), Answers(folder / ANSWERS)
        limit, reasoning = int(wanted["max_new_tokens"]), self.models().find(str(wanted["model"])).reasoning
        with self.asked_models(ref, base=str(wanted["model"]), tuned=str(tuned), wanted=wanted) as models:
            ask_all(
                questions,
                models,
                lambda model, one: server.chat(model, one, max_tokens=limit, reasoning=reasoning),
                answers,
            )
        _write(folder / PREDICTIONS, questions, answers)

    @contextmanager
    def asked_models(self, ref: str, *, base: str, tuned: str, wanted: Json) -> Generator[Mapping[str, str]]:  # noqa: ARG002
        """The names to call while the block runs, by who is asked; here both models answer at once."""
        yield {**({"base": base} if wanted["baseline"] else {}), "tuned": tuned}

    def predictions(self, ref: str) -> Path | None:
        """The predictions on the held-out rows, if they were made."""
        pointer = self._pointer(ref)
        if not pointer.exists():
            return None
        path = self.home / "jobs" / pointer.read_text("utf-8") / FOLDER / PREDICTIONS
        return path if path.exists() else None

    def forget(self, ref: str) -> None:
        self._pointer(ref).unlink(missing_ok=True)
        super().forget(ref)

    def _pointer(self, ref: str) -> Path:
        """What leads from the vendor's job to ours: the file holds our id."""
        return self.home / f"{self.name}-evaluations" / quote(ref, safe="")

    def keep_held_out(self, plan: Plan, folder: Path) -> None:
        """Keep the rows that the evaluation will ask about. Done before anything is sent; once."""
        request = cast("Mapping[str, Any]", plan.request)
        wanted: Json | None = request.get("evaluation")
        if wanted is None or (folder / FOLDER / "wanted.json").exists():
            return
        prepared = prepare(DataSpec.model_validate(request["data"]), method=request["method"])
        refuse_changed(prepared, plan)
        here = folder / FOLDER
        here.mkdir(mode=0o700, parents=True, exist_ok=True)
        role = held_out_role(prepared.rows)
        rows = (example for found, example in prepared.examples() if found == role)
        lines = [canonical.render(example) for example in islice(rows, wanted["max_rows"])]
        (here / ROWS).write_bytes(b"".join(line + b"\n" for line in lines))
        write_durably(here / "wanted.json", json.dumps({**wanted, "model": request["create"]["model"]}))


def _questions(folder: Path, wanted: Json) -> list[Question]:
    with (folder / ROWS).open("rb") as lines:
        rows = [question(canonical.parse(line)) for line in lines]
    return [one for one in rows if one is not None] + [free(prompt) for prompt in wanted["prompts"]]


def _write(path: Path, questions: Sequence[Question], answers: Answers) -> None:
    """Write predictions.jsonl, whole or not at all."""
    lines = (json.dumps(line, ensure_ascii=False) for line in _lines(questions, answers))
    write_durably(path, "".join(f"{line}\n" for line in lines))


def _lines(questions: Sequence[Question], answers: Answers) -> Iterator[Json]:
    for number, one in enumerate(questions):
        yield {
            "row": number,
            "source": None if one.source is None else msgspec.to_builtins(one.source),
            "prompt": list(one.messages),
            "expected": one.expected,
            "base": answers.known.get((number, "base")),
            "tuned": answers.known.get((number, "tuned")),
            "base_nll": None,
            "tuned_nll": None,
            "tokens": None,
        }


@contextmanager
def _alone(folder: Path) -> Generator[None]:
    """One process at a time asks: two would pay twice."""
    with (folder / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
