"""Fidelity metrics: one file per family. Handed a game and an attribution; never explains."""
