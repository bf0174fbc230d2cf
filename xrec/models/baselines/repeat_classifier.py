"""Repeat classifier: logistic regression on a pair's recency and frequency and on the item's statistics."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from xrec.models.baselines.repeat_probability import N_FEATURES, RepeatProbability
from xrec.models.settings import above_0
from xrec.types import Catalogue, Floats


class RepeatClassifier(RepeatProbability):
    """`RepeatProbability` by scikit-learn's logistic regression.

    Args:
        horizon, n_windows, backfill_periods, backfill_weight: as of `RepeatProbability`.
        regularization: of the regression (1 / C), on standardised features.
    Raises:
        SettingError: settings out of range; (on fitting) training periods without repeats.
    """

    owner = "repeat_classifier"

    def __init__(
        self,
        catalogue: Catalogue,
        horizon: int = 4,
        n_windows: int = 3,
        regularization: float = 1.0,
        backfill_periods: int = 8,
        backfill_weight: float = 0.001,
    ) -> None:
        super().__init__(catalogue, horizon, n_windows, backfill_periods, backfill_weight)
        above_0(self.owner, regularization=regularization)
        self.regularization = regularization
        self.coefficients: Tensor
        self.intercept: Tensor
        self.register_buffer("coefficients", torch.zeros(N_FEATURES))
        self.register_buffer("intercept", torch.zeros(()))

    def learn(self, features: Floats, labels: Floats, generator: torch.Generator) -> None:
        from sklearn.linear_model import LogisticRegression  # here: imported only where it is used

        mean, deviation = features.mean(0), features.std(0) + 1e-6
        found = LogisticRegression(C=1.0 / self.regularization, max_iter=300).fit((features - mean) / deviation, labels)
        slopes = found.coef_[0] / deviation  # of the features as they are
        self.coefficients.copy_(torch.from_numpy(slopes.astype(np.float32)))
        self.intercept.fill_(float(found.intercept_[0] - slopes @ mean))

    def log_odds(self, features: Tensor) -> Tensor:
        return features @ self.coefficients + self.intercept
