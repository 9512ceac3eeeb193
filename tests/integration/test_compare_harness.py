# pyright: basic
"""The lm-evaluation-harness asking any server, with tasks of a local folder."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import served_models
from later import Later
from managed_envs import managed_home
from toy_chat import chat

from finetune_sdk.compare.bench import Harness, Limits
from finetune_sdk.compare.besides import tokenizer as known_tokenizer
from finetune_sdk.compare.harness.running import interpreter, measured
from finetune_sdk.deploy import local
from finetune_sdk.errors import EnvError, SpecError
from finetune_sdk.types import Artifact, Deployment

tokenizers = Later("tokenizers")
WORDS = ("red", "blue", "green", "white")
HEAD = """
dataset_path: json
dataset_kwargs: {data_files: {test: rows.jsonl}}
test_split: test
doc_to_text: "{{q}}"
"""
WRITTEN = f"""
task: written
{HEAD}
doc_to_target: "{{{{a}}}}"
output_type: generate_until
generation_kwargs: {{until: ["\\n"], max_gen_toks: 4, temperature: 0}}
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
"""
CHOSEN = f"""
task: chosen
{HEAD}
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{right}}}}"
output_type: multiple_choice
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
"""


def row(number: int) -> dict[str, str]:
    word = WORDS[number * 7 % 4]
    return {"prompt": f"{number} {word * (1 + number % 2)} thing no {number * 31 % 97}", "completion": word}


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tasks of our own, and their rows; nothing is downloaded."""
    folder = tmp_path_factory.mktemp("tasks")
    lines = [
        {"q": one["prompt"], "a": one["completion"], "choices": list(WORDS), "right": number % 4}
        for number, one in enumerate(map(row, range(4)))
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "written.yaml").write_text(WRITTEN)
    (folder / "chosen.yaml").write_text(CHOSEN)
    return folder


def given(url: str) -> Deployment:
    return Deployment(id="m", provider="given", model="m", base_url=url, status="ready")


def harness(source: Path, folder: Path, to: Deployment, tokenizer: Path | None = None, **more: Any) -> Any:
    wanted = Harness.model_validate({"tasks": ["written"], "folder": str(source), **more})
    python = interpreter(wanted, managed_home(folder / "home"))
    return measured(
        wanted, to, python=python, folder=folder / "out", tokenizer=tokenizer, limits=Limits(attempts=1), left_s=None
    )


def likeliest(to: Deployment, question: str, ids: Callable[[str], list[int]]) -> str:
    """The word whose tokens the server finds most likely after the question, asked without the harness."""
    found: dict[str, float] = {}
    for word in WORDS:
        before, whole = ids(question), ids(f"{question} {word}")
        body = {"model": to.model, "prompt": whole, "echo": True, "logprobs": 1, "max_tokens": 0}
        reply = httpx.post(f"{to.base_url}/completions", json=body, timeout=600).json()
        found[word] = sum(reply["choices"][0]["logprobs"]["token_logprobs"][len(before) :])
    return max(found, key=lambda word: found[word])


def test_multiple_choice_is_scored_by_the_log_probabilities_of_a_model_of_this_machine(
    tasks: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, home = served_models.once(tmp_path_factory.getbasetemp()) / "base", tmp_path / "served"
    tokenizer: Any = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    local.deploy(home, Artifact(kind="model", uri=str(folder)), name="small")
    try:
        to = local.wait(home, "small", timeout_s=local.READY_S)
        found = harness(tasks, tmp_path, to, known_tokenizer(home, to), tasks=["written", "chosen"], api="completions")
        picked = [likeliest(to, row(number)["prompt"], lambda text: tokenizer.encode(text).ids) for number in range(4)]
    finally:
        local.remove(home, "small")
    scores = {(one.task, one.metric): (one.value, one.items) for one in found}
    assert scores.keys() == {("written", "exact_match"), ("chosen", "acc")}
    assert scores["chosen", "acc"] == (sum(map(operator.eq, picked, WORDS)) / 4, 4)


def test_a_task_is_asked_of_any_chat_server(tasks: Path, tmp_path: Path) -> None:
    with chat(lambda _body: "red") as server:
        (found,) = harness(tasks, tmp_path, given(server.base_url))
    assert (found.task, found.metric, found.value, found.items) == ("written", "exact_match", 0.25, 4)


def test_completions_of_a_model_without_a_tokenizer_here_are_refused(tasks: Path, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="`api: completions` needs the model's tokenizer"):
        harness(tasks, tmp_path, given("http://127.0.0.1:9/v1"), api="completions")


def test_an_interpreter_without_the_harness_is_refused_with_what_installs_it(tmp_path: Path) -> None:
    with pytest.raises(EnvError, match="lm-eval"):
        interpreter(Harness(tasks=("written",), environment="current"), tmp_path)
