"""Sweeps: a Hydra sweeper on Optuna that resumes.

Nothing here imports Optuna at its top, for Hydra reads it at every `--help`.
"""
