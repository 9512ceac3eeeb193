"""Hugging Face Inference Endpoints: a host for models of the Hub. Needs the extra `hub`."""
