"""Serving GGUF files with llama.cpp (xllamacpp); needs neither torch nor transformers."""
