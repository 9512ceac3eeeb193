# pyright: basic
"""Models, graders and chats of the stand-in."""

from __future__ import annotations

import json
from typing import Any

from wire.stub_jobs import Jobs
from wire.stub_state import Refused, Request


class Models(Jobs):
    """What answers, and what grades."""

    def _tuned_models(self) -> list[str]:
        return [job["fine_tuned_model"] for job in self.jobs.values() if job["fine_tuned_model"]]

    def _list_models(self, _request: Request) -> tuple[int, Any]:
        names = ["gpt-4o", *(name for name in self._tuned_models() if name not in self.hidden_models)]
        shown = [{"id": name, "object": "model", "created": 1, "owned_by": "system"} for name in names]
        return 200, {"object": "list", "data": shown}

    def _delete_model(self, _request: Request, model: str) -> tuple[int, Any]:
        if model in self.hidden_models or model not in self._tuned_models():
            raise Refused(404, f"The model '{model}' does not exist", code="model_not_found", param="model")
        self.hidden_models |= {model}
        return 200, {"id": model, "object": "model", "deleted": True}

    def _get_model(self, _request: Request, model: str) -> tuple[int, Any]:
        if model in self.hidden_models:
            raise Refused(404, f"The model '{model}' does not exist", code="model_not_found", param="model")
        ends = self.shutdown.get(model)
        return 200, {"id": model, "object": "model", "created": 1, "owned_by": "system", "shutdown_date": ends}

    def _validate_grader(self, request: Request) -> tuple[int, Any]:
        if "nonsense" in json.dumps(request.body):
            raise Refused(400, "Invalid grader: unknown template", param="grader")
        return 200, {"grader": request.body["grader"]}

    def _run_grader(self, request: Request) -> tuple[int, Any]:
        grader, sample = request.body["grader"], request.body["model_sample"]
        wanted = str(request.body["item"].get("answer"))
        failed = "raise" in str(grader.get("source"))
        kinds = "formula_parse sample_parse truncated_observation other python_grader_server python_grader_runtime"
        kinds += " model_grader_server model_grader_refusal model_grader_parse invalid_variable unresponsive_reward"
        flags = [f"{kind}_error" for kind in kinds.split()]
        errors = {
            **dict.fromkeys(flags, False), "python_grader_runtime_error": failed,
            "python_grader_server_error_type": None, "python_grader_runtime_error_details": None,
            "model_grader_server_error_details": None,
        }  # fmt: skip
        meta = {"name": grader["name"], "type": grader["type"], "errors": errors, "execution_time": 0.1, "scores": {},
                "token_usage": None, "sampled_model_name": None}  # fmt: skip
        return 200, {
            "reward": 1.0 if sample == wanted else 0.0,
            "metadata": meta,
            "sub_rewards": {},
            "model_grader_token_usage_per_model": {},
        }

    def _chat(self, request: Request, _deployment: str = "") -> tuple[int, Any]:
        if self.chat_quota is not None:
            self.chat_quota -= 1
            if self.chat_quota < 0:
                self.chats_refused += 1
                raise Refused(429, "You exceeded your current quota", code="insufficient_quota")
        text = self.says(request.body["model"], request.body["messages"])
        if text is None:
            raise Refused(400, "The prompt was filtered", code="content_filter")
        message = {"role": "assistant", "content": text, "refusal": None}
        return 200, {
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": request.body["model"],
            "choices": [{"index": 0, "finish_reason": "stop", "message": message, "logprobs": None}],
        }  # fmt: skip
