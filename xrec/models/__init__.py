"""Recommenders behind one seam (`recommender.py`): the composed model, its components and encoders, and the baselines."""
