"""What targets accept, rule by rule: one row each that the rule objects to, and one it does not."""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from finetune_sdk.data import Dataset, canonical
from finetune_sdk.data.example import Example
from finetune_sdk.data.formats import format_named
from finetune_sdk.data.targets import PROFILES, TARGETS, Profile, Row, profiles
from finetune_sdk.data.tools.files import convert_for
from finetune_sdk.errors import DataError

Turn = dict[str, Any]


def chat(*turns: Turn, **keys: Any) -> Example:
    return canonical.parse(json.dumps({"kind": "chat", "messages": turns, **keys}))


def pair(*chosen: Turn, **keys: Any) -> Example:
    row = {"kind": "preference", "prompt": [user()], "chosen": chosen, "rejected": [answer("no")], **keys}
    return canonical.parse(json.dumps(row))


def user(content: Any = "hi", **keys: Any) -> Turn:
    return {"role": "user", "content": content, **keys}


def answer(content: Any = "hello", **keys: Any) -> Turn:
    return {"role": "assistant", "content": content, **keys}


def system(content: str = "be brief", role: str = "system") -> Turn:
    return {"role": role, "content": content}


def call(name: str = "look", call_id: str | None = "c1", arguments: str = "{}") -> Turn:
    made: Turn = {"type": "function", "function": {"name": name, "arguments": arguments}}
    return {"role": "assistant", "tool_calls": [made if call_id is None else {"id": call_id, **made}]}


def result(call_id: str = "c1") -> Turn:
    return {"role": "tool", "content": "42", "tool_call_id": call_id}


def image(url: str = "https://example.org/a.png") -> Turn:
    return {"type": "image_url", "image_url": {"url": url}}


def typed_image() -> Turn:
    return {"type": "image_url", "image_url": {"url": "https://example.org/a", "mime_type": "image/png"}}


def rules_broken(
    example: Example, target: str, method: str = "sft", *, family: str = "", tokens: float = 0
) -> set[str]:
    """The rules with severity "error" that the first matching profile holds against the row."""
    found = [one for one in profiles(target, method=method) if family in one.family]
    row = Row.of(example, tokens=tokens)
    return {rule.rule for rule in found[0].rules if rule.severity == "error" for _ in rule.row(row)}


PLAIN = chat(system(), user(), answer())

