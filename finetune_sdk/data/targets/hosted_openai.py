"""OpenAI and Azure OpenAI: one family of formats, different limits."""

from __future__ import annotations

from dataclasses import replace

from finetune_sdk.data.example import Role
from finetune_sdk.data.targets.base import Doc, Profile, Rule
from finetune_sdk.data.targets.hosted_rules import (
    TEXT_ROLES,
    Answers,
    Content,
    Learnable,
    OtherParts,
    Pair,
    RefusalParts,
)
from finetune_sdk.data.targets.rules import (
    Images,
    LastTurn,
    MaxBytes,
    MaxImageRows,
    MaxTokens,
    MinRows,
    Refuses,
    Roles,
    ToolIds,
    ToolNames,
    Weights,
    refuses,
)

SCHEMA = Doc(
    "https://github.com/openai/openai-openapi/tree/f7f4b05 (FineTuneChatRequestInput and its kin)", "2026-11-20"
)
GUIDE = Doc("https://developers.openai.com/api/docs/guides/supervised-fine-tuning", "2026-11-20")
VISION = Doc("https://developers.openai.com/api/docs/guides/vision-fine-tuning", "2026-11-20")
FILES = Doc("https://github.com/openai/openai-openapi (POST /files, POST /uploads; 2026-08-21)", "2026-11-20")
AZURE = Doc("https://github.com/MicrosoftDocs/azure-ai-docs (fine-tuning.md)", "2026-11-20")
AZURE_VISION = Doc("https://github.com/MicrosoftDocs/azure-ai-docs (fine-tuning-vision.md)", "2026-11-20")
AZURE_DPO = Doc(
    "https://github.com/MicrosoftDocs/azure-ai-docs (fine-tuning-direct-preference-optimization.md)", "2026-11-20"
)
AZURE_RFT = Doc("https://github.com/MicrosoftDocs/azure-ai-docs (reinforcement-fine-tuning.md)", "2026-11-20")
AZURE_MODELS = Doc("https://github.com/MicrosoftDocs/azure-ai-docs (models: fine-tuning table)", "2026-11-20")
SAME_ROLE = Doc("https://github.com/microsoft-foundry/fine-tuning/issues/23", "2026-11-20")

_UNKNOWN_KEYS: tuple[Rule, ...] = (
    *refuses(SCHEMA, "spans", "template-kwargs", "image-type"),
    OtherParts(doc=SCHEMA),
    RefusalParts(doc=SCHEMA),
    Refuses(doc=SCHEMA, of="reasoning", why="the training schema has no field for it"),
    Refuses(doc=SCHEMA, of="message-keys", severity="warning", why="unknown keys on messages are not accepted"),
    ToolNames(doc=SCHEMA),
    ToolIds(doc=SCHEMA),
    Content(doc=SCHEMA),
)
_IGNORED_KEYS = Refuses(doc=SCHEMA, of="row-keys", severity="warning", why="the key is ignored")
_ENOUGH = MinRows(doc=GUIDE, rows=10)
_SIZES: tuple[Rule, ...] = (
    MaxBytes(doc=FILES, bytes=8 * 2**30),
    MaxImageRows(doc=VISION, rows=50_000),
)
OPENAI = (
    Profile(
        target="openai",
        methods=("sft",),
        kinds=("chat",),
        format="chat",
        hosted=True,
        null_content=False,
        doc=SCHEMA,
        rules=(
            Roles(doc=SCHEMA, allowed=TEXT_ROLES),
            Learnable(doc=SCHEMA),
            Weights(doc=SCHEMA),
            *_UNKNOWN_KEYS,
            _IGNORED_KEYS,
            Images(doc=VISION, per_example=10),
            MaxTokens(doc=AZURE_MODELS, tokens=65_536, severity="warning"),
            _ENOUGH,
            *_SIZES,
        ),
        notes=("Images with people, faces, children or CAPTCHAs are left out by the service without a word.",),
    ),
    Profile(
        target="openai",
        methods=("dpo",),
        kinds=("preference",),
        format="openai-preference",
        hosted=True,
        null_content=False,
        doc=SCHEMA,
        rules=(
            Roles(doc=SCHEMA, allowed=TEXT_ROLES),
            Pair(doc=SCHEMA),
            Answers(doc=SCHEMA),
            Refuses(doc=SCHEMA, of="answer-turns", why="an answer is exactly one turn of the assistant"),
            Refuses(doc=SCHEMA, of="margin", why="the training schema has no field for it"),
            *_UNKNOWN_KEYS,
            _IGNORED_KEYS,
            Images(doc=VISION, per_example=10),
            _ENOUGH,
            *_SIZES,
        ),
    ),
    Profile(
        target="openai",
        methods=("rft",),
        models=("o4-mini*", "gpt-5*"),
        family="reasoning models",
        kinds=("prompt",),
        format="openai-rft",
        hosted=True,
        null_content=False,
        doc=SCHEMA,
        rules=(
            Roles(doc=SCHEMA, allowed=frozenset[Role](("developer", "user", "assistant", "tool"))),
            LastTurn(doc=AZURE_RFT, roles=frozenset(("user",))),
            *_UNKNOWN_KEYS,
            Images(doc=VISION, per_example=10),
            _ENOUGH,
            *_SIZES,
        ),
        notes=("Every key beside `messages` and `tools` is the grader's `{{item.KEY}}`.",),
    ),
)


def _azure(profile: Profile) -> Profile:
    """OpenAI's profile with Azure's limits in place of OpenAI's."""
    kept = tuple(rule for rule in profile.rules if not isinstance(rule, Images | MaxBytes | MinRows | MaxTokens))
    limits: tuple[Rule, ...] = (
        Images(doc=AZURE_VISION, per_example=64),
        MinRows(doc=AZURE, rows=10),
        MaxBytes(doc=AZURE, bytes=512 * 2**20),
    )
    if profile.methods == ("sft",):
        limits = (
            *limits,
            MaxTokens(doc=AZURE_MODELS, tokens=65_536, severity="warning"),
            Refuses(doc=SAME_ROLE, of="same-role", severity="warning", why="seen to end in `contains invalid schema`"),
        )
    return replace(
        profile,
        target="azure",
        rules=(*kept, *limits),
        notes=(*profile.notes, *_AZURE_NOTES.get(profile.methods[0], ())),
    )


_AZURE_NOTES = {
    "sft": ("The guide asks for UTF-8 with a byte order mark; whether the service insists is not known.",),
    "rft": ("A validation file is mandatory.",),
}

AZURE_PROFILES = (
    _azure(OPENAI[0]),
    replace(
        _azure(OPENAI[1]),
        doc=AZURE_DPO,
        rules=(
            *(
                rule
                for rule in _azure(OPENAI[1]).rules
                if not (isinstance(rule, Answers) or rule.rule == "answer-turns")
            ),
            Answers(doc=AZURE_DPO, roles=frozenset[Role](("assistant", "tool"))),
        ),
        notes=("Unlike at OpenAI, an answer may hold several turns of the assistant and of tools.",),
    ),
    replace(_azure(OPENAI[2]), doc=AZURE_RFT),
)
PROFILES = (*OPENAI, *AZURE_PROFILES)
