"""What `import xrec` offers: a saved run's model, anyone's recommender, explanations of either, and how true they are.

Made of the same parts as a run (`xrec.stages`, `xrec.games`, `xrec.explain`, `xrec.fidelity`), without Hydra's command
line; a case that a run explained gets the same values here.
"""

import sys
from types import ModuleType

from xrec.door.explanation import Explanation
from xrec.door.external import ExternalModel, external
from xrec.door.measuring import fidelity
from xrec.door.saved import LoadedRun, load

__all__ = ["Explanation", "ExternalModel", "LoadedRun", "external", "fidelity", "load"]


class _Called(ModuleType):
    """`xrec.fidelity` is the package of the metrics, too, and Python makes it an attribute of `xrec` under that name:
    so that `xrec.fidelity([e])` measures, whatever was imported first, the package can be called."""

    __call__ = staticmethod(fidelity)


sys.modules["xrec.fidelity"].__class__ = _Called
