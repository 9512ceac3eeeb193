# pyright: basic
"""Inference Endpoints on loopback, beside the hub: routes and fields as huggingface_hub 2.4 sends and reads them.

Stricter than the real service: an unknown field, a repository or revision that is not on the hub, a machine that does
not exist are refused. An endpoint goes through its states as it is asked about; a running one chats.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wire import hub_routes
from wire.hub import ORG, USER, Hub, Refused

_FIELDS = {"compute", "model", "name", "provider", "type", "tags"}
_COMPUTE = {"accelerator", "instanceSize", "instanceType", "scaling"}
_MODEL = {"framework", "repository", "revision", "image", "task"}
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
STEPS = ("pending", "initializing", "running")


def compute(
    kind: str, size: str, usd: float | None, *, gpu: bool = True, used: int = 0, status: str = "available"
) -> Any:
    found = {
        "id": f"aws-us-east-1-{kind}-{size}",
        "accelerator": "gpu" if gpu else "cpu",
        "instanceType": kind,
        "instanceSize": size,
        "architecture": kind,
        "numAccelerators": int(size[1:]) if gpu else 0,
        "memoryGb": 30,
        "status": status,
        "quota": {"maxAccelerators": 2, "usedAccelerators": used},
    }
    return found | ({} if usd is None else {"pricePerHour": usd})


@dataclass
class Service:
    """All endpoints. Tests look at it and set `steps` and the like."""

    hub: Hub
    steps: list[str] = field(default_factory=lambda: list(STEPS))
    """The states a new or resumed endpoint goes through, one at each look."""
    endpoints: dict[str, dict[str, Any]] = field(default_factory=dict)
    left: dict[str, list[str]] = field(default_factory=dict)
    computes: list[Any] = field(
        default_factory=lambda: [
            compute("nvidia-l4", "x1", 0.8),
            compute("nvidia-a100", "x4", 10.0),
            compute("nvidia-t4", "x1", None),
            compute("intel-icl", "x2", 0.067, gpu=False),
        ]
    )
    asked: list[dict[str, Any]] = field(default_factory=list)

    def create(self, namespace: str, body: dict[str, Any]) -> dict[str, Any]:
        unknown = (set(body) - _FIELDS) | (set(body["compute"]) - _COMPUTE) | (set(body["model"]) - _MODEL)
        if unknown or body["type"] != "authenticated" or not _NAME.fullmatch(body["name"]):
            raise Refused(400, f"unknown fields {sorted(unknown)}, or a bad name or type")
        if f"{namespace}/{body['name']}" in self.endpoints:
            raise Refused(409, "An endpoint with this name exists already")
        words = body["compute"]
        if not any(
            (one["instanceType"], one["instanceSize"], one["accelerator"])
            == (words["instanceType"], words["instanceSize"], words["accelerator"])
            for one in self.computes
        ):
            raise Refused(400, "there is no such machine")
        repo = self.hub.repos.get(("model", body["model"]["repository"]))
        if repo is None or repo.at(body["model"]["revision"])[0] != body["model"]["revision"]:
            raise Refused(400, "no such repository, or no pinned revision")
        id_ = f"{namespace}/{body['name']}"
        stamp = "2026-11-21T08:00:00.000Z"
        self.endpoints[id_] = {
            **body,
            "healthRoute": "/health",
            "status": {"state": "pending", "message": "", "createdAt": stamp, "updatedAt": stamp},
        }
        self.left[id_] = list(self.steps)
        return self.endpoints[id_]

    def look(self, id_: str) -> dict[str, Any]:
        found = self.endpoints.get(id_)
        if found is None:
            raise Refused(404, "Endpoint not found")
        if self.left[id_]:
            self._to(id_, self.left[id_].pop(0))
        return found

    def _to(self, id_: str, state: str) -> None:
        status = self.endpoints[id_]["status"]
        status["state"] = state
        status["message"] = "CUDA out of memory" if "ail" in state else ""
        if state == "running":
            status["url"] = f"{self.hub.url}/_model/{id_}"

    def change(self, id_: str, verb: str) -> dict[str, Any]:
        found = self.look(id_)
        if verb == "resume":
            self.left[id_] = list(self.steps)
            return found
        self.left[id_] = []
        found["status"].pop("url", None) if verb == "pause" else None
        self._to(id_, {"pause": "paused", "scale-to-zero": "scaledToZero"}[verb])
        return found


def _routes() -> list[tuple[str, re.Pattern[str], str]]:
    one = r"/v2/endpoint/(?P<id_>[^/]+/[^/]+)"
    table = [
        ("GET", r"/v2/provider/(?P<namespace>[^/]+)", "prices"),
        ("GET", r"/v2/endpoint/(?P<namespace>[^/]+)", "endpoints"),
        ("POST", r"/v2/endpoint/(?P<namespace>[^/]+)", "create_endpoint"),
        ("GET", one, "endpoint"),
        ("DELETE", one, "delete_endpoint"),
        ("POST", one + r"/(?P<verb>pause|resume|scale-to-zero)", "change_endpoint"),
        ("GET", r"/_model/(?P<id_>[^/]+/[^/]+)/v1/models", "model_names"),
        ("POST", r"/_model/(?P<id_>[^/]+/[^/]+)/v1/chat/completions", "model_chat"),
    ]
    return [(method, re.compile(pattern), name) for method, pattern, name in table]


class _Handler(hub_routes.Handler):
    service: Service
    routes = _routes()

    do_DELETE = hub_routes.Handler.do_GET  # noqa: N815 - the name that http.server looks for

    def _routed(self, path: str) -> tuple[int, dict[str, str], bytes]:
        for method, pattern, name in self.routes:
            said = pattern.fullmatch(path)
            if method == self.command and said is not None:
                self._authorized()
                with self.hub.lock:
                    done: Any = getattr(self, f"_{name}")(**said.groupdict())
                return done if isinstance(done, tuple) else (200, {}, json.dumps(done).encode())
        return super()._routed(path)

    def _prices(self, namespace: str) -> Any:
        if namespace not in (USER, ORG):
            raise Refused(403, "not your namespace")
        return {"vendors": [{"name": "aws", "regions": [{"name": "us-east-1", "computes": self.service.computes}]}]}

    def _endpoints(self, namespace: str) -> Any:
        return {"items": [one for id_, one in self.service.endpoints.items() if id_.startswith(f"{namespace}/")]}

    def _create_endpoint(self, namespace: str) -> Any:
        return self.service.create(namespace, self._json())

    def _endpoint(self, id_: str) -> Any:
        return self.service.look(id_)

    def _delete_endpoint(self, id_: str) -> Any:
        self.service.look(id_)
        del self.service.endpoints[id_]
        return {}

    def _change_endpoint(self, id_: str, verb: str) -> Any:
        return self.service.change(id_, verb)

    def _model_names(self, id_: str) -> Any:
        return {"object": "list", "data": [{"id": self.service.look(id_)["model"]["repository"]}]}

    def _model_chat(self, id_: str) -> Any:
        body = self._json()
        self.service.asked.append(body)
        if body["model"] != self.service.look(id_)["model"]["repository"]:
            raise Refused(404, "no such model")
        chunks = [{"choices": [{"index": 0, "delta": {"content": piece}}]} for piece in ("hel", "lo")]
        text = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
        return 200, {"Content-Type": "text/event-stream"}, text.encode()


@contextmanager
def serving(home: Path) -> Generator[Service]:
    """The hub and the endpoints at one address: the hub's, and the same with `/v2`."""
    hub = Hub(home=home)
    service = Service(hub)
    with hub_routes.listening(hub, type("Handler", (_Handler,), {"hub": hub, "service": service})):
        yield service
