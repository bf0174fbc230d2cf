"""Several metrics on one attribution, means over the draws of a random one, and the gain over a reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from xrec.fidelity.metric import FidelityMetric, Key
from xrec.fidelity.removal import Removal
from xrec.games.game import Game
from xrec.games.keyed import case_seed
from xrec.types import Attribution, Doubles, Metric

#: what one explainer measured: values per case [B]
Values = dict[Key, Doubles]

DELETION: Key = ("deletion", None, None, None)
REMOVAL_GAIN: Key = ("removal_gain", None, None, None)
REMOVAL_GAIN_METRIC = Metric(
    "removal_gain",
    "Removal gain",
    "higher",
    ".3f",
    "(Deletion of random - Deletion of the explainer) / |f(x) - f(empty)|; 0 is no better than chance.",
    family="scores",
    headline=True,
)


def measure(game: Game, attribution: Attribution, metrics: Sequence[FidelityMetric], seed: int) -> Values:
    """Every metric of one attribution; ties in its order are broken by one permutation per case, keyed by `seed`."""
    removal = Removal(game, attribution, [case_seed(seed, case, "ties") for case in game.cases])
    return {m.key: m.values for metric in metrics for m in metric.measure(removal)}


def mean_over_draws(draws: Sequence[Values]) -> Values:
    """The fidelity of a random explainer."""
    return {key: np.mean([draw[key] for draw in draws], axis=0) for key in draws[0]}


def removal_gain(found: Values, reference: Mapping[Key, Doubles], scale: Doubles) -> Doubles:
    """[B] (Deletion of the reference - Deletion of the explainer) / |f(x) - f(empty)|."""
    return (reference[DELETION] - found[DELETION]) / np.abs(scale)
