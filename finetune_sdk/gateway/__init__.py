"""OpenAI's fine-tuning and chat API in front of any backend: `finetune serve`. Needs the extra `serve`."""
