"""Baselines; closed form, fitted on training periods only."""
