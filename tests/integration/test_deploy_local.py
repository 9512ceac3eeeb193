# pyright: basic
"""Local deployments: real servers with a tiny model, asked through OpenAI's own client; killed, stopped, restarted."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import served_models

from finetune_sdk.deploy import hub, local
from finetune_sdk.deploy.asked import Serving
from finetune_sdk.deploy.handle import Deployed
from finetune_sdk.errors import AuthFailed, JobNotFound, ProviderError, SpecError
from finetune_sdk.types import Artifact, Deployment
from finetune_sdk.worker import wire
from finetune_sdk.worker.liveness import Process

KEY = "a-key-that-nobody-guesses"
ASKED: list[Any] = [{"role": "user", "content": "I smile about number 7"}]
PATIENCE_S = 300.0


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return served_models.once(tmp_path_factory.getbasetemp())


def adapter(models: Path, name: str) -> Artifact:
    return Artifact(kind="adapter", uri=str(models / name), base_model=str(models / "base"))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def loud(models: Path, home: Path) -> Iterator[Deployment]:
    serving = Serving(threads=1, beside={"quiet": models / "quiet"})
    yield local.deploy(home, adapter(models, "loud"), name="loud", serving=serving)
    local.remove(home, "loud")


@pytest.fixture(scope="module")
def tough(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Deployed, Path]]:
    """A merged model, served alone, and its home; what is done to it in the last tests it may not survive."""
    place = tmp_path_factory.mktemp("tough")
    artifact = Artifact(kind="merged", uri=str(models / "whole"))
    yield Deployed.of(local.deploy(place, artifact, name="tough", serving=Serving(threads=1)), place), place
    if local.deployments(place):
        local.remove(place, "tough")


@pytest.fixture
def client(loud: Deployment) -> openai.OpenAI:
    return openai.OpenAI(base_url=loud.base_url, api_key="none", max_retries=0)


def answer(client: openai.OpenAI, **options: Any) -> Any:
    asked: dict[str, Any] = {"model": "loud", "messages": ASKED, "temperature": 0, "max_tokens": 12, **options}
    return client.chat.completions.create(**asked)


def text(client: openai.OpenAI, **options: Any) -> str:
    return answer(client, **options).choices[0].message.content


def until(claim: Callable[[], bool]) -> None:
    give_up_s = time.monotonic() + PATIENCE_S
    while not claim():
        assert time.monotonic() < give_up_s, "waited too long"
        time.sleep(0.05)


# --- answers


def test_models_are_listed_with_the_base(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["loud", "quiet", "base"]


def test_adapters_over_one_base_answer_differently(client: openai.OpenAI) -> None:
    assert len({text(client, model=name) for name in ("loud", "quiet", "base")}) == 3


def test_a_merged_model_answers_as_its_adapter_does(client: openai.OpenAI, tough: tuple[Deployed, Path]) -> None:
    merged = openai.OpenAI(base_url=tough[0].base_url, api_key="none")

    assert text(merged, model="tough") == text(client, model="quiet")


def test_concurrent_requests_get_the_answers_they_get_alone(client: openai.OpenAI) -> None:
    def ask(number: int) -> str:
        asked = [{"role": "user", "content": f"I smile about number {number}" + ", and the sun shines" * (number % 4)}]
        name = ("loud", "quiet", "base")[number % 3]
        return text(client, model=name, messages=asked, max_tokens=4 + number % 9)

    alone = [ask(number) for number in range(18)]
    with ThreadPoolExecutor(18) as pool:
        assert list(pool.map(ask, range(18))) == alone


def test_a_stream_says_what_the_whole_answer_says(client: openai.OpenAI) -> None:
    chunks = list(answer(client, stream=True, stream_options={"include_usage": True}))
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)

    assert said == text(client)
    assert chunks[-1].usage.completion_tokens == 12
    assert chunks[-2].choices[0].finish_reason == "length"


def pieces(client: openai.OpenAI, **options: Any) -> list[str]:
    chunks = answer(client, stream=True, **options)
    return [said for chunk in chunks for choice in chunk.choices if (said := choice.delta.content)]


def test_a_stream_has_a_piece_for_each_token_unless_the_client_prefers_fewer(client: openai.OpenAI) -> None:
    each = pieces(client)
    fewer = pieces(client, extra_headers={"prefer": "stream-interval=5"})

    assert "".join(fewer) == "".join(each)
    assert fewer[0] == each[0]
    assert len(fewer) <= 4 < len(each)  # of 12 tokens: 1, 5, 5 and what is left; a token may have no text


@pytest.mark.parametrize("given", ["stream-interval=0", "stream-interval=x", "stream-interval=99999", "wait=5"])
def test_a_preference_that_means_nothing_is_ignored(client: openai.OpenAI, given: str) -> None:
    assert pieces(client, extra_headers={"prefer": given}) == pieces(client)


def test_an_answer_ends_before_a_stop_sequence_that_spans_tokens(client: openai.OpenAI) -> None:
    whole = text(client)
    stop = whole[3:6]
    cut = answer(client, stop=[stop, "never said"]).choices[0]

    assert cut.message.content == whole[: whole.index(stop)]
    assert cut.finish_reason == "stop"


def test_the_same_seed_gives_the_same_answers_and_n_gives_different_ones(client: openai.OpenAI) -> None:
    def drawn(seed: int) -> list[str]:
        return [choice.message.content for choice in answer(client, temperature=1.5, seed=seed, n=3).choices]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
    assert len(set(drawn(1))) == 3


def test_a_tiny_nucleus_is_greedy(client: openai.OpenAI) -> None:
    assert text(client, temperature=1.0, top_p=1e-6) == text(client)


def test_logprobs_are_those_of_the_tokens_that_were_said(client: openai.OpenAI) -> None:
    choice = answer(client, logprobs=True, top_logprobs=2).choices[0]
    told = choice.logprobs.content

    assert b"".join(bytes(one.bytes) for one in told).decode("utf-8", "replace") == choice.message.content
    assert all(one.logprob == one.top_logprobs[0].logprob > one.top_logprobs[1].logprob for one in told)


def test_a_forbidden_token_is_not_said(client: openai.OpenAI) -> None:
    first = answer(client, logprobs=True, max_tokens=1).choices[0].logprobs.content[0].token
    ids = range(1100)
    banned = {str(number): -100 for number in ids}
    banned.pop("50")

    assert answer(client, logit_bias=banned, max_tokens=1, logprobs=True).choices[0].logprobs.content[0].token != first


def test_a_json_schema_is_kept_to(client: openai.OpenAI) -> None:
    pytest.importorskip("llguidance")
    schema: dict[str, Any] = {"type": "object", "properties": {"tone": {"enum": ["joy", "fear"]}}, "required": ["tone"]}
    wanted = {
        "type": "json_schema",
        "json_schema": {"name": "tone", "schema": schema},
    }

    assert json.loads(text(client, response_format=wanted, max_tokens=200))["tone"] in ("joy", "fear")


def test_completions_continue_each_prompt(client: openai.OpenAI) -> None:
    both = client.completions.create(model="loud", prompt=["I smile", "the sun"], max_tokens=5, temperature=0, n=1)
    alone = client.completions.create(model="loud", prompt="the sun", max_tokens=5, temperature=0)
    streamed = client.completions.create(
        model="loud", prompt=["I smile", "the sun"], max_tokens=5, temperature=0, stream=True
    )
    said = ["", ""]
    for chunk in streamed:
        said[chunk.choices[0].index] += chunk.choices[0].text

    assert both.choices[1].text == alone.choices[0].text
    assert said == [choice.text for choice in both.choices]
    assert both.usage is not None
    assert both.usage.completion_tokens == 10


def test_greedy_answers_are_those_of_plain_generate(client: openai.OpenAI, models: Path) -> None:
    from peft_models import answers, merged  # noqa: PLC0415 - torch

    lines = [{"prompt": [{"role": "user", "content": f"I smile about number {i}" + " sun" * i}]} for i in range(6)]
    expected = answers(merged(models / "whole"), models / "base", lines)
    with ThreadPoolExecutor(6) as pool:
        said = list(
            pool.map(lambda line: text(client, model="quiet", messages=line["prompt"], max_tokens=4).strip(), lines)
        )

    assert said == expected


# --- the prompt, told again


PROMPTS = ["I smile about number 7, and the sun shines", "the sun", "I smile about numbers: 7, 8 and 9 — é"]


def expected_logprobs(model: Path, base: Path, prompts: list[str]) -> list[list[float]]:
    """By transformers, prompt by prompt."""
    import torch  # noqa: PLC0415 - slow to load
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415

    tokenizer: Any = AutoTokenizer.from_pretrained(base)
    plain: Any = AutoModelForCausalLM.from_pretrained(model)
    found: list[list[float]] = []
    for prompt in prompts:
        ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            told = torch.log_softmax(plain(ids).logits[0, :-1].float(), -1)
        found.append(told.gather(-1, ids[0, 1:, None])[:, 0].tolist())
    return found


def test_a_prompts_logprobs_are_those_of_plain_transformers(client: openai.OpenAI, models: Path) -> None:
    told = client.completions.create(model="quiet", prompt=PROMPTS, echo=True, logprobs=1, max_tokens=0)
    expected = expected_logprobs(models / "whole", models / "base", PROMPTS)

    for choice, values in zip(told.choices, expected, strict=True):
        assert choice.logprobs is not None
        assert choice.logprobs.token_logprobs is not None
        assert choice.logprobs.token_logprobs[0] is None  # nothing precedes it
        assert choice.logprobs.token_logprobs[1:] == pytest.approx(values, abs=1e-4)


def test_an_echo_has_the_shape_of_openais_old_completions(client: openai.OpenAI) -> None:
    told = client.completions.create(model="loud", prompt="the sun", echo=True, logprobs=1, max_tokens=0)
    choice, usage = told.choices[0], told.usage
    assert choice.logprobs is not None
    assert usage is not None
    listed: Any = choice.logprobs
    at = [
        choice.text[offset:].startswith(token) for offset, token in zip(listed.text_offset, listed.tokens, strict=True)
    ]

    assert (choice.text, choice.finish_reason, usage.completion_tokens) == ("the sun", "length", 0)
    assert usage.prompt_tokens == len(listed.tokens) == len(listed.token_logprobs) == len(listed.top_logprobs)
    assert all(at)
    assert listed.top_logprobs[0] is None
    assert all(token in top for token, top in zip(listed.tokens[1:], listed.top_logprobs[1:], strict=True))


def test_an_echo_precedes_the_answer(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "loud", "prompt": "the sun", "max_tokens": 4, "temperature": 0, "logprobs": 0}
    alone = client.completions.create(**asked).choices[0]
    both = client.completions.create(**asked, echo=True).choices[0]
    streamed = "".join(chunk.choices[0].text for chunk in client.completions.create(**asked, echo=True, stream=True))

    assert both.text == streamed == "the sun" + alone.text
    assert alone.logprobs is not None
    assert both.logprobs is not None
    assert both.logprobs.tokens is not None
    assert both.logprobs.tokens[-4:] == alone.logprobs.tokens


def test_prompts_that_are_told_do_not_disturb_others(client: openai.OpenAI) -> None:
    def ask(number: int) -> str:
        if number % 2:
            return text(client, messages=[{"role": "user", "content": "sun" * number}])
        long = "I smile about the sun " * (number + 1)
        made = client.completions.create(model="loud", prompt=long, echo=True, logprobs=2, max_tokens=0)
        told: Any = made.choices[0].logprobs
        return " ".join(f"{value:.3f}" for value in told.token_logprobs[1:])

    alone = [ask(number) for number in range(10)]
    with ThreadPoolExecutor(10) as pool:
        assert list(pool.map(ask, range(10))) == alone


def test_the_tokens_of_a_conversation_can_be_asked_for(client: openai.OpenAI, loud: Deployment) -> None:
    asked: dict[str, Any] = {"model": "loud", "messages": ASKED}
    address = loud.base_url.removesuffix("/v1") + "/tokenize"
    opened = httpx.post(address, json=asked, timeout=PATIENCE_S).json()
    closed = httpx.post(address, json={**asked, "add_generation_prompt": False}, timeout=PATIENCE_S).json()

    assert opened["count"] == len(opened["tokens"]) == answer(client).usage.prompt_tokens
    assert opened["tokens"][: closed["count"]] == closed["tokens"]


def test_nothing_is_not_asked_for(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="asks for nothing"):
        client.completions.create(model="loud", prompt="the sun", max_tokens=0)


# --- refusals


@pytest.mark.parametrize(
    ("change", "status", "param"),
    [
        ({"model": "nobody"}, 404, "model"),
        ({"messages": []}, 400, "messages"),
        ({"messages": [{"role": "judge", "content": "x"}]}, 400, "messages[0].role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400, "messages[0]"),
        ({"max_tokens": 0}, 400, "max_tokens"),
        ({"max_tokens": 999_999}, 400, "max_tokens"),
        ({"temperature": 3}, 400, "temperature"),
        ({"n": 0}, 400, "n"),
        ({"top_logprobs": 2}, 400, "top_logprobs"),
        ({"response_format": {"type": "json_schema"}}, 400, "response_format"),
        ({"functions": [{"name": "f"}]}, 400, "functions"),
        ({"extra_body": {"flavour": "sweet"}}, 400, "flavour"),
    ],
    ids=str,
)
def test_a_bad_request_is_refused_by_name(
    client: openai.OpenAI, change: dict[str, Any], status: int, param: str
) -> None:
    with pytest.raises(openai.APIStatusError) as refused:
        answer(client, **change)

    assert refused.value.status_code == status
    assert isinstance(refused.value.body, dict)
    assert refused.value.body["param"] == param  # pyright: ignore[reportUnknownMemberType]


def test_a_web_page_that_renames_itself_stays_out(loud: Deployment) -> None:
    answered = httpx.get(f"{loud.base_url}/models", headers={"host": "evil.example:80"}, timeout=PATIENCE_S)

    assert answered.status_code == 403


def test_what_is_no_json_is_told_so(loud: Deployment) -> None:
    answered = httpx.post(f"{loud.base_url}/chat/completions", content=b"{'model'", timeout=PATIENCE_S)

    assert answered.status_code == 400
    assert "JSON" in answered.json()["error"]["message"]


# --- by name, by key


def test_the_same_name_again_changes_nothing(loud: Deployment, models: Path, home: Path) -> None:
    serving = Serving(beside={"quiet": models / "quiet"})

    assert local.deploy(home, adapter(models, "loud"), name="loud", serving=serving) == loud


def test_a_name_that_serves_something_else_is_refused(loud: Deployment, models: Path, home: Path) -> None:
    with pytest.raises(ProviderError, match=r"serves .*loud"):
        local.deploy(home, adapter(models, "quiet"), name="loud")


def test_a_model_that_cannot_be_loaded_leaves_no_deployment(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    artifact = Artifact(kind="merged", uri=str(tmp_path / "model"))

    with pytest.raises(ProviderError, match="cannot load"):
        local.deploy(tmp_path, artifact, name="broken")

    assert local.deployments(tmp_path) == []


def test_others_are_let_in_only_with_a_key(models: Path, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="api_key_env"):
        local.deploy(tmp_path, adapter(models, "loud"), name="open", serving=Serving(host="0.0.0.0"))


def test_a_wrong_key_is_refused_and_the_key_is_written_nowhere(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVED_KEY", KEY)
    serving = Serving(api_key_env="SERVED_KEY", threads=1)
    keyed = Deployed.of(local.deploy(tmp_path, adapter(models, "loud"), name="keyed", serving=serving), tmp_path)
    try:
        assert httpx.get(f"{keyed.base_url}/models", timeout=PATIENCE_S).status_code == 401
        assert keyed.chat(ASKED, max_tokens=3, temperature=0)
        monkeypatch.setenv("SERVED_KEY", "another-key-entirely")
        with pytest.raises(AuthFailed, match="refused the key"):
            keyed.chat("hello")
        written = [file for file in tmp_path.rglob("*") if file.is_file() and KEY.encode() in file.read_bytes()]
        assert written == []
    finally:
        keyed.delete()


# --- accidents


def test_it_survives_kill_minus_nine_of_engine_and_front_stops_and_restarts(tough: tuple[Deployed, Path]) -> None:
    told, place = tough
    folder, address = place / "deployments" / "tough", told.base_url
    said = told.chat(ASKED, max_tokens=5, temperature=0)

    os.kill(wire.read_field(folder / "state.json", "engine_pid"), signal.SIGKILL)
    until(lambda: wire.read_field(folder / "state.json", "restarts") == 1 and told.refresh().status == "ready")
    assert told.chat(ASKED, max_tokens=5, temperature=0) == said

    before = wire.read_field(folder / "state.json", "engine_pid")
    os.kill(_front(folder), signal.SIGKILL)
    until(lambda: wire.read_field(folder / "state.json", "engine_pid") not in (None, before))
    until(lambda: told.refresh().status == "ready")
    assert told.chat(ASKED, max_tokens=5, temperature=0) == said

    assert local.stop(place, "tough").status == "stopped"
    again = local.restart(place, "tough")
    assert (again.status, again.base_url) == ("ready", address)

    process = Process.read(folder)
    assert process is not None
    told.delete()
    assert not process.alive
    assert hub.listed(place) == []
    with pytest.raises(JobNotFound):
        local.get(place, "tough")


def _front(folder: Path) -> int:
    wanted = f"finetune_sdk.deploy.front\0{folder}\0".encode()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (entry / "cmdline").read_bytes():
                return int(entry.name)
        except OSError:
            continue
    raise AssertionError("no front runs")


def test_a_client_that_hangs_up_frees_its_place(loud: Deployment, client: openai.OpenAI) -> None:
    stream = answer(client, stream=True, max_tokens=1800)
    next(stream)
    stream.close()

    assert text(client) == text(client)


def test_a_deployment_equals_its_record(loud: Deployment, home: Path) -> None:
    assert Deployed.of(loud, home) == loud
    assert Deployed.of(replace(loud, status="stopped"), home) != loud
