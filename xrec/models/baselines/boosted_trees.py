"""Boosted trees: will an own item be bought again, by scikit-learn's histogram gradient boosting (after LightGBM, Ke et
al., NeurIPS 2017)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from xrec.models.baselines.repeat_probability import RepeatProbability
from xrec.models.settings import above_0, at_least
from xrec.types import Catalogue, Floats

#: (pair, tree) positions that are moved down the trees together
_POSITIONS = 2**21


class BoostedTrees(RepeatProbability):
    """`RepeatProbability` by gradient boosting, whose trees are kept as plain tensors and walked in torch.

    The log odds are the intercept plus the value of the leaf that a pair reaches in each tree.

    Args:
        horizon, n_windows, backfill_periods, backfill_weight: as of `RepeatProbability`.
        n_trees, learning_rate: of the boosting, which does not stop early. n_leaves: of a tree, at most.
        min_leaf: examples of a leaf, at least. regularization: L2 of leaf values.
    Raises:
        SettingError: settings out of range; (on fitting) training periods without repeats.
    """

    owner = "boosted_trees"

    def __init__(
        self,
        catalogue: Catalogue,
        horizon: int = 4,
        n_windows: int = 3,
        n_trees: int = 100,
        n_leaves: int = 31,
        learning_rate: float = 0.1,
        min_leaf: int = 20,
        regularization: float = 0.0,
        backfill_periods: int = 8,
        backfill_weight: float = 0.001,
    ) -> None:
        super().__init__(catalogue, horizon, n_windows, backfill_periods, backfill_weight)
        at_least(1, self.owner, n_trees=n_trees, min_leaf=min_leaf)
        at_least(2, self.owner, n_leaves=n_leaves)
        above_0(self.owner, learning_rate=learning_rate)
        at_least(0, self.owner, regularization=regularization)
        self.n_trees, self.n_leaves, self.learning_rate = n_trees, n_leaves, learning_rate
        self.min_leaf, self.regularization = min_leaf, regularization
        nodes = (n_trees, 2 * n_leaves - 1)  # the first of a tree is its root; a leaf is its own child on both sides
        self.feature: Tensor
        self.threshold: Tensor
        self.left: Tensor
        self.right: Tensor
        self.value: Tensor
        self.missing_left: Tensor
        self.intercept: Tensor
        for name in ("feature", "left", "right"):
            self.register_buffer(name, torch.zeros(nodes, dtype=torch.int64))
        for name in ("threshold", "value"):
            self.register_buffer(name, torch.zeros(nodes, dtype=torch.float64))
        self.register_buffer("missing_left", torch.zeros(nodes, dtype=torch.bool))
        self.register_buffer("intercept", torch.zeros((), dtype=torch.float64))

    def learn(self, features: Floats, labels: Floats, generator: torch.Generator) -> None:
        from sklearn.ensemble import HistGradientBoostingClassifier  # here: imported only where it is used

        found = HistGradientBoostingClassifier(
            learning_rate=self.learning_rate, max_iter=self.n_trees, max_leaf_nodes=self.n_leaves,
            min_samples_leaf=self.min_leaf, l2_regularization=self.regularization, early_stopping=False,  # type: ignore[arg-type]
            random_state=int(torch.randint(2**31 - 1, (1,), generator=generator)),
        ).fit(features, labels)  # fmt: skip
        self.export(found)

    def export(self, found: object) -> None:
        """Take over the trees of a fitted HistGradientBoostingClassifier of two classes without categorical features
        (scikit-learn offers them under private names only)."""
        self.intercept.fill_(float(found._baseline_prediction[0, 0]))  # type: ignore[attr-defined]
        for number, (tree,) in enumerate(found._predictors):  # type: ignore[attr-defined]
            nodes = tree.nodes
            here, leaf = np.arange(len(nodes)), nodes["is_leaf"] > 0
            columns = {
                "feature": nodes["feature_idx"], "threshold": nodes["num_threshold"], "value": nodes["value"],
                "missing_left": nodes["missing_go_to_left"] > 0, "left": np.where(leaf, here, nodes["left"]),
                "right": np.where(leaf, here, nodes["right"]),
            }  # fmt: skip
            for name, column in columns.items():
                table = getattr(self, name)
                table[number, : len(nodes)] = torch.from_numpy(np.ascontiguousarray(column)).to(table)

    def log_odds(self, features: Tensor) -> Tensor:
        blocks = features.split(max(1, _POSITIONS // self.n_trees))
        return torch.cat([self.intercept + self._leaf_values(block) for block in blocks])

    def _leaf_values(self, features: Tensor) -> Tensor:
        """[n] the sum over trees."""
        feature, threshold, missing_left, value = (
            table.flatten() for table in (self.feature, self.threshold, self.missing_left, self.value)
        )
        root = torch.arange(self.n_trees, device=features.device) * self.left.shape[1]
        left, right = ((root.unsqueeze(1) + child).flatten() for child in (self.left, self.right))
        node, before = root.expand(len(features), -1), None
        while before is None or not torch.equal(node, before):
            before, seen = node, features.gather(1, feature[node])
            goes_left = torch.where(seen.isnan(), missing_left[node], seen <= threshold[node])
            node = torch.where(goes_left, left[node], right[node])
        return value[node].sum(1)
