"""Duplicates and leaks, repairs, secrets, token counts, lengths."""

from __future__ import annotations

import json
import random
import string
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from finetune_sdk.data import canonical
from finetune_sdk.data.example import (
    EmbeddingExample,
    Example,
    LabelledExample,
    Message,
    PromptExample,
    TextExample,
    conversation,
)
from finetune_sdk.data.features import FEATURES, features
from finetune_sdk.data.report import Report
from finetune_sdk.data.tools.dedupe import Dedupe, leaks
from finetune_sdk.data.tools.lengths import Lengths
from finetune_sdk.data.tools.repairs import chosen, repaired
from finetune_sdk.data.tools.scan import holds_literal, leaving, scan_example
from finetune_sdk.data.tools.sides import normal, overlap
from finetune_sdk.data.tools.strip import STRIP, without
from finetune_sdk.data.tools.tokens import ROUGH, Counter, bounds, count_tokens, counter, for_model
from finetune_sdk.errors import DataError

SENTENCE = "the quick brown fox jumps over the lazy dog while seven wizards quietly box near an old grey mill"


def chat(*turns: dict[str, Any], **keys: Any) -> Example:
    return canonical.parse(json.dumps({"kind": "chat", "messages": turns, **keys}))


def said(role: str, content: Any = None, **keys: Any) -> dict[str, Any]:
    return {"role": role, **({} if content is None else {"content": content}), **keys}


def texts(*values: str) -> list[Example]:
    return [TextExample(text=value) for value in values]


def long_text(*changed: int) -> str:
    return " ".join(f"changed{index}" if index in changed else word for index, word in enumerate(SENTENCE.split() * 4))


def test_the_first_of_equal_rows_stays() -> None:
    assert [canonical.render(row) for row in Dedupe().kept(texts("a", "b", "a", "c", "b"))] == [
        canonical.render(row) for row in texts("a", "b", "c")
    ]


def test_equal_rows_of_different_formats_are_equal() -> None:
    first = chat(said("user", "a"), said("assistant", "b"), aside={"keys": ["question", "answer"]})
    second = chat(said("user", "a"), said("assistant", "b"))

    assert len(list(Dedupe().kept([first, second]))) == 1


def test_almost_equal_texts_are_near_duplicates() -> None:
    seen = Dedupe(near=0.7)
    list(seen.kept(texts(long_text(), long_text(3), long_text(10, 20, 30, 40, 50, 60, 70))))

    assert dict(seen.counts) == {"kept": 2, "near": 1}


def test_near_duplicates_really_overlap_that_much() -> None:
    twin = Dedupe(near=0.7)
    twin.twin(texts(long_text())[0])
    found = twin.twin(texts(long_text(3))[0])

    assert found is not None
    assert found.overlap == overlap(normal(long_text()), normal(long_text(3)))


def test_exact_duplicates_are_kept_by_the_near_index_once() -> None:
    kept = list(Dedupe(near=0.8).kept(texts("", "", "one", "one")))

    assert kept == texts("", "one")


def asked(question: Any, answer: str = "Yes, it is.", **keys: Any) -> Example:
    return chat(said("user", question), said("assistant", answer), **keys)


RULES = " ".join(f"Rule {number}: follow directive {number} with care." for number in range(40))
PICTURES = [[{"type": "text", "text": "a?"}, {"type": "image_url", "image_url": {"url": url}}] for url in ("x", "y")]

TWINS: dict[str, tuple[Example, Example]] = {
    "case, blanks, marks": (asked("How do I reset  my password?"), asked("how do I reset my PASSWORD ??")),
    "a word in a short text": (
        asked("The quick brown fox jumps over the lazy dog near the river bank."),
        asked("The quick brown fox jumped over the lazy dog near the river bank!"),
    ),
    "a letter in a long text": (asked(SENTENCE * 3), asked((SENTENCE * 3).replace("wizards", "wizard", 1))),
    "Chinese": (
        asked("今天天气很好我们一起去公园散步然后去吃晚饭再去看电影你觉得怎么样"),
        asked("今天天气真好我们一起去公园散步然后去吃晚饭再去看电影你觉得怎么样"),
    ),
    "composed letters": (
        asked("Où étions-nous allés l'été ?"),
        asked("Ou\u0300 e\u0301tions-nous alle\u0301s l'e\u0301te\u0301 ?"),
    ),
}

