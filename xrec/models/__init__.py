"""Recommenders behind one seam (`recommender.py`): the composed model and its parts, and the baselines."""
