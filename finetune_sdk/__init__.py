"""Fine-tune language models anywhere: one `FineTuneJob` over every provider."""

__version__ = "0.1.0"
