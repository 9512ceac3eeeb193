# pyright: basic
"""Requests and answers checked against the vendors' published OpenAPI documents, which lie beside the project."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

SPECS = Path(__file__).resolve().parents[2].parent / "shared" / "specs"
FILES = {
    "openai": "openai_finetuning.openapi.yaml",
    "gateway": "openai_finetuning.gateway.openapi.yaml",
    "azure-v1": "azure_openai_finetuning.v1.openapi.json",
    "azure-2024-10-21": "azure_openai_finetuning.2024-10-21.swagger.json",
    "arm": "azure_arm_deployments.2025-09-01.openapi.json",
}
WHY_SKIPPED = f"the vendors' published contracts are not at {SPECS}"


def available() -> bool:
    """Whether the documents are at hand."""
    return all((SPECS / name).exists() for name in FILES.values())


class Contract:
    """One published document."""

    def __init__(self, name: str) -> None:
        path = SPECS / FILES[name]
        text = path.read_text("utf-8")
        self.document: dict[str, Any] = (
            yaml.load(text, Loader=yaml.CSafeLoader) if path.suffix == ".yaml" else json.loads(text)
        )
        self.document = _null_allowed(self.document)
        self._registry: Registry[Any] = Registry().with_resource(
            "urn:contract", Resource(contents=self.document, specification=DRAFT202012)
        )
        self._paths = [(re.compile(_pattern(path)), path) for path in self.document["paths"]]

    def operation(self, method: str, path: str) -> tuple[str, Mapping[str, Any]] | None:
        """The operation a request belongs to, with its path as it is written in the document."""
        for pattern, name in self._paths:
            operations = self.document["paths"][name]
            if pattern.fullmatch(path) and method.lower() in operations:
                return name, operations[method.lower()]
        return None

    def request_faults(
        self, method: str, path: str, query: Mapping[str, str], body: Any, form: Mapping[str, Any] | None
    ) -> list[str]:
        """What the document forbids about a request: empty when it conforms."""
        found = self.operation(method, path)
        if found is None:
            return [f"{method} {path} is not in the document"]
        name, operation = found
        faults = [
            f"{method} {name}: query {one!r} is missing" for one in self._required_query(operation) if one not in query
        ]
        known = {one["name"].partition("[")[0] for one in self._parameters(operation) if one["in"] == "query"}
        faults += [f"{method} {name}: query {one!r} is unknown" for one in query if one.partition("[")[0] not in known]
        if form is not None:
            return faults + [f"{method} {name}: {fault}" for fault in self._form_faults(operation, form)]
        schema = self._body_schema(operation)
        if schema is None:
            return faults + ([f"{method} {name}: takes no body"] if body else [])
        return faults + [f"{method} {name}: {fault}" for fault in self._faults(schema, body)]

    def answer_faults(self, method: str, path: str, status: int, body: Any) -> list[str]:
        """What the document forbids about an answer to that request."""
        found = self.operation(method, path)
        assert found is not None, f"{method} {path} is not in the document"
        name, operation = found
        answer = operation["responses"].get(str(status)) or operation["responses"].get("default")
        if answer is None:
            return [f"{method} {name}: status {status} is not documented"]
        answer = self._deref(answer)
        schema = answer.get("schema") or answer.get("content", {}).get("application/json", {}).get("schema")
        return [] if schema is None else [f"{method} {name} {status}: {fault}" for fault in self._faults(schema, body)]

    def _form_faults(self, operation: Mapping[str, Any], form: Mapping[str, Any]) -> Iterator[str]:
        fields = {one["name"]: one for one in self._parameters(operation) if one["in"] == "formData"}
        schema: Mapping[str, Any] = {
            "properties": fields,
            "required": [name for name, one in fields.items() if one.get("required")],
        }
        if "requestBody" in operation:
            schema = self._deref(operation["requestBody"]["content"]["multipart/form-data"]["schema"])
        given = {key.partition("[")[0] for key in form}
        yield from (f"form field {name!r} is missing" for name in schema.get("required", []) if name not in given)
        yield from (f"form field {name!r} is unknown" for name in given if name not in schema["properties"])
        purpose = self._deref(schema["properties"].get("purpose", {})).get("enum")
        if purpose and form.get("purpose") not in purpose:
            yield f"purpose {form.get('purpose')!r} is not one of {purpose}"

    def _parameters(self, operation: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        return [self._deref(one) for one in operation.get("parameters", [])]

    def _required_query(self, operation: Mapping[str, Any]) -> list[str]:
        return [one["name"] for one in self._parameters(operation) if one["in"] == "query" and one.get("required")]

    def _body_schema(self, operation: Mapping[str, Any]) -> Any:
        for one in self._parameters(operation):
            if one["in"] == "body":
                return one["schema"]
        return operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")

    def _faults(self, schema: Any, value: Any) -> list[str]:
        rooted = _absolute(schema)
        validator = Draft202012Validator(rooted, registry=self._registry)
        return [f"{error.json_path}: {error.message[:300]}" for error in validator.iter_errors(value)]

    def _deref(self, value: Any) -> Any:
        while isinstance(value, dict) and "$ref" in value:
            node: Any = self.document
            for part in value["$ref"].removeprefix("#/").split("/"):
                node = node[part.replace("~1", "/").replace("~0", "~")]
            value = node
        return value


@cache
def contract(name: str) -> Contract:
    """A document, read once."""
    return Contract(name)


def _pattern(path: str) -> str:
    return "".join(r"[^/]+" if part.startswith("{") else re.escape(part) for part in re.split(r"(\{[^}]+\})", path))


def _absolute(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {
            key: f"urn:contract{value}" if key == "$ref" and str(value).startswith("#") else _absolute(value)
            for key, value in schema.items()
        }
    return [_absolute(one) for one in schema] if isinstance(schema, list) else schema


def _null_allowed(value: Any) -> Any:
    """`nullable: true`, which the older documents use, in today's words."""
    if isinstance(value, list):
        return [_null_allowed(one) for one in value]
    if not isinstance(value, dict):
        return value
    changed = {key: _null_allowed(one) for key, one in value.items()}
    if changed.get("nullable") is True and isinstance(changed.get("type"), str):
        changed["type"] = [changed["type"], "null"]
        if "enum" in changed:
            changed["enum"] = [*changed["enum"], None]
    return changed
