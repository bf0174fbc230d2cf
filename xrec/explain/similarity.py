"""Similarity of the history's items to the recommended one, which no score is asked for."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import torch
from scipy.sparse import csr_array
from torch.nn import functional

from xrec.explain.explainer import Explainer
from xrec.explain.others import OnTraining
from xrec.games.game import Game
from xrec.games.keyed import Keyed
from xrec.types import Doubles, Ints


class Similarity(Explainer):
    """phi_j = similarity(item, target), the mean over several targets, less that to the foil where there is one; summed
    over a player's items. No forward; what else the output is makes no difference, nor does the masker."""

    def values(self, game: Game, random: Keyed) -> Doubles:
        foil = np.array([-1 if case.foil is None else case.foil for case in game.cases])
        targets = game.targets.cpu().numpy()
        similar = self.similar(game, np.column_stack([targets, np.maximum(foil, 0)]))  # [B, L, T + 1]
        there = np.arange(targets.shape[1]) < game.n_targets[:, None]
        weights = np.column_stack([there / there.sum(1, keepdims=True), np.where(foil >= 0, -1.0, 0.0)])
        channel = torch.from_numpy((similar * weights[:, None]).sum(2)).to(game.history.presence.device)
        return game.players.pooled(channel * game.history.presence).cpu().numpy()

    @abstractmethod
    def similar(self, game: Game, targets: Ints) -> Doubles:
        """[B, L, T] of the history's items to items [B, T]; what stands in padding is ignored."""


class Cosine(Similarity):
    """The cosine of the model's features of both items."""

    requires = ("item_features",)

    def similar(self, game: Game, targets: Ints) -> Doubles:
        unit = functional.normalize(game.item_features().double(), dim=-1)
        chosen = torch.from_numpy(targets).to(unit.device)
        return (unit[game.history.item] @ unit[chosen].transpose(1, 2)).cpu().numpy()


class Jaccard(Similarity, OnTraining):
    """|users of both| / |users of either|, users of training with an event of any kind; 0 where there is none. It knows
    nothing of the model."""

    role = "control"
    name = "jaccard"

    def similar(self, game: Game, targets: Ints) -> Doubles:
        indptr, item = self.training()
        shape = (len(indptr) - 1, game.candidates.shape[1])
        users = csr_array((np.ones(len(item), dtype=np.int32), item, indptr), shape=shape)
        wanted, place = np.unique(targets, return_inverse=True)
        both = (users.T.tocsr()[wanted] @ users).toarray()  # [targets, I]
        place, own = place.reshape(targets.shape)[:, None], game.history.item.cpu().numpy()[:, :, None]
        n_users = np.bincount(item, minlength=shape[1])
        shared = both[place, own]
        return shared / np.maximum(n_users[own] + n_users[targets][:, None] - shared, 1)
