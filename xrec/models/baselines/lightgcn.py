"""LightGCN (He et al., SIGIR 2020): embeddings averaged over the layers of the bipartite graph of users and items; a
user's row is recomputed from the items that are there."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from xrec.models.adam import FusedAdam
from xrec.models.history import History
from xrec.models.recommender import Capabilities, Context, FitData, Recommender
from xrec.models.settings import above_0, at_least
from xrec.models.sparse import interactions, sparse_rows
from xrec.types import Catalogue

#: standard deviation of embeddings at the start, as in the authors' code
_DEVIATION = 0.1


class LightGCN(Recommender):
    """score(u, i) = e_u . e_i, means over the layers 0 .. K of e_i^(k) = sum_v e_v^(k-1) / sqrt(d_v d_i) over the users
    v of item i, and of e_u^(k) = sum_j p_j e_j^(k-1) / sqrt(|p| d_j) over the items j of the history, with presence p.

    In the fit every training user has a learned row e_u^(0), as in the paper. A scored history has none: the row was
    learned from the very items that an explanation takes away, and a user who is new has no such row. e_u^(0) = 0 then,
    for known users too, so that a masked history is a removed one. Layers of the items stay as training left them, with
    the items' degrees d_j. |p| = sum_j p_j, but at least 1, so that gradients exist at the empty history, which scores
    0 everywhere. Not additive: |p| is shared. An item without a training user scores 0 and says nothing.

    Training: BPR over all positive entries of the training histories, with one negative each, drawn uniformly from what
    the user has not, and the L2 norm of the layers 0 of an example's user and items. Whole graph, one thread of sparse
    products for each step; the last epoch is kept.

    Args:
        n_factors: d of embeddings. n_layers: K. epochs, batch_size, learning_rate: of Adam; an example is an entry.
        regularization: of the squared norms (halved, as in the authors' code).
    Raises:
        SettingError: settings out of range.
    """

    capabilities = Capabilities(gradients=True, fractional_presence=True)

    def __init__(
        self,
        catalogue: Catalogue,
        n_factors: int = 64,
        n_layers: int = 3,
        epochs: int = 100,
        batch_size: int = 2048,
        learning_rate: float = 0.01,
        regularization: float = 1e-4,
    ) -> None:
        super().__init__()
        at_least(1, "lightgcn", n_factors=n_factors, n_layers=n_layers, epochs=epochs, batch_size=batch_size)
        above_0("lightgcn", learning_rate=learning_rate)
        at_least(0, "lightgcn", regularization=regularization)
        self.n_items, self.n_layers = catalogue.n_items, n_layers
        self.epochs, self.batch_size = epochs, batch_size
        self.learning_rate, self.regularization = learning_rate, regularization
        self.layers: Tensor  # e_i^(k) [K + 1, I, d]
        self.inverse_root: Tensor  # 1 / sqrt(d_i) [I]; 0 without a training user
        self.register_buffer("layers", torch.zeros(n_layers + 1, catalogue.n_items, n_factors))
        self.register_buffer("inverse_root", torch.zeros(catalogue.n_items))

    def fit(self, data: FitData) -> None:
        table = data.dataset.histories(data.dataset.train_end + 1)
        graph = Graph(interactions(table, self.n_items), data.device)
        self.freeze(graph, self.trained(graph, data))

    def trained(self, graph: Graph, data: FitData) -> Tensor:
        """Embeddings of layer 0 [U + I, d]."""
        size, generator = (graph.n_users + self.n_items, self.layers.shape[2]), data.generator
        embeddings = nn.Parameter(_DEVIATION * torch.randn(size, generator=generator, device=data.device))
        optimiser = FusedAdam([([embeddings], self.learning_rate)])
        for _ in data.progress(range(self.epochs), total=self.epochs, description="lightgcn"):
            order = torch.randperm(len(graph.user), generator=generator, device=data.device)
            for edges in order.split(self.batch_size):
                optimiser.zero_grad()
                self.loss(graph, embeddings, edges, generator).backward()
                optimiser.step()
        return embeddings.detach()

    def freeze(self, graph: Graph, embeddings: Tensor) -> None:
        """Keep the items' layers and degrees."""
        of_items = slice(graph.n_users, None)
        self.inverse_root = graph.inverse_root[of_items]
        there = (self.inverse_root > 0).unsqueeze(1)
        self.layers = torch.stack(graph.layers(embeddings, self.n_layers))[:, of_items] * there

    def loss(self, graph: Graph, embeddings: Tensor, edges: Tensor, generator: torch.Generator) -> Tensor:
        """BPR of some edges and a negative each, and the weighted norms, per edge; a draw that the user has is none."""
        user, item = graph.user[edges], graph.item[edges]
        drawn = torch.randint(self.n_items, item.shape, generator=generator, device=item.device)
        is_new = ~graph.has(user, drawn)
        nodes = torch.stack([user, graph.n_users + item, graph.n_users + drawn])
        of_user, of_item, of_drawn = torch.stack(graph.layers(embeddings, self.n_layers)).mean(0)[nodes]
        margin = (of_user * (of_item - of_drawn)).sum(-1)
        norms = embeddings[nodes].square().sum((0, 2)) / 2
        return ((functional.softplus(-margin) + self.regularization * norms) * is_new).sum() / len(edges)

    def prepare(self, history: History) -> Context:
        spoken = self.layers[:-1].sum(0) * self.inverse_root.unsqueeze(1) / (self.n_layers + 1)
        return Context(history, tables={"own": spoken[history.item], "items": self.layers.mean(0)})

    def score(self, context: Context, presence: Tensor | None = None, targets: Tensor | None = None) -> Tensor:
        present = context.presence(presence) * context.history.positive.unsqueeze(1)
        users = present @ context.tables["own"] / present.sum(-1, keepdim=True).clamp_min(1).sqrt()  # [B, M, d]
        items = context.tables["items"]
        return users @ (items.T if targets is None else items[targets].transpose(1, 2))


class Graph:
    """Users and items, as nodes in this order, and the edges between them: user, item [E]."""

    def __init__(self, matrix: Any, device: torch.device) -> None:
        """matrix [U, I]: scipy's, of ones."""
        self.n_users, self.n_items = matrix.shape
        edges = matrix.tocoo()
        user, item = edges.row.astype(np.int64), edges.col.astype(np.int64)
        n_nodes = self.n_users + self.n_items
        degree = np.bincount(np.concatenate([user, self.n_users + item]), minlength=n_nodes)
        root = np.where(degree > 0, 1 / np.sqrt(np.maximum(degree, 1)), 0).astype(np.float32)
        value, ends = root[user] * root[self.n_users + item], (user, self.n_users + item)
        both = (np.concatenate(ends), np.concatenate(ends[::-1]), np.concatenate([value, value]))
        self.adjacency = sparse_rows(*both, (n_nodes, n_nodes), device)  # D^-1/2 A D^-1/2, symmetric
        self.user, self.item = torch.from_numpy(user).to(device), torch.from_numpy(item).to(device)
        self.inverse_root = torch.from_numpy(root).to(device)
        self._keys = (self.user * self.n_items + self.item).sort().values

    def layers(self, embeddings: Tensor, n_layers: int) -> list[Tensor]:
        """Embeddings [U + I, d] of the layers 0 .. n_layers, with their graph."""
        found = [embeddings]
        for _ in range(n_layers):
            found.append(_Propagated.apply(self.adjacency, found[-1]))
        return found

    def has(self, user: Tensor, item: Tensor) -> Tensor:
        """[n] whether there are such edges."""
        key = user * self.n_items + item
        return self._keys[torch.searchsorted(self._keys, key).clamp_max(len(self._keys) - 1)] == key


class _Propagated(torch.autograd.Function):
    """A symmetric sparse matrix times rows; torch's own gradient would transpose the matrix each time."""

    @staticmethod
    def forward(ctx: Any, adjacency: Tensor, rows: Tensor) -> Tensor:
        ctx.adjacency = adjacency
        return adjacency @ rows

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        return None, ctx.adjacency @ gradients[0]
