"""Explainers: one file per family. Each works on a value function and answers with an `Attribution`."""
