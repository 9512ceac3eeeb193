"""Deployments: a tuned model that answers OpenAI's chat API."""
