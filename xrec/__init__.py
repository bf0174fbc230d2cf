"""xrec: explainable product recommendation, measured."""

import os

__version__ = "0.1.0"

# Idle OpenMP threads sleep instead of spinning: with another process on the machine (workers of a sweep) spinning costs
# a factor of 10 and more. Read when torch is first imported; no number depends on it; an environment that sets it wins.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
