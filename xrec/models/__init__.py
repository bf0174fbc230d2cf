"""Recommenders behind one seam (`recommender.py`): the composed model, components, encoders, baselines."""
