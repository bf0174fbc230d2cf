"""What the model says of itself: attention weights, alone, weighed and unrolled, and exact additive contributions."""

from __future__ import annotations

from xrec.explain.explainer import Explainer
from xrec.games.game import Game
from xrec.games.keyed import Keyed
from xrec.types import Doubles


class RawAttention(Explainer):
    """The attention weight of each player's items for the target, summed; never negative, so it cannot oppose."""

    requires = ("attention",)
    signed = False

    def values(self, game: Game, random: Keyed) -> Doubles:
        return game.attention()


class AttentionNorm(Explainer):
    """phi_j = || sum_h a_hj W_h x_j ||, the length of the vector that an item adds to what attention reads, summed over
    a player's items (Kobayashi et al., EMNLP 2020): a large weight on a short vector is little. Of stacked
    layers, those of the read-out: weights times states. Never negative."""

    requires = ("attention_values",)
    signed = False

    def values(self, game: Game, random: Keyed) -> Doubles:
        return game.attention_norms()


class AttentionGradient(Explainer):
    """phi_j = sum_h a_hj df/da_hj at the whole history, the weight times the gradient through the gate, other weights
    staying as they are (Serrano & Smith, ACL 2019). f is the value that is explained, with whatever stands
    between it and the attention; where that is a sum, phi is the attention's exact contribution. What does not pass
    through the read-out of attention counts for nothing, nor does the masker: nothing is masked."""

    requires = ("attention_values", "gradients")

    def values(self, game: Game, random: Keyed) -> Doubles:
        return game.attention_gradients()


class AttentionRollout(Explainer):
    """phi = w A_n ... A_1 with A_l = (W_l + I) / 2, half of each layer being its residual, W_l its weights of items on
    items and w those of the read-out; summed over a player's items (Abnar & Zuidema, ACL 2020, equation 1). Never
    negative; two forwards."""

    requires = ("attention", "layers")
    signed = False

    def values(self, game: Game, random: Keyed) -> Doubles:
        flow = game.channel_attention().double().unsqueeze(1)  # [B, 1, L], from the last layer down
        for layer in reversed(game.attention_layers()):
            flow = (flow @ layer.double() + flow) / 2
        return game.players.pooled(flow.squeeze(1)).cpu().numpy()


class AdditiveContributions(Explainer):
    """The summands that players add to the value, read off the model. Complete when every component that sees the
    history is additive; otherwise the completeness error shows the share of those that are not (a VAE)."""

    requires = ("additive",)
    complete = True

    def values(self, game: Game, random: Keyed) -> Doubles:
        return game.contributions()
