"""Leave one out: what the score loses when one player goes."""

from __future__ import annotations

import numpy as np

from xrec.explain.explainer import Explainer, Request
from xrec.types import Doubles


class LeaveOneOut(Explainer):
    """phi_j = f(x) - f(x without j), in P + 1 forwards, batched over players and cases."""

    def values(self, request: Request) -> Doubles:
        width = request.value.width
        masks = np.ones((len(request.value), width + 1, width), dtype=bool)
        masks[:, np.arange(width), np.arange(width)] = False
        scores = request.value.values(masks)
        request.value.forwards -= width - request.value.n_players  # copies that only filled up the batch
        return scores[:, -1:] - scores[:, :-1]
