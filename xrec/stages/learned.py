"""What maskers and explainers have learned, saved in the run directory, so that nothing is fitted twice."""

from __future__ import annotations

from xrec.games.fitting import Fitting, Learner
from xrec.rundir.saved import SavedRun
from xrec.stages.run import Run
from xrec.training.checkpoint import load_tensors, save_tensors

MASKER = "masker"


def learned_file(name: str) -> str:
    """Where the state of the masker, or of `explainer.<name>`, lies in a run directory."""
    return f"learned/{name}.safetensors"


def learn(run: Run, name: str, learner: Learner, fitting: Fitting) -> None:
    """Fit it and save its state, or load the one that is there."""
    path = run.store.path(learned_file(name))
    if path.is_file():
        learner.load_state(load_tensors(path))
        return
    learner.fit(fitting)
    if state := learner.state():
        path.parent.mkdir(exist_ok=True)
        save_tensors(path, state)


def load_learned(run: Run, name: str, learner: Learner) -> None:
    """Load its state, if it has one.

    Raises:
        RunError: the saved file is missing or altered.
    """
    saved, file = SavedRun(run.store.directory), learned_file(name)
    if saved.has(file):
        learner.load_state(load_tensors(saved.require(file)))
