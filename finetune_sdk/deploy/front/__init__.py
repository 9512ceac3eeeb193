"""The HTTP front of a local deployment: OpenAI's API before an engine. Needs the extra `serve`."""
