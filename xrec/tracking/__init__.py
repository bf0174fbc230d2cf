"""Where numbers go: the run directory (`store.py`) and a tracker. wandb is imported in `wandb_tracker.py` only."""
