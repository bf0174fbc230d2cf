"""xrec: explainable product recommendation, measured."""

__version__ = "0.1.0"
