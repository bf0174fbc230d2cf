"""Fitting a trainable model: examples, the loop, checkpoints."""
