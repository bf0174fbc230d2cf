"""iALS (Hu, Koren and Volinsky, ICDM 2008), trained by the package `implicit`; a user's factors are recomputed in
closed form from the items that are there."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from xrec.models.history import History
from xrec.models.recommender import Capabilities, Context, FitData, Recommender
from xrec.models.settings import above_0, at_least
from xrec.models.sparse import interactions
from xrec.types import Catalogue

#: numbers of a block of masked copies: items times factors, or factors squared
_NUMBERS = 2**24


class IALS(Recommender):
    """score(u, i) = x_u . y_i with x_u = (Y'Y + sum_j alpha y_j y_j' + lambda I)^-1 sum_j (1 + alpha) y_j over the
    items j of the history (Hu et al., equation 4, confidence 1 + alpha). Not additive: an item's part
    depends on the others.

    Presence p of an item counts it to the share p: p alpha and p (1 + alpha). An empty history scores 0 everywhere.

    Args:
        n_factors: of users and items.
        regularization: lambda. alpha: additional confidence of an item that is there. n_iterations: of both sides.
    Raises:
        SettingError: settings out of range.
    """

    capabilities = Capabilities(gradients=True, fractional_presence=True)

    def __init__(
        self,
        catalogue: Catalogue,
        n_factors: int = 64,
        regularization: float = 10.0,
        alpha: float = 0.5,
        n_iterations: int = 15,
    ) -> None:
        super().__init__()
        at_least(1, "ials", n_factors=n_factors, n_iterations=n_iterations)
        at_least(0, "ials", alpha=alpha)
        above_0("ials", regularization=regularization)
        self.n_items = catalogue.n_items
        self.regularization, self.alpha, self.n_iterations = regularization, alpha, n_iterations
        self.factors: Tensor  # Y [I, d]
        self.register_buffer("factors", torch.zeros(catalogue.n_items, n_factors))

    def fit(self, data: FitData) -> None:
        """Alternating least squares on the histories at the end of training, from factors drawn by the generator."""
        from implicit.cpu.als import AlternatingLeastSquares  # here: imported only where iALS is used

        seed = int(torch.randint(2**31 - 1, (1,), generator=data.generator))
        trainer = AlternatingLeastSquares(
            factors=self.factors.shape[1], regularization=self.regularization, alpha=1.0 + self.alpha,
            iterations=self.n_iterations, num_threads=torch.get_num_threads(), random_state=seed,
        )  # fmt: skip
        trainer.fit(interactions(data.dataset.histories(data.dataset.train_end + 1), self.n_items), show_progress=False)
        self.factors = torch.from_numpy(np.asarray(trainer.item_factors)).to(data.device)

    def prepare(self, history: History) -> Context:
        gram = self.factors.T @ self.factors
        gram = gram + self.regularization * torch.eye(len(gram), device=gram.device)
        return Context(history, tables={"gram": gram, "own": self.factors[history.item]})

    def score(self, context: Context, presence: Tensor | None = None, targets: Tensor | None = None) -> Tensor:
        present = context.presence(presence) * context.history.positive.unsqueeze(1)
        n_items, n_factors = context.tables["own"].shape[1:]
        size = max(1, _NUMBERS // (max(1, n_items, n_factors) * n_factors * max(1, len(present))))
        users = torch.cat([self.user_factors(context, block) for block in present.split(size, 1)], 1)  # [B, M, d]
        if targets is None:
            return users @ self.factors.T
        return users @ self.factors[targets].transpose(1, 2)

    def user_factors(self, context: Context, present: Tensor) -> Tensor:
        """[B, M, d] of histories of which `present` [B, M, L] is there."""
        own = context.tables["own"].unsqueeze(1)  # [B, 1, L, d]
        weighted = present.unsqueeze(-1) * own
        normal = context.tables["gram"] + self.alpha * (weighted.transpose(2, 3) @ own)
        wanted = (1.0 + self.alpha) * weighted.sum(2)
        return torch.cholesky_solve(wanted.unsqueeze(-1), torch.linalg.cholesky(normal)).squeeze(-1)
