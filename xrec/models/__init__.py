"""Recommenders behind one seam (`base.py`): the composed model and its parts, and the baselines."""