SIBLINGS: dict[str, tuple[Example, Example]] = {
    "other questions under one long system text": (
        chat(said("system", RULES), said("user", "What is alpha?"), said("assistant", "A letter.")),
        chat(said("system", RULES), said("user", "Who was Bach?"), said("assistant", "A composer.")),
    ),
    "other answers to one long question": (asked(RULES, "Yes."), asked(RULES, "No, never.")),
    "other system texts": (
        chat(said("system", "Speak like a pirate."), said("user", "a?"), said("assistant", "b")),
        chat(said("system", "The text: " + SENTENCE), said("user", "a?"), said("assistant", "b")),
    ),
    "other words where one is much": (asked("What is the capital of France?"), asked("What is the capital of Spain?")),
    "other signs without words": (asked("🎉"), asked("🚀")),
    "less than nothing": (asked("What is -3 + 5?", "The sum."), asked("What is 3 + 5?", "The sum.")),
    "other sums": (asked("Is 7 + 5 much?"), asked("Is 7 / 5 much?")),
    "other pictures": (asked(PICTURES[0]), asked(PICTURES[1])),
    "other labels": (LabelledExample(text=SENTENCE, label="x"), LabelledExample(text=f"{SENTENCE}!", label="y")),
    "other answers for the grader": (
        PromptExample(prompt=[Message(role="user", content=RULES)], extra={"target": 1}),
        PromptExample(prompt=[Message(role="user", content=RULES)], extra={"target": 2}),
    ),
}


@pytest.mark.parametrize("case", TWINS)
def test_small_changes_make_near_duplicates(case: str) -> None:
    seen = Dedupe(near=0.8)

    assert (len(list(seen.kept(TWINS[case]))), seen.counts["near"]) == (1, 1)


@pytest.mark.parametrize("case", SIBLINGS)
def test_rows_that_differ_in_what_matters_are_no_near_duplicates(case: str) -> None:
    assert len(list(Dedupe(near=0.8).kept(SIBLINGS[case]))) == 2


@pytest.mark.parametrize(
    "texts",
    [
        ("5-3", "5.3", "5 3", "5,3", "-5-3"),
        ("5 - 3", "5 3", "5 + 3"),
        (".5", "5", "-.5", "-5"),
        ("1.5 kg", "15 kg", "1 5 kg"),
        ("\u22123 degrees", "3 degrees"),
    ],
)
def test_other_numbers_are_other_texts(texts: tuple[str, ...]) -> None:
    assert len({normal(text) for text in texts}) == len(texts)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("It is 5.", "it is 5"),
        ("a well-known fact, is it?", "A well known fact is it"),
        ("5\u20133", "5-3"),
        ("5, 3", "5 3"),
        ("in ...5 days", "in 5 days"),
    ],
)
def test_marks_between_words_make_no_other_text(one: str, other: str) -> None:
    assert normal(one) == normal(other)


@pytest.mark.parametrize(("word", "again"), [("mill", "Mill!"), ("quick", "quicker")], ids=["same", "almost"])
def test_a_row_repeated_among_many_of_one_template_is_found(word: str, again: str) -> None:
    answers = [" ".join(f"{part}{number * 7919}" for part in SENTENCE.split()) for number in range(90)]
    seen = Dedupe(near=0.8)
    kept = list(seen.kept(asked(RULES[:250], answer) for answer in answers))
    twin = seen.twin(asked(RULES[:250], answers[80].replace(word, again)))

    assert (len(kept), twin is not None and twin.overlap >= 0.8) == (90, True)


