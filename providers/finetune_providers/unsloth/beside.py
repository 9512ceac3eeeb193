"""Rows that hold more than texts: what of their pictures and sounds can be used, looked at while planning."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from finetune_providers.peft.judging import EVERY
from finetune_providers.unsloth.worker import media
from finetune_sdk.data.example import ChatExample, Example, Message
from finetune_sdk.spec import JobSpec
from finetune_sdk.types import Finding

Look = Callable[[Example], Iterator[Finding]]
_PICTURES = "image_url"
_INLINE = "Write `image_url` parts: `finetune data fix --with images-inline`."
_SOUNDS = ("input_audio", "audio_url", "audio")


def pictures(spec: JobSpec) -> Mapping[str, Look]:
    """For a model that sees."""

    def look(example: Example) -> Iterator[Finding]:
        if any(example.extra.get(name) for name in ("image", "images")):
            yield _error("images", "the pictures lie beside the conversation", _INLINE, "images")
        if spec.evaluation is not None:
            text = "a row with a picture, and `evaluation` asks with texts only"
            yield _error("evaluation-media", text, "Leave `evaluation` out; data.validation gives eval_loss.", None)
        for path, _, part in _parts(example):
            if part.get("type") == _PICTURES:
                yield from _usable(example, part, path, spec)

    return {"images": look}


def sounds(spec: JobSpec, role: str) -> Mapping[str, Look]:
    """For a model that speaks (`role` assistant) or hears (user): each row has one sound, in a message of that role."""

    def look(example: Example) -> Iterator[Finding]:
        found = 0
        for path, message, part in _parts(example):
            if part.get("type") in _SOUNDS:
                found += 1
                yield from _usable(example, part, path, spec)
                if message.role != role:
                    yield _error("sound-place", f"a sound of the {message.role}", f"It belongs to the {role}.", path)
            elif part.get("type") != "text":
                yield _error("other-parts", f"a part of type {part.get('type')!r}", "Remove it.", path)
        if found != 1:
            text = f"{found} sounds; a row to learn from has one, in a message of the {role}"
            yield _error("sound-count", text, 'Write a part {"type": "audio", "audio": FILE}.', "messages")
        if not isinstance(example, ChatExample) or [one.role for one in example.messages] != ["user", "assistant"]:
            yield _error("sound-turns", "more than a question and an answer", "Keep one of each.", "messages")
        elif not example.messages[0 if role == "assistant" else 1].text:
            yield _error("sound-text", "a sound without its text", "Write what is said.", "messages")

    return {EVERY: look, "other-parts": _nothing}


def _nothing(_example: Example) -> Iterator[Finding]:
    return iter(())


def _parts(example: Example) -> Iterator[tuple[str, Message, Mapping[str, Any]]]:
    if isinstance(example, ChatExample):
        for number, message in enumerate(example.messages):
            if isinstance(message.content, list):
                for place, part in enumerate(message.content):
                    yield f"messages[{number}].content[{place}]", message, part


def _usable(example: Example, part: Mapping[str, Any], path: str, spec: JobSpec) -> Iterator[Finding]:
    try:
        url = media.address(part)
    except (KeyError, TypeError, AttributeError):
        url = None
    if not isinstance(url, str):
        yield _error("media-unusable", f"no address in {path}", "Give a file or a data: URL.", path)
        return
    source = None if example.source is None else msgspec.to_builtins(example.source)
    here = url.startswith("file:") or "://" not in url
    try:
        if url.startswith("data:"):
            media.content(url, source, "")
        elif not here:
            raise media.Unreadable("nothing is fetched for training")  # noqa: TRY301 - the same words for all
        elif spec.compute.kind != "local":
            raise media.Unreadable("a file of this machine does not travel to a rented one")  # noqa: TRY301
        elif not (file := media.place(url, source, str(Path.cwd()))).is_file():
            raise media.Unreadable(f"there is no file {file}")  # noqa: TRY301
    except media.Unreadable as exc:
        yield _error("media-unusable", str(exc), "Give a file of this machine, or a data: URL.", path)


def _error(rule: str, message: str, fix: str, path: str | None) -> Finding:
    return Finding(rule=rule, severity="error", message=message, fix=fix, path=path)
