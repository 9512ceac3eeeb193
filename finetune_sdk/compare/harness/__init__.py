"""EleutherAI's lm-evaluation-harness: its tasks, asked of any deployment by itself, in its own environment."""
