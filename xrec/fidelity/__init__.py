"""Fidelity metrics: one file per family. Handed a value function and an attribution; never explains."""
