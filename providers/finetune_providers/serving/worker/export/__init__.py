"""Exports: other forms of a tuned model, each compared with the model as it was trained before it is handed over."""