REFUSED: dict[str, tuple[Example, str, str, str]] = {
    "openai developer": (chat(system(role="developer"), user(), answer()), "openai", "sft", "roles"),
    "openai half a weight": (chat(user(), answer(weight=0.5)), "openai", "sft", "weights"),
    "openai weight of the user": (chat(user(weight=1), answer()), "openai", "sft", "weights"),
    "openai reasoning": (chat(user(), answer(reasoning="hm")), "openai", "sft", "reasoning"),
    "openai audio": (chat(user([{"type": "input_audio"}]), answer()), "openai", "sft", "other-parts"),
    "openai film beside": (chat(user("<video>"), answer(), extra={"videos": ["a"]}), "openai", "sft", "other-parts"),
    "peft sound beside": (chat(user("<audio>"), answer(), extra={"audios": ["a.wav"]}), "peft", "sft", "other-parts"),
    "openai tool name": (chat(user(), call("a b"), result(), answer()), "openai", "sft", "tool-name"),
    "openai no call id": (chat(user(), call(call_id=None), answer()), "openai", "sft", "tool-call-id"),
    "openai orphan result": (chat(user(), call(), result("c2"), answer()), "openai", "sft", "tool-call-id"),
    "openai 11 images": (chat(user([image()] * 11), answer()), "openai", "sft", "images-limits"),
    "openai image of the model": (chat(user(), answer([image()])), "openai", "sft", "images-limits"),
    "openai image on s3": (chat(user([image("s3://b/a.png")]), answer()), "openai", "sft", "images-limits"),
    "openai broken base64": (
        chat(user([image("data:image/png;base64,!")]), answer()),
        *("openai", "sft", "images-limits"),
    ),
    "openai gif": (chat(user([image("data:image/gif;base64,AAAA")]), answer()), "openai", "sft", "images-limits"),
    "openai pictures beside": (
        chat(user("<image>"), answer(), extra={"images": ["a.png"]}),
        *("openai", "sft", "images-limits"),
    ),
    "openai two answers": (pair(answer(), user(), answer()), "openai", "dpo", "answer-turns"),
    "azure 65 images": (chat(user([image()] * 65), answer()), "azure", "sft", "images-limits"),
    "together two users": (chat(user(), user(), answer()), "together", "sft", "turn-order"),
    "together media type": (chat(user([typed_image()]), answer()), "together", "sft", "image-type"),
    "together media type in a pair": (
        pair(answer(), prompt=[user([typed_image()])]),
        "together",
        "dpo",
        "image-type",
    ),
    "fireworks media type": (chat(user([typed_image()]), answer()), "fireworks", "sft", "image-type"),
    "bedrock rft media type": (
        canonical.parse(json.dumps({"kind": "prompt", "prompt": [user([typed_image()])]})),
        "bedrock",
        "rft",
        "image-type",
    ),
    "together two formats": (chat(user(), answer(), extra={"text": "x"}), "together", "sft", "reserved-key"),
    "fireworks late system": (chat(user(), system(), answer()), "fireworks", "sft", "system-later"),
    "mistral ends with user": (chat(user(), answer(), user()), "mistral", "sft", "last-turn"),
    "mistral id null": (chat(user(), call(call_id="null"), result("null"), answer()), "mistral", "sft", "tool-call-id"),
    "mistral call unanswered": (chat(user(), call(), answer()), "mistral", "sft", "tool-results"),
    "mistral more results": (chat(user(), call(), result(), result(), answer()), "mistral", "sft", "tool-results"),
    "nova reserved start": (chat(user("User: hi"), answer()), "bedrock", "sft", "reserved-start"),
    "nova starts with the model": (chat(answer(), user(), answer()), "bedrock", "sft", "first-turn"),
    "nova https image": (chat(user([image()]), answer()), "bedrock", "sft", "images-limits"),
    "vertex arguments": (
        chat(user(), call(arguments="[]"), result(), answer()),
        *("vertex", "sft", "arguments-not-object"),
    ),
    "anthropic two users": (chat(user(), user(), answer()), "anthropic", "sft", "turn-order"),
    "cohere tools": (chat(user(), answer(), tools=[{"type": "function"}]), "cohere", "sft", "tools"),
    "autotrain weight": (chat(user(), answer(weight=0)), "autotrain", "sft", "weights"),
    "autotrain key": (chat(user(), answer(), extra={"autotrain_text": 1}), "autotrain", "sft", "reserved-key"),
    "onnx image": (chat(user([image()]), answer()), "onnx", "sft", "images"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_target_refuses_is_named(case: str) -> None:
    example, target, method, rule = REFUSED[case]

    assert rule in rules_broken(example, target, method)


ACCEPTED: dict[str, tuple[Example, str, str]] = {
    "openai weights 0 and 1": (chat(user(), answer(weight=0), user(), answer(weight=1)), "openai", "sft"),
    "openai tools": (chat(user(), call(), result(), answer()), "openai", "sft"),
    "openai ten images": (chat(user([image()] * 10), answer()), "openai", "sft"),
    "azure 64 images": (chat(user([image()] * 64), answer()), "azure", "sft"),
    "azure several turns preferred": (pair(answer(), answer()), "azure", "dpo"),
    "together weight of the user": (chat(user(weight=0), answer()), "together", "sft"),
    "mistral tools": (chat(user(), call(), result(), answer()), "mistral", "sft"),
    "nova image on s3": (chat(user([image("s3://b/a.png")]), answer()), "bedrock", "sft"),
    "vertex image on gs": (chat(user([image("gs://b/a.png")]), answer()), "vertex", "sft"),
    "peft negative weight": (chat(user(), answer(weight=-0.5)), "peft", "sft"),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_what_a_target_accepts_has_no_objection(case: str) -> None:
    example, target, method = ACCEPTED[case]

    assert rules_broken(example, target, method) == set()


@pytest.mark.parametrize("profile", [one for one in PROFILES if one.kinds[0] == "chat"], ids=lambda one: one.name)
def test_a_question_and_an_answer_suit_every_target_that_takes_conversations(profile: Profile) -> None:
    row = Row.of(chat(user(), answer()))

    assert [rule.rule for rule in profile.rules for _ in rule.row(row)] == []


def test_a_row_beyond_the_limit_of_tokens_is_named() -> None:
    assert rules_broken(pair(answer()), "vertex", "dpo", tokens=131_073) == {"row-too-long"}


@pytest.mark.parametrize("profile", PROFILES, ids=lambda one: one.name)
def test_every_profile_is_written_in_a_format_of_its_kind(profile: Profile) -> None:
    assert profile.format is not None
    entry = format_named(profile.format)

    assert entry.render is not None
    assert entry.kind in profile.kinds


@pytest.mark.parametrize("profile", PROFILES, ids=lambda one: one.name)
def test_every_rule_says_what_where_it_was_read_and_when(profile: Profile) -> None:
    for doc in (profile.doc, *(rule.doc for rule in profile.rules)):
        assert doc.source
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", doc.read_on)
        assert date.fromisoformat(doc.read_on)
    assert all(rule.words() and rule.rule for rule in profile.rules)


def test_no_profile_is_there_twice() -> None:
    names = [(one.target, one.methods, one.family) for one in PROFILES]

    assert len(names) == len(set(names))


def test_the_six_providers_come_first() -> None:
    assert TARGETS[:6] == ("openai", "azure", "peft", "autotrain", "unsloth", "onnx")


def test_an_unknown_target_is_named_with_the_nearest() -> None:
    with pytest.raises(DataError, match="did you mean 'openai'"):
        profiles("opneai")


def test_a_model_picks_the_rules_of_its_family() -> None:
    assert [one.family for one in profiles("bedrock", method="sft", model="amazon.nova-lite-v1:0")] == ["Nova"]


def test_an_images_media_type_is_refused_where_it_is_unknown_and_left_out_when_allowed(tmp_path: Path) -> None:
    image = {"fileData": {"mimeType": "image/webp", "fileUri": "https://a.test/b"}}
    row = {"contents": [{"role": "user", "parts": [image]}, {"role": "model", "parts": [{"text": "A cat."}]}]}
    path, out = tmp_path / "gemini.jsonl", tmp_path / "out.jsonl"
    path.write_text(json.dumps(row) + "\n")

    refused = convert_for(Dataset.open(path), out, "openai")
    assert [finding.rule for finding in refused.errors] == ["image-type"]
    assert not out.exists()

    convert_for(Dataset.open(path), out, "openai", allow_loss=["image-type"])
    assert json.loads(out.read_text())["messages"][0]["content"][0]["image_url"] == {"url": "https://a.test/b"}


def test_sound_and_documents_are_written_for_gemini_as_its_parts(tmp_path: Path) -> None:
    sound = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    document = {"type": "file", "file": {"url": "gs://a/b.pdf", "mime_type": "application/pdf"}}
    row = {"messages": [user([sound, document]), answer()]}
    path, out = tmp_path / "chat.jsonl", tmp_path / "out.jsonl"
    path.write_text(json.dumps(row) + "\n")

    convert_for(Dataset.open(path), out, "vertex")

    assert json.loads(out.read_text())["contents"][0]["parts"] == [
        {"inlineData": {"mimeType": "audio/wav", "data": "AAAA"}},
        {"fileData": {"mimeType": "application/pdf", "fileUri": "gs://a/b.pdf"}},
    ]
    assert next(Dataset.open(out).rows("chat")) == row


def test_an_image_in_a_tool_result_is_refused_where_results_are_texts(tmp_path: Path) -> None:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    image = {"type": "image_url", "image_url": {"url": "https://a.test/b.png"}}
    result = {"role": "tool", "tool_call_id": "a", "content": [image]}
    path, out = tmp_path / "chat.jsonl", tmp_path / "out.jsonl"
    path.write_text(json.dumps({"messages": [user(), answer("", tool_calls=[call]), result, answer()]}) + "\n")

    refused = convert_for(Dataset.open(path), out, "vertex")

    assert "cannot-result-parts" in [finding.rule for finding in refused.errors]
    assert not out.exists()


@pytest.mark.parametrize(
    "profile", [one for one in PROFILES if one.hosted and one.kinds[0] != "text"], ids=lambda one: one.name
)
def test_no_hosted_target_takes_pictures_that_lie_beside_a_conversation(profile: Profile) -> None:
    said: dict[str, Any] = {"prompt": [user()], "chosen": [answer()], "rejected": [answer("no")]}
    said |= {"messages": [user(), answer()], "completion": [answer()], "label": True}
    keys = {"chat": ("messages",), "prompt": ("prompt",), "preference": ("prompt", "chosen", "rejected")}
    kind = profile.kinds[0]
    row = {"kind": kind, **{key: said[key] for key in keys[kind]}, "extra": {"images": ["a.png"]}}
    found = Row.of(canonical.parse(json.dumps(row)))
    assert [problem for rule in profile.rules if rule.feature == "images" for problem in rule.row(found)]


@pytest.mark.parametrize(
    ("said", "fix"),
    [
        ('[Market Trends API(kind="A", at=1), other()]', "[f(a=1)]: write it as `tool_calls`"),
        ("<tool_call>{}</tool_call>", "--with calls-in-text"),
        ("[1, 2]", "--with calls-in-text"),
    ],
)
def test_a_result_of_a_call_that_stands_as_text_says_how_to_write_the_call(said: str, fix: str) -> None:
    row = Row.of(chat(user(), answer(said), result(), answer()))
    problems = [one for rule in profiles("openai", method="sft")[0].rules for one in rule.row(row)]
    assert [fix in problem.fix for problem in problems] == [True]
