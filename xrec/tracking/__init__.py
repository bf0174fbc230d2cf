"""Where numbers go besides the run directory. wandb is imported in `wandb_tracker.py` only."""
