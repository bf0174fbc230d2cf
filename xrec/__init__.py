"""xrec: explainable product recommendation, measured."""

import os

__version__ = "0.1.0"

# An idle OpenMP thread spins a little, then sleeps. Spinning as long as GNU OpenMP does by default slows runs that
# share a machine (workers of a sweep) tenfold and more; not spinning at all slows a lone run by a quarter. Read when
# torch is first imported; no number depends on it; an environment that has a policy of its own wins.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
