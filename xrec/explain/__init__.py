"""Explainers: one file per family. Each works on a game and answers with an `Attribution`."""
