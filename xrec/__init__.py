"""xrec: explainable product recommendation, measured.

run = xrec.load("runs/quickstart/...")           a saved run's model
model = xrec.external(scores, item_ids)          anyone's recommender
e = run.explain(user="1364"); e.plot()           why that item
xrec.fidelity([e])                               and how true that is to the model
"""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xrec.door import external as external
    from xrec.door import fidelity as fidelity
    from xrec.door import load as load

__version__ = "0.1.0"
_OFFERED = ("external", "fidelity", "load")

# An idle OpenMP thread spins a little, then sleeps. Spinning as long as GNU OpenMP does by default slows runs that
# share a machine (workers of a sweep) tenfold and more; not spinning at all slows a lone run by a quarter. Read when
# torch is first imported; no number depends on it; an environment that has a policy of its own wins.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def __getattr__(name: str) -> Any:
    """What is offered is imported when it is first asked for: `import xrec` alone needs no torch."""
    if name not in _OFFERED:
        raise AttributeError(f"module 'xrec' has no attribute {name!r}")
    from xrec import door

    return getattr(door, name)


def __dir__() -> list[str]:
    return ["__version__", *_OFFERED]
