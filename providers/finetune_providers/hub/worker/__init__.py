"""Runs on a rented machine; never imports finetune_sdk."""
