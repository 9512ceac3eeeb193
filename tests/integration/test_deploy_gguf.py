# pyright: basic
"""A GGUF file, exported and served by llama.cpp: it answers as the adapter it was made of, through the same front."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest
import served_models

from finetune_sdk.deploy import fetching, local
from finetune_sdk.deploy.asked import Serving
from finetune_sdk.deploy.export import export
from finetune_sdk.types import Deployment

pytest.importorskip("xllamacpp")
pytest.importorskip("gguf")
ASKED: list[Any] = [{"role": "user", "content": "I smile about number 7"}]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return served_models.once(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def served(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    home = tmp_path_factory.mktemp("home")
    made = export(home, models / "quiet", to="gguf", out=home / "out", quantizations=["f32"])
    assert made.verdicts[-1]["equal_tokens"] == made.verdicts[-1]["tokens"]
    artifact = fetching.named(str(home / "out"))
    yield local.deploy(home, artifact, name="quiet", serving=Serving(threads=1))
    local.remove(home, "quiet")


@pytest.fixture
def client(served: Deployment) -> openai.OpenAI:
    return openai.OpenAI(base_url=served.base_url, api_key="none", max_retries=0)


def ask(client: openai.OpenAI, **options: Any) -> Any:
    asked: dict[str, Any] = {"model": "quiet", "messages": ASKED, "temperature": 0, "max_tokens": 12, **options}
    return client.chat.completions.create(**asked)


def text(client: openai.OpenAI, **options: Any) -> str:
    return ask(client, **options).choices[0].message.content


def whole(text: str) -> str:
    """Without characters of which only a part was said: this untrained model says many, and the server keeps them."""
    return text.replace("\ufffd", "").strip()


def test_greedy_answers_are_those_of_plain_generate(client: openai.OpenAI, models: Path) -> None:
    from peft_models import answers, merged  # noqa: PLC0415 - torch

    lines = [{"prompt": [{"role": "user", "content": f"I smile about number {i}" + " sun" * i}]} for i in range(6)]
    expected = answers(merged(models / "whole"), models / "base", lines)
    with ThreadPoolExecutor(6) as pool:
        said = list(pool.map(lambda line: text(client, messages=line["prompt"], max_tokens=4).strip(), lines))

    assert [whole(one) for one in said] == [whole(one) for one in expected]


def test_streams_stops_and_counts_are_the_fronts(client: openai.OpenAI) -> None:
    whole = ask(client)
    chunks = list(ask(client, stream=True, stream_options={"include_usage": True}))
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    cut = text(client, stop=[whole.choices[0].message.content[3:6]])

    assert said == whole.choices[0].message.content
    assert cut == said[: said.index(said[3:6])]
    assert chunks[-1].usage == whole.usage
    assert whole.usage.completion_tokens <= 12


def test_logprobs_are_those_of_the_tokens_that_were_said(client: openai.OpenAI) -> None:
    choice = ask(client, logprobs=True, top_logprobs=2).choices[0]
    told = choice.logprobs.content

    assert told
    assert all(one.logprob == one.top_logprobs[0].logprob >= one.top_logprobs[1].logprob for one in told)


def test_a_json_schema_is_kept_to_and_a_seed_repeats(client: openai.OpenAI) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "sure", "schema": {"type": "boolean"}}}
    drawn = [text(client, temperature=1.5, seed=4) for _ in range(2)]

    assert text(client, response_format=wanted, max_tokens=200).strip() in ("true", "false")
    assert drawn[0] == drawn[1]


def test_what_it_cannot_do_is_refused_by_name(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match=r"echo is not supported by the engine 'llama.cpp'"):
        client.completions.create(model="quiet", prompt="the sun", echo=True, logprobs=1, max_tokens=0)


def test_a_client_that_hangs_up_frees_its_place(client: openai.OpenAI) -> None:
    stream = ask(client, stream=True, max_tokens=1500)
    next(stream)
    stream.close()

    assert text(client) == text(client)