@pytest.mark.parametrize("size", range(150, 650, 50))
def test_near_duplicates_are_found_on_both_sides_of_short(size: int) -> None:
    text = " ".join(f"w{number}" for number in range(400))[:size]

    assert len(list(Dedupe(near=0.8).kept(texts(text, text[: -size // 20])))) == 1


def test_only_prompts_are_compared_where_that_is_asked_for() -> None:
    rows = [asked("How do I reset my password?", "Like this."), asked("how do I reset my passwords?", "Ask me not.")]

    assert len(list(Dedupe(near=0.8, by_prompt=True).kept(rows))) == 1


def test_a_prompt_is_known_whatever_its_case_and_blanks() -> None:
    (leak,) = leaks([asked("What is it?", "x")], [asked(" what IS it\n", "y")])

    assert leak.how == "prompt"


def test_a_prompt_almost_known_is_a_leak_whatever_the_answer() -> None:
    (leak,) = leaks([asked(long_text(3), "x")], [asked(long_text(), "Something else altogether.")], near=0.8)

    assert leak.how == "near"


def test_a_leak_says_how_the_row_is_known() -> None:
    held_out = [
        chat(said("user", "a"), said("assistant", "b")),
        chat(said("user", long_text()), said("assistant", "x")),
    ]
    train = [
        chat(said("user", "a"), said("assistant", "b")),
        chat(said("user", "a"), said("assistant", "c")),
        chat(said("user", long_text(5)), said("assistant", "x")),
        chat(said("user", "new"), said("assistant", "b")),
    ]
    assert [leak.how for leak in leaks(train, held_out, near=0.7)] == ["exact", "prompt", "near"]


CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}

ASKED = '<tool_call>{"name": "f", "arguments": {}}</tool_call>'


def in_text(arguments: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", "arguments": arguments}, "arguments_object": True}


REPAIRS: dict[str, tuple[Example, Example]] = {
    "arguments-once": (
        chat(said("assistant", tool_calls=[{**CALL, "function": {"name": "f", "arguments": '"{\\"a\\": 1}"'}}])),
        chat(said("assistant", tool_calls=[{**CALL, "function": {"name": "f", "arguments": '{"a": 1}'}}])),
    ),
    "role-words": (
        chat(said("user", "a", source_role="Human"), said("assistant", "b")),
        chat(said("user", "a"), said("assistant", "b")),
    ),
    "functions": (
        chat(said("user", "a"), said("assistant", "b"), extra={"functions": [{"name": "f"}], "id": 1}),
        chat(
            said("user", "a"),
            said("assistant", "b"),
            tools=[{"type": "function", "function": {"name": "f"}}],
            extra={"id": 1},
        ),
    ),
    "null-tools": (
        chat(said("user", "a"), tools=[{"function": {"parameters": {"a": {"default": None}, "b": None}}}]),
        chat(said("user", "a"), tools=[{"function": {"parameters": {"a": {"default": None}}}}]),
    ),
    "calls-in-text": (
        chat(
            said("user", "a"),
            said("assistant", "So:\n<tool_call>\n{'arguments': {'x': 1}, 'name': 'f'}\n</tool_call>\n" + ASKED),
            said("tool", "<tool_response>\n{'y': 2}\n</tool_response><tool_response>3</tool_response>"),
            said("assistant", "b"),
        ),
        chat(
            said("user", "a"),
            said("assistant", "So:", tool_calls=[in_text('{"x": 1}'), in_text("{}")]),
            said("tool", "{'y': 2}"),
            said("tool", "3"),
            said("assistant", "b"),
        ),
    ),
    "tool-call-ids": (
        chat(said("assistant", tool_calls=[{k: v for k, v in CALL.items() if k != "id"}]), said("tool", "1")),
        chat(said("assistant", tool_calls=[{**CALL, "id": "call_1"}]), said("tool", "1", tool_call_id="call_1")),
    ),
    "empty-system": (
        chat(said("system", " "), said("user", "a"), said("assistant", "b")),
        chat(said("user", "a"), said("assistant", "b")),
    ),
    "trailing-empty": (
        chat(said("user", "a"), said("assistant", "b"), said("user", ""), said("assistant", " ")),
        chat(said("user", "a"), said("assistant", "b")),
    ),
    "label-spaces": (LabelledExample(text="a", label=" x "), LabelledExample(text="a", label="x")),
    "merge-turns": (
        chat(said("user", "a"), said("user", "b"), said("assistant", "c")),
        chat(said("user", "a\n\nb"), said("assistant", "c")),
    ),
    "cut-end": (
        chat(said("user", "a"), said("assistant", "b"), said("user", "c")),
        chat(said("user", "a"), said("assistant", "b")),
    ),
    "control-characters": (chat(said("user", "a\x00\tb\x1f")), chat(said("user", "a\tb"))),
    "system-role": (chat(said("developer", "a")), chat(said("system", "a"))),
    "developer-role": (chat(said("system", "a")), chat(said("developer", "a"))),
}


@pytest.mark.parametrize("name", REPAIRS)
def test_a_repair_does_what_it_says_and_tells(name: str) -> None:
    before, after = REPAIRS[name]
    report = Report()
    others = [one.name for one in chosen() if one.name != name]

    assert repaired(before, chosen([name], others), report) == after
    assert [finding.rule for finding in report.findings()] == [f"fixed-{name}"]


def test_every_repair_has_a_case() -> None:
    assert {one.name for one in chosen(REPAIRS)} == set(REPAIRS)


@pytest.mark.parametrize("name", REPAIRS)
def test_a_repaired_row_needs_no_repair(name: str) -> None:
    report = Report()
    others = [one.name for one in chosen() if one.name != name]
    repaired(REPAIRS[name][1], chosen([name], others), report)

    assert report.findings() == ()


@pytest.mark.parametrize(
    "answer",
    [
        "<tool_call>f(1)</tool_call>",
        '<tool_call>{"name": "f"}</tool_call>',
        f"{ASKED}<tool_call>",
        f"{ASKED}<tool_call>no</tool_call>",
        "<tool_call>{'name': 'f', 'arguments': {'x': {1}}}</tool_call>",
        '<tool_call>{"name": "f", "arguments": {"x": 1, "x": 2}}</tool_call>',
    ],
)
def test_calls_in_a_text_that_cannot_be_read_whole_stay_in_it(answer: str) -> None:
    row = chat(said("user", "a"), said("assistant", answer))
    assert repaired(row, chosen(["calls-in-text"]), Report()) == row


def test_several_results_under_one_id_stay_one_turn() -> None:
    results = "<tool_response>1</tool_response><tool_response>2</tool_response>"
    row = chat(said("user", "a"), said("assistant", ASKED + ASKED), said("tool", results, tool_call_id="c"))
    after = repaired(row, chosen(["calls-in-text"], ["tool-call-ids"]), Report())
    assert [message.content for message in conversation(after)[2:]] == [results]


@pytest.mark.parametrize("result", ["plain", "<tool_response>1</tool_response> and", "<tool_response>1"])
def test_a_result_that_is_more_than_its_marks_stays_as_it_is(result: str) -> None:
    row = chat(said("user", "a"), said("assistant", ASKED), said("tool", result))
    after = repaired(row, chosen(["calls-in-text"], ["tool-call-ids"]), Report())
    assert [message.content for message in conversation(after)[2:]] == [result]


def test_merging_keeps_turns_of_different_weight_apart() -> None:
    row = chat(said("user", "a"), said("assistant", "b", weight=0), said("assistant", "c", weight=1))

    assert repaired(row, chosen(["merge-turns"]), Report()) == row


def test_an_unknown_repair_is_refused() -> None:
    with pytest.raises(DataError, match="no repair 'magic'"):
        chosen(["magic"])


RICH = chat(
    said("developer", "x"),
    said("user", [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "u", "detail": "low"}}]),
    said("user", [{"type": "input_audio"}], weight=1, name="joe"),
    said("assistant", [{"type": "text", "text": "b"}], weight=0.5, reasoning="r", refusal="no", odd=1, extra={"k": 1}),
    said("assistant", "c", spans=[{"begin": 0, "end": 1, "train": True}]),
    tools=[{"type": "function", "function": {"name": "f"}}],
    parallel_tool_calls=True,
    chat_template_kwargs={"a": 1},
    extra={"id": 7},
)


@pytest.mark.parametrize("feature", sorted(STRIP.keys() & {name for name, _ in features(RICH)}))
def test_dropping_a_feature_drops_it(feature: str) -> None:
    assert feature not in {name for name, _ in features(without(RICH, feature))}


def test_what_can_be_dropped_is_a_feature() -> None:
    assert STRIP.keys() <= FEATURES.keys()


def test_what_cannot_be_dropped_alone_is_refused() -> None:
    with pytest.raises(DataError, match="cannot be dropped"):
        without(RICH, "tool-calls")


FOUND: dict[str, tuple[str, str]] = {
    "aws": ("AKIAIOSFODNN7EXAMPLF", "AWS access key"),
    "openai": ("use sk-proj-" + "Ab1_" * 8, "OpenAI or Anthropic key"),
    "huggingface": ("hf_" + "aB" * 17, "Hugging Face token"),
    "private key": ("-----BEGIN RSA PRIVATE KEY-----", "private key"),
    "password in a url": ("postgres://joe:hunter2024@db/x", "password in a URL"),
    "e-mail": ("write to joan.smith@corp.org today", "e-mail address"),
    "phone": ("call +49 30 901820 now", "telephone number"),
    "american phone": ("call (213) 484-0480 now", "telephone number"),
    "french phone": ("+33 6 12 34 56 78", "telephone number"),
    "phone dialled at home": ("Tel.: 0171 1234567", "telephone number"),
    "social security": ("my SSN is 219-09-9999", "US social security number"),
    "test card": ("4111 1111 1111 1111", "card number"),
    "e-mail of a real provider": ("user.realname@gmail.com", "e-mail address"),
    "e-mail in a sentence without spaces": ("请写信给zhang@corp.cn谢谢", "e-mail address"),
    "aws secret": ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "AWS secret key"),
    "aws secret in small letters": ("secretaccesskey=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "AWS secret key"),
    "aws secret with capitals": ("Secret_Access_Key: wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "AWS secret key"),
    "aws secret in capitals": ("SECRETACCESSKEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "AWS secret key"),
    "npm": ("npm_" + "aB1" * 12, "npm token"),
    "bearer": ("Authorization: Bearer abcdef0123456789abcdef0123456789", "bearer token"),
    "basic credentials": ("Authorization: Basic YWRtaW46czNjcjN0cGFzcw==", "basic credentials"),
    "xai": ("xai-" + "aB1" * 20, "xAI key"),
    "fireworks": ("fw_" + "aB1" * 8, "Fireworks key"),
    "perplexity": ("pplx-" + "aB1" * 16, "Perplexity key"),
    "langsmith": ("lsv2_pt_" + "a1" * 16 + "_" + "a1" * 5, "LangSmith key"),
    "google oauth secret": ("GOCSPX-" + "aB1_" * 7, "Google OAuth secret"),
    "azure client secret": ("abc8Q~" + "aB1." * 8, "Azure client secret"),
    "azure shared access": (
        "https://x.blob.core.windows.net/c?sv=1&sig=" + "aB1" * 14 + "a%3D",
        "Azure shared access signature",
    ),
    "databricks": ("dapi" + "a1" * 16, "Databricks token"),
    "vault": ("hvs." + "aB1" * 30, "Vault token"),
    "docker": ("dckr_pat_" + "aB1" * 9, "Docker token"),
    "shopify": ("shpat_" + "a1" * 16, "Shopify token"),
    "notion": ("ntn_" + "aB" * 23, "Notion token"),
    "linear": ("lin_api_" + "aB" * 20, "Linear key"),
    "postman": ("PMAK-" + "a1" * 12 + "-" + "a1" * 17, "Postman key"),
    "new relic": ("NRAK-" + "A1Z" * 9, "New Relic key"),
    "sentry": ("sntrys_" + "aB1" * 20, "Sentry token"),
    "telegram": ("110201543:AA" + "aB1" * 11, "Telegram token"),
    "age": ("AGE-SECRET-KEY-1" + "A2" * 29, "age key"),
    "jcb": ("3530111333300000", "card number"),
    "phone from abroad": ("0049 30 901820", "telephone number"),
    "french phone dialled at home": ("Tél : 01 42 68 53 00", "telephone number"),
    "card": ("pay with 4012 8888 8888 1881.", "card number"),
    "iban": ("to DE89 3704 0044 0532 0130 00 please", "IBAN"),
}


@pytest.mark.parametrize("case", FOUND)
def test_secrets_and_personal_data_are_found(case: str) -> None:
    text, what = FOUND[case]

    assert [hit.what for hit in scan_example(TextExample(text=text))] == [what]


@pytest.mark.parametrize(
    "text",
    [
        "http://user:password@host/",
        "4012 8888 8888 1882",
        "DE89 3704 0044 0532 0130 01",
        "pi is 3.14159265358979",
        "2024-01-02 10:11:12 and 1999-12-31",
        "sk-learn and hf_hub are libraries; discord too",
        "version 1.2.3.4, row 123456789012",
        "sk-your-api-key-goes-here-please",
        "ghp_" + "x" * 36,
        "see logo@2x.png",
    ],
)
def test_what_only_looks_alike_is_left_alone(text: str) -> None:
    assert list(scan_example(TextExample(text=text))) == []


@pytest.mark.parametrize(
    "text",
    [
        "alice@example.com",
        "bob@mail.example.org",
        "x@host.test",
        "yourname@yourdomain.com",
        "a@example-domain.com",
        "call (555) 123-4567",
    ],
)
def test_what_is_kept_for_examples_is_said_and_refuses_nothing(text: str) -> None:
    (hit,) = scan_example(TextExample(text=text))

    assert (hit.rule, list(leaving(TextExample(text=text)))) == ("made-up-data", [])


KEY = "hf_" + "aB" * 17


@pytest.mark.parametrize(
    ("row", "path"),
    [
        (chat(said("user", "a"), said("assistant", "b"), extra={"meta": {"by": ["x", KEY]}}), "meta.by[1]"),
        (chat(said("user", "a", name=KEY)), "messages[0].name"),
        (chat(said("user", "a", extra={"note": KEY})), "messages[0].note"),
        (chat(said("user", [{"type": "image_url", "image_url": {"url": f"https://h/?k={KEY}"}}])), None),
        (chat(said("user", "a"), tools=[{"function": {"description": KEY}}]), "tools[0].function.description"),
        (LabelledExample(text="a", label=KEY), "label"),
        (EmbeddingExample(anchor="a", positive="b", negatives=["c", KEY]), "negatives[1]"),
        (EmbeddingExample(anchor="a", positive="b", aside={"more": ["c", KEY]}), "positive[2]"),
        (TextExample(text="a", extra={"note": f"data: {KEY}"}), "note"),
        (TextExample(text="a", extra={"note": f"data:{KEY}, and more"}), "note"),
        (TextExample(text="a", extra={"meta": {"by": 1, KEY: 2}}), "meta"),
        (chat(said("user", "a"), tools=[{"function": {"parameters": {KEY: {}}}}]), "tools[0].function.parameters"),
    ],
)
def test_secrets_are_found_wherever_a_file_would_hold_them(row: Example, path: str | None) -> None:
    (hit,) = scan_example(row)

    assert (hit.what, hit.path) == ("Hugging Face token", path or "messages[0].content[0].image_url.url")


@pytest.fixture(params=[True, False], ids=["at once", "one by one"])
def literals_at_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    if request.param:
        pytest.importorskip("ahocorasick_rs", reason="the extra `data` is not installed")
    else:
        monkeypatch.setitem(sys.modules, "ahocorasick_rs", None)
    holds_literal.cache_clear()
    yield
    holds_literal.cache_clear()


@pytest.mark.usefixtures("literals_at_once")
@pytest.mark.parametrize("text", [KEY, f"half \ud83d {KEY}", f"https://joe:hunter2024@db/{KEY}"])
def test_secrets_are_found_with_and_without_the_library(text: str) -> None:
    assert "Hugging Face token" in [hit.what for hit in scan_example(TextExample(text=text))]


@pytest.mark.parametrize("head", ["data:image/png;base64,", "data:text/plain;charset=utf-8;base64,", "data:,"])
def test_contents_given_in_place_are_not_searched(head: str) -> None:
    url = head + KEY
    assert list(scan_example(chat(said("user", [{"type": "image_url", "image_url": {"url": url}}])))) == []


def test_a_hit_is_masked_and_has_its_path() -> None:
    (hit,) = scan_example(chat(said("user", "a"), said("assistant", "hf_" + "aB" * 17)))

    assert (hit.path, len(hit.masked) < 10) == ("messages[1].content", True)


EXACT = Counter(name="words", exact=True, count=lambda text: len(text.split()))


def test_exact_counts_are_exact() -> None:
    found = count_tokens(texts("a b", "c"), EXACT)

    assert (found.total, found.low, found.high, found.exact) == (3, 3, 3, True)


def test_a_sample_bounds_the_truth() -> None:
    rows = texts(*(long_text(*range(number % 7)) for number in range(400)))
    found = count_tokens(rows, EXACT, sample=50)

    assert found.low <= count_tokens(rows, EXACT).total <= found.high


def test_a_sample_of_everything_is_exact() -> None:
    assert count_tokens(texts("a b", "c"), EXACT, sample=10).exact


def test_without_a_vocabulary_the_bounds_are_wide_and_their_source_is_said() -> None:
    found = count_tokens(texts(long_text()), ROUGH)

    assert found.low < found.total < found.high
    assert "bounds of byte-level vocabularies, none was used" in found.basis


_DRAW = random.Random(5)
RANDOM_WORDS = {
    size: ["".join(_DRAW.choices(string.ascii_lowercase, k=size)) for _ in range(100)] for size in (2, 4, 14)
}


@pytest.mark.parametrize(
    "texts",
    [
        ("q0", "a0"),
        ("The rain in Spain stays mainly in the plain.", "So they say."),
        ("Сколько будет дважды два?", "Четыре, разумеется."),
        ("인공지능은 인간의 학습능력을 구현한다.", "네."),
        ('[{"id": 1, "name": "ann"}, {"id": 2, "name": "bob"}]', "There are two: ann and bob."),
        ("hello world " * 100, "information international communication"),
        ("今天天气很好。", "龘靐齉爩鱻麤"),
        ("ᏣᎳᎩ ᎦᏬᏂᎯᏍᏗ ᎠᏂᏣᎳᎩ", "Հայերենը հնդեվրոպական լեզվաընտանիքի լեզու է"),
        ("👨‍👩‍👧‍👦👩🏿‍💻🏳️‍🌈" * 5, "🎉🔥"),
        ("iVBORw0KGgoAAAANSUhEUgAAAAUAAAAFCAYAAACNbyblAAAAHElEQVQI12P4", "d41d8cd98f00b204e9800998ecf8427e"),
        (" + ".join(map(str, range(100, 900, 7))), "CC(=O)OC1=CC=CC=C1C(=O)O"),
        (" " * 1000 + "x", "-" * 500 + "\n" * 300),
        ("def f(a, b):\n" + "        return a[b] ** 2  # why\n" * 9, "ok"),
        ("a\nb\nc\nd\n" * 20, "Qx " * 50),
        ("\n".join(RANDOM_WORDS[2]), "\n".join(RANDOM_WORDS[4])),
        (" ".join(RANDOM_WORDS[2]), " ".join(RANDOM_WORDS[14]).title()),
        ("=-" * 100, "internationalization " * 40),
        ("internationalization responsibilities telecommunications " * 40, " NotImplementedException" * 60),
        ("(xq) " * 100, "zqxj " * 100),
        ("|---|---|\n" * 40, "\t".join(RANDOM_WORDS[4])),
        (
            "ответственность законодательства " * 40,
            "\u10e1\u10d0\u10e5\u10d0\u10e0\u10d7\u10d5\u10d4\u10da\u10dd " * 60,
        ),
        ("विश्वविद्यालय " * 50, "തിരുവനന്തപുരം " * 40),
        ("ありがとうございます" * 50, "ประเทศไทย" * 50),
        ("】【\uff1a】【“【” \u3000 \xa0 " * 20, "don't won't it's they'll " * 40),
        (" translatesAutoresizingMaskIntoConstraints" * 50, "dequeueReusableCellWithIdentifier " * 50),
        ("3.14159 1,000,000 " * 50, "\0\x01\r\n" * 50),
    ],
)
def test_the_bounds_of_the_rule_of_thumb_hold(texts: tuple[str, str]) -> None:
    pytest.importorskip("bpe_openai", reason="the extra `tokens` is not installed")
    rows = [chat(said("user", texts[0]), said("assistant", texts[1]))]

    rough = count_tokens(rows, ROUGH)
    for name in ("o200k_base", "cl100k_base"):
        assert rough.low <= count_tokens(rows, counter(name)).total <= rough.high


@pytest.mark.parametrize("name", ["o200k_base", "cl100k_base"])
def test_no_token_is_less_than_the_fewest(name: str) -> None:
    vocabulary = pytest.importorskip("bpe_openai", reason="the extra `tokens` is not installed").get_encoding(name)
    tokens = [vocabulary.decode([number]) for number in range(0, 100_000, 7)]

    assert [token for token in tokens if bounds(token)[0] > 1] == []


def test_a_models_vocabulary_is_used_where_it_is_at_hand() -> None:
    pytest.importorskip("bpe_openai", reason="the extra `tokens` is not installed")

    assert [for_model(name).name for name in ("gpt-4o-mini", "meta-llama/Llama-3.1-8B", None)] == [
        "o200k_base",
        ROUGH.name,
        ROUGH.name,
    ]


def test_a_tokenizer_file_counts_what_it_would_give(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers", reason="the extra `tokens` is not installed")
    model = tokenizers.models.WordLevel({"a": 0, "b": 1, "?": 2}, unk_token="?")
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))

    assert counter(str(tmp_path)).row(TextExample(text="a b zzz")) == 3


def test_openai_models_count_with_their_vocabulary() -> None:
    pytest.importorskip("bpe_openai", reason="the extra `tokens` is not installed")

    assert counter("gpt-4.1-mini").count("hello world") == 2


def test_an_unknown_tokenizer_is_refused() -> None:
    with pytest.raises(DataError, match=r"neither a tokenizer\.json"):
        counter("no-such-thing")


def test_percentiles_are_within_a_percent() -> None:
    lengths = Lengths()
    for number in range(1, 100_001):
        lengths.add(number)

    assert lengths.percentile(0.5) == pytest.approx(50_000, rel=0.01)
    assert (lengths.least, lengths.most, lengths.mean) == (1, 100_000, 50_000.5)


def test_bars_cover_every_row_once() -> None:
    lengths = Lengths()
    for number in (0, 1, 1, 5, 300, 70_000):
        lengths.add(number)

    assert sum(rows for _, _, rows in lengths.bars()) == 6


def test_an_account_of_a_service_is_no_personal_data() -> None:
    row = texts("Clone git@github.com:owner/name.git, or write to noreply@github.com.")[0]
    assert [hit.rule for hit in scan_example(row)] == []
