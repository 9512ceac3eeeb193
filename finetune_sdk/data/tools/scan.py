"""Secrets and personal data in examples, found before anything leaves the machine. Values are masked in findings.

Secrets: a literal prefilter, then our shapes, then detect-secrets' named detectors where it is installed (its
entropy detectors are left out: they report ordinary text). Personal data: patterns with their check sums.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

from finetune_sdk.data.example import Example
from finetune_sdk.data.tools.texts import strings
from finetune_sdk.types import Finding, Severity

SECRET = "secret"  # noqa: S105 - the name of a rule
PERSONAL = "personal-data"
MADE_UP = "made-up-data"
"""Addresses and numbers that are kept for examples: said, but no reason to refuse anything."""


class Found(NamedTuple):
    """One hit: the rule, what it is, the value with its middle masked, and the JSON path."""

    rule: str
    what: str
    masked: str
    path: str

    @property
    def severity(self) -> Severity:
        """Whether anything need be done about it."""
        return "info" if self.rule == MADE_UP else "warning"

    @property
    def fix(self) -> str:
        """What to do about it."""
        return "" if self.rule == MADE_UP else "Remove it, or replace it by a made-up one."


SHAPES: dict[str, re.Pattern[str]] = {
    "AWS access key": re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "GitHub token": re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{40,})"),
    "OpenAI or Anthropic key": re.compile(r"\bsk-(?:proj-|ant-|svcacct-)?[A-Za-z0-9_-]{20,}"),
    "Hugging Face token": re.compile(r"\bhf_[A-Za-z0-9]{30,}\b"),
    "Google API key": re.compile(r"\bAIza[0-9A-Za-z_-]{35}"),
    "Slack token": re.compile(r"\bxox[abprs]-[A-Za-z0-9-]{10,}"),
    "GitLab token": re.compile(r"\bglpat-[A-Za-z0-9_-]{20,}"),
    "Stripe key": re.compile(r"\b[sr]k_(?:live|test)_[A-Za-z0-9]{16,}"),
    "npm token": re.compile(r"\bnpm_[A-Za-z0-9]{36}\b"),
    "Groq key": re.compile(r"\bgsk_[A-Za-z0-9]{40,}"),
    "Replicate token": re.compile(r"\br8_[A-Za-z0-9]{36,}"),
    "DigitalOcean token": re.compile(r"\bdo[opr]_v1_[a-f0-9]{64}\b"),
    "Google OAuth token": re.compile(r"\bya29\.[A-Za-z0-9_-]{20,}"),
    "AWS secret key": re.compile(r"(?i:secret_?access_?key)[\"']?\s*[:=]\s*[\"']?([A-Za-z0-9/+]{40})(?![A-Za-z0-9/+])"),
    "bearer token": re.compile(r"\b[Bb]earer (?=[A-Za-z_-]*[0-9])([A-Za-z0-9._~+/-]{24,}=*)"),
    "private key": re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----"),
    "basic credentials": re.compile(r"uthorization[\"']?\s*[:=]\s*[\"']?[Bb]asic ([A-Za-z0-9+/]{12,}={0,2})"),
    "xAI key": re.compile(r"\bxai-[A-Za-z0-9]{40,}"),
    "Perplexity key": re.compile(r"\bpplx-[A-Za-z0-9]{40,}"),
    "Fireworks key": re.compile(r"\bfw_(?=[A-Za-z]*[0-9])[A-Za-z0-9]{22,}\b"),
    "LangSmith key": re.compile(r"\blsv2_(?:pt|sk)_[a-f0-9]{32}_[a-f0-9]{10}\b"),
    "Hugging Face organisation token": re.compile(r"\bapi_org_[A-Za-z0-9]{30,}\b"),
    "Google OAuth secret": re.compile(r"\bGOCSPX-[A-Za-z0-9_-]{24,}"),
    "Azure client secret": re.compile(r"(?<![\w~.-])[\w~.-]{3}8Q~[\w~.-]{31,34}(?![\w~-])"),
    "Azure shared access signature": re.compile(r"[?&]sig=([A-Za-z0-9%+/]{40,}=?)"),
    "Databricks token": re.compile(r"\bdapi[a-f0-9]{32}\b"),
    "Vault token": re.compile(r"\bhvs\.[A-Za-z0-9_-]{24,}"),
    "Docker token": re.compile(r"\bdckr_pat_[A-Za-z0-9_-]{20,}"),
    "Shopify token": re.compile(r"\bshp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}\b"),
    "Notion token": re.compile(r"\bntn_[A-Za-z0-9]{40,}"),
    "Linear key": re.compile(r"\blin_api_[A-Za-z0-9]{32,}"),
    "Postman key": re.compile(r"\bPMAK-[a-f0-9]{24}-[a-f0-9]{34}\b"),
    "New Relic key": re.compile(r"\bNRAK-[A-Z0-9]{27}\b"),
    "Sentry token": re.compile(r"\bsntrys_[A-Za-z0-9+/=_-]{40,}"),
    "Telegram token": re.compile(r"\b[0-9]{8,10}:AA[A-Za-z0-9_-]{33}(?![A-Za-z0-9_-])"),
    "age key": re.compile(r"\bAGE-SECRET-KEY-1[A-Z0-9]{58}\b"),
    "JSON web token": re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}"),
}
"""Our own shapes: detect-secrets 1.5.0 misses `sk-proj-` and `hf_`. A group, where there is one, is the secret."""

_LITERALS = (
    *("AKIA", "ASIA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "sk-", "hf_", "AIza", "xox", "glpat-"),
    *("k_live_", "k_test_", "gsk_", "r8_", "_v1_", "ya29.", "earer "),
    *("ccess_key", "ccess_Key", "ccessKey", "ccesskey", "CCESS_KEY", "CCESSKEY"),
    *(
        "-----BEGIN",
        "eyJ",
        "SG.",
        "npm_",
        "pypi-",
        "AccountKey=",
        "hooks.slack.com",
        "discord",
        "sq0",
    ),
    *("uthorization", "xai-", "pplx-", "fw_", "lsv2_", "api_", "GOCSPX-", "8Q~", "sig=", "dapi", "hvs.", "dckr_pat_"),
    *("shp", "ntn_", "PMAK-", "NRAK-", "sntrys_"),
    *(":AA", "AGE-SECRET-KEY"),
)


def _suspicious(text: str) -> bool:
    """Whether a text can hold a secret."""
    return holds_literal()(text) or ("://" in text and "@" in text)


@cache
def holds_literal() -> Callable[[str], bool]:
    """All literals at once where ahocorasick_rs is installed, else one fast search for each; a pattern is slower."""

    def one_by_one(text: str) -> bool:
        return any(literal in text for literal in _LITERALS)

    try:
        library: Any = importlib.import_module("ahocorasick_rs")
    except ImportError:
        return one_by_one
    find: Callable[[str], list[object]] = library.AhoCorasick(list(_LITERALS)).find_matches_as_indexes

    def at_once(text: str) -> bool:
        try:
            return bool(find(text))
        except UnicodeEncodeError:  # half a character, which the library cannot take
            return one_by_one(text)

    return at_once


_DETECTORS: tuple[tuple[str, str, str], ...] = (
    ("aws", "AWSKeyDetector", "AWS key"),
    ("azure_storage_key", "AzureStorageKeyDetector", "Azure storage key"),
    ("basic_auth", "BasicAuthDetector", "password in a URL"),
    ("discord", "DiscordBotTokenDetector", "Discord bot token"),
    ("github_token", "GitHubTokenDetector", "GitHub token"),
    ("gitlab_token", "GitLabTokenDetector", "GitLab token"),
    ("jwt", "JwtTokenDetector", "JSON web token"),
    ("npm", "NpmDetector", "npm token"),
    ("openai", "OpenAIDetector", "OpenAI key"),
    ("private_key", "PrivateKeyDetector", "private key"),
    ("pypi_token", "PypiTokenDetector", "PyPI token"),
    ("sendgrid", "SendGridDetector", "SendGrid key"),
    ("slack", "SlackDetector", "Slack token"),
    ("square_oauth", "SquareOAuthDetector", "Square token"),
    ("stripe", "StripeDetector", "Stripe key"),
)

_EMAIL = re.compile(r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]{1,64}@(?:[\w-]{1,63}\.){1,5}[A-Za-z]{2,24}(?![A-Za-z0-9-])")
_NOBODY = re.compile(r"(?:git|hg|svn|no-?reply|do-?not-?reply|mailer-daemon)@", re.IGNORECASE)
"""Accounts of services, such as in `git@github.com:owner/name.git`: nobody reads mail there."""
_FILES = (".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp", ".css", ".js", ".json", ".html")
"""Names of files, such as `logo@2x.png`: none of these is a top-level domain."""
_IN_URL = re.compile(r"://[^\s/@]{0,100}$")
_MADE_UP_ADDRESS = re.compile(
    r"@(?:[\w-]+\.)*(?:example\.\w+|example|test|invalid|localhost)$"
    r"|@(?:[\w-]+\.)*(?:your|my|example)?-?(?:domain|company|email)\.com$"
    r"|^(?:you|your[\w.-]*|name|user(?:name)?|someone|first[._-]?(?:name)?[._-]?last(?:name)?)@(?:[\w-]+\.)*your[\w-]*\.\w+$"
)
"""Domains that RFC 2606 and 6761 reserve; and those that people write in place of one, though they exist."""
_PHONE = re.compile(
    r"(?<![\w.+/-])(?:\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{1,4}(?:[ .-]?\d{2,4}){2,5}"
    r"|(?<!\d )00[1-9]\d{0,2}[ .-](?:\(0\)[ .-]?)?\d{1,4}(?:[ .-]?\d{2,4}){2,5}"
    r"|(?:1[ .-])?(?:\(\d{3}\) ?|\d{3}[.-])\d{3}[.-]\d{4})(?![\w-]|\.\d)"
)
_CALLED = re.compile(
    r"\b(?i:t[eé]l|telephone|telefon|t[eé]l[eé]phone|phone|mobile|cell|handy|fax|call|whatsapp)\b[^\d\n+]{0,16}"
    r"(0\d[\d ()/.-]{6,16}\d)(?![\w-]|\.\d)"
)
"""A number as it is dialled within a country, where a word says that it is one."""
_SOCIAL = re.compile(r"(?<![\w-])(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\w-])")
_CARD = re.compile(r"(?<![\w.-])[2-6](?:[ -]?\d){12,18}(?![\w-]|\.\d)")
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")


def scan(examples: Iterable[Example], *, secrets: bool = True, personal: bool = True) -> Iterator[Finding]:
    """A warning per hit, with file, line and JSON path. Whether it forbids anything depends on where the data goes."""
    for example in examples:
        source = example.source
        for hit in scan_example(example, secrets=secrets, personal=personal):
            yield Finding(
                rule=hit.rule,
                severity=hit.severity,
                message=f"{hit.what}: {hit.masked}",
                fix=hit.fix,
                file=source.file if source else None,
                line=source.line if source else None,
                path=hit.path,
            )


def leaving(example: Example, allowed: Collection[str] = ()) -> Iterator[Finding]:
    """An error per hit that nobody allowed to leave this machine, for providers that send rows away."""
    for finding in scan([example]):
        if finding.severity != "info" and finding.rule not in allowed:
            message = f"would be sent away: {finding.message}"
            fix = f"{finding.fix} `finetune data scan` lists all. Or allow it: `data.allow: [{finding.rule}]`."
            yield replace(finding, severity="error", message=message, fix=fix)


def scan_example(example: Example, *, secrets: bool = True, personal: bool = True) -> Iterator[Found]:
    """The hits in one example: in all that a file with the row would hold, not in what is learned only."""
    for path, text in strings(example):
        if secrets and _suspicious(text):
            yield from (Found(SECRET, what, masked(value), path) for what, value in _secrets(text))
        if personal:
            yield from (Found(rule, what, masked(value), path) for rule, what, value in _personal(text))


def masked(value: str) -> str:
    """The value's ends; enough to find it, not enough to use it."""
    shown = min(4, len(value) // 4)
    return f"{value[:shown]}…{value[-min(2, shown) :] if shown else ''}"


def _secrets(text: str) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    for what, shape in SHAPES.items():
        for match in shape.finditer(text):
            value = match.group(shape.groups)
            if not _BLANK.search(value) and not any(value in known for known in seen):
                seen.add(value)
                yield what, value
    for what, analyse in _detectors():
        for line in text.splitlines():
            if not _suspicious(line):
                continue
            for value in analyse(line):
                blank = _PLACEHOLDER.fullmatch(value) or _BLANK.search(value)
                if not blank and not any(value in known or known in value for known in seen):
                    seen.add(value)
                    yield what, value


_BLANK = re.compile(r"([xX*0.-])\1{9}|^[A-Za-z]{2,8}[_-](?i:your|my|insert)[_-]")
"""What stands in documentation in place of a key: a row of one sign, or "your-key"."""


_PLACEHOLDER = re.compile(
    r".{0,3}|[<${\[].*|\**|x+|(?:my|your)?_?-?(?:pass(?:word|wd)?|secret|token|user(?:name)?|pw|key)\d*", re.IGNORECASE
)
"""What stands in documentation in place of a password."""


@cache
def _detectors() -> tuple[tuple[str, Callable[[str], Iterable[str]]], ...]:
    """detect-secrets' named detectors; none when it is not installed."""
    found: list[tuple[str, Callable[[str], Iterable[str]]]] = []
    for module, name, what in _DETECTORS:
        try:
            plugin: Any = importlib.import_module(f"detect_secrets.plugins.{module}")
        except ImportError:
            continue
        found.append((what, getattr(plugin, name)().analyze_string))
    return tuple(found)


def thorough() -> bool:
    """Whether detect-secrets is installed, so that more than our own shapes are looked for."""
    return bool(_detectors())


def _personal(text: str) -> Iterator[tuple[str, str, str]]:
    if "@" in text:
        for match in _EMAIL.finditer(text):
            if _IN_URL.search(text, max(0, match.start() - 110), match.start()):
                continue  # a password, not a name
            if _NOBODY.match(match.group()) or match.group().lower().endswith(_FILES):
                continue
            rule = MADE_UP if _MADE_UP_ADDRESS.search(match.group().lower()) else PERSONAL
            yield rule, "e-mail address", match.group()
    if not _DIGIT.search(text) or not _DIGITS.search(text):
        return
    taken: list[tuple[int, int]] = []
    for what, shape, good in _NUMBERS:
        for match in shape.finditer(text):
            start, end = match.span(shape.groups)
            value = text[start:end]
            if good(value) and not any(start < last and first < end for first, last in taken):
                taken.append((start, end))
                yield (MADE_UP if what == _TELEPHONE and _is_fiction(value) else PERSONAL), what, value


_DIGIT = re.compile("[0-9]")
_DIGITS = re.compile(r"\d[\d .\-()]{5,}\d|[A-Z]{2}\d{2}")


def _is_card(value: str) -> bool:
    digits = re.sub(r"\D", "", value)
    if not _BRANDS.fullmatch(digits) or not _LAYOUT.fullmatch(value) or len(set(digits)) < 2:
        return False
    doubled = (
        int(sign) if index % 2 == 0 else sum(divmod(2 * int(sign), 10)) for index, sign in enumerate(digits[::-1])
    )
    return sum(doubled) % 10 == 0


_BRANDS = re.compile(
    r"4\d{15}|5[1-5]\d{14}|2[2-7]\d{14}|3[47]\d{13}|3(?:0[0-5]|[68]\d)\d{11}|6(?:011|5\d\d)\d{12}|35(?:2[89]|[3-8]\d)\d{12}"
)
"""Visa, Mastercard, American Express, Diners, Discover, JCB."""
_LAYOUT = re.compile(r"\d{14,16}|\d{4}([ -])\d{4}\1\d{4}\1\d{4}|\d{4}([ -])\d{6}\2\d{4,5}")


def _is_iban(value: str) -> bool:
    packed = value.replace(" ", "")
    if not 15 <= len(packed) <= 34:
        return False
    return int("".join(str(int(sign, 36)) for sign in packed[4:] + packed[:4])) % 97 == 1


def _is_phone(value: str) -> bool:
    digits = re.sub(r"\D", "", value)
    most = 13 if value == f"+{digits}" else 15  # a run of digits without any break is rarely a number to call
    return 9 <= len(digits) <= most and len(set(digits)) > 3


def _is_fiction(value: str) -> bool:
    """North American numbers that nobody has: kept for films, and for documentation."""
    digits = re.sub(r"\D", "", value)
    return (value[0] != "+" or digits[0] == "1") and "555" in (digits[-10:-7], digits[-7:-4])


_TELEPHONE = "telephone number"
_NUMBERS: tuple[tuple[str, re.Pattern[str], Callable[[str], bool]], ...] = (
    ("IBAN", _IBAN, _is_iban),
    ("card number", _CARD, _is_card),
    ("US social security number", _SOCIAL, bool),
    (_TELEPHONE, _PHONE, _is_phone),
    (_TELEPHONE, _CALLED, _is_phone),
)
