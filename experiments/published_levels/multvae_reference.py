"""Mult-VAE (Liang et al., WWW 2018) in plain PyTorch, on the split of a saved run: what the framework's must reach.

    python experiments/published_levels/multvae_reference.py RUN [--part validation] [--seed 0] [--threads 1]

Nothing but the split is xrec's: dense 0/1 rows of training users, dropout on normalised rows, tanh, 200 latents, 600
hidden, a multinomial likelihood, beta annealed to .2, Adam .001, early stopping on the validation users' NDCG@10.
Prints the mean NDCG@10 of new items per epoch of improvement, and writes the per-user figures of the best epoch.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from omegaconf import OmegaConf
from torch import nn

from xrec.pipeline import read_data


class MultVAE(nn.Module):
    def __init__(self, n_items: int, hidden: int = 600, latent: int = 200) -> None:
        super().__init__()
        self.q1, self.q2 = nn.Linear(n_items, hidden), nn.Linear(hidden, 2 * latent)
        self.p1, self.p2 = nn.Linear(latent, hidden), nn.Linear(hidden, n_items)
        for layer in (self.q1, self.q2, self.p1, self.p2):
            nn.init.xavier_normal_(layer.weight)
            nn.init.normal_(layer.bias, std=0.001)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        h = nn.functional.dropout(nn.functional.normalize(x), 0.5, self.training)
        mu, logvar = self.q2(torch.tanh(self.q1(h))).chunk(2, 1)
        z = mu + torch.randn_like(mu) * (logvar / 2).exp() if self.training else mu
        kl = 0.5 * (mu.square() + logvar.exp() - logvar - 1).sum(1)
        return self.p2(torch.tanh(self.p1(z))), kl


def rows(table, users: np.ndarray, n_items: int) -> np.ndarray:
    x = np.zeros((len(users), n_items), dtype=np.float32)
    for row, user in enumerate(users):
        x[row, table.item[table.indptr[user] : table.indptr[user + 1]]] = 1.0
    return x


def ndcg_at_10(scores: np.ndarray, seen: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    order = np.argsort(-np.where(seen > 0, -np.inf, scores), axis=1, kind="stable")[:, :10]
    hits = np.take_along_axis(relevant, order, 1) / np.log2(np.arange(2, 12))
    ideal = np.cumsum(1 / np.log2(np.arange(2, 12)))[np.minimum(relevant.sum(1), 10).astype(int) - 1]
    return hits.sum(1) / ideal


def held_out(dataset, part: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    start, end = dataset.period(part)
    history, targets, n = dataset.histories(start), dataset.targets(start, end), dataset.catalogue.n_items
    users = np.flatnonzero(np.diff(targets.indptr) > 0)
    seen, relevant = rows(history, users, n), rows(targets, users, n)
    new = relevant * (1 - seen)
    some = new.sum(1) > 0
    return users[some], seen[some], new[some]


def settings(description: str | None) -> argparse.ArgumentParser:
    """What every reference is asked for."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run directory, for its data and split")
    parser.add_argument("--part", default="validation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    return parser


def started(given: argparse.Namespace):
    """Threads and seed set; the data, and the rows of the users that train [U, I]."""
    torch.set_num_threads(given.threads)
    torch.manual_seed(given.seed)
    dataset = read_data(OmegaConf.load(given.run / "config.yaml"))  # type: ignore[arg-type]
    table = dataset.histories(dataset.train_end + 1)
    return dataset, torch.from_numpy(rows(table, np.flatnonzero(table.lengths() > 1), dataset.catalogue.n_items))


def report(given: argparse.Namespace, dataset, scored: Callable[[np.ndarray], np.ndarray]) -> None:
    """Say the part's mean, and write what each user has."""
    users, seen, relevant = held_out(dataset, given.part)
    per_user = ndcg_at_10(scored(seen), seen, relevant)
    print(f"{given.part}: NDCG@10 {per_user.mean():.4f} of {len(users)} users")
    if given.out:
        ids = [dataset.catalogue.user_ids[user] for user in users]
        given.out.write_text(json.dumps(dict(zip(ids, per_user.tolist(), strict=True))))


def main() -> None:
    parser = settings(__doc__)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--patience", type=int, default=20)
    parser.add_argument("--beta", type=float, default=0.2)
    given = parser.parse_args()
    dataset, trained = started(given)
    model = MultVAE(trained.shape[1])
    optimiser, step, best, since, state = torch.optim.Adam(model.parameters(), lr=1e-3), 0, 0.0, 0, model.state_dict()
    for epoch in range(given.epochs):
        model.train()
        for chunk in torch.randperm(len(trained)).split(100):
            scores, kl = model(trained[chunk])
            beta = min(given.beta, given.beta * step / 400)
            loss = (-(torch.log_softmax(scores, 1) * trained[chunk]).sum(1) + beta * kl).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            step += 1
        _, seen, relevant = held_out(dataset, "validation")
        found = float(ndcg_at_10(scored(model, seen), seen, relevant).mean())
        if found > best:
            best, since, state = found, 0, {name: value.clone() for name, value in model.state_dict().items()}
            print(f"epoch {epoch + 1}: {best:.4f}", flush=True)
        elif (since := since + 1) == given.patience:
            break
    model.load_state_dict(state)
    report(given, dataset, partial(scored, model))


def scored(model: MultVAE, seen: np.ndarray) -> np.ndarray:
    model.eval()
    with torch.no_grad():
        return model(torch.from_numpy(seen))[0].numpy()


if __name__ == "__main__":
    main()
