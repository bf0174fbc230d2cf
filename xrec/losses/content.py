"""A loss of the content score alone: what the components that know items by their features say, without the others."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from xrec.errors import SettingError
from xrec.losses.reconstruction import ReconstructionLoss
from xrec.losses.score_term import Score


class Content:
    """The likelihood of a user's targets under the sum of some components, per user [B], in nats.

    Prior, linear path and repeat features explain warm items before the others are needed, so that these are not
    trained for what only they can do, to score cold items. The same reason as in DropoutNet (Volkovs et al., NeurIPS
    2017), which drops the preference input; here the other summands are left out of a second likelihood.

    Args:
        reconstruction: the likelihood; a softmax needs no bias, which is among what is left out.
        components: names of those that use item features.
    Raises:
        SettingError: no component.
    """

    def __init__(self, reconstruction: ReconstructionLoss, components: Sequence[str]) -> None:
        if not components:
            raise SettingError("loss.terms.content.components is empty: name those that use item features")
        self.reconstruction, self.components = reconstruction, list(components)

    def __call__(
        self, score: Score, presence: Tensor, labels: Tensor, log_weight: Tensor, generator: torch.Generator
    ) -> Tensor:
        return self.reconstruction(score(None, self.components).squeeze(1), labels, log_weight)
