"""RecVAE (Shenbin et al., WSDM 2020) in plain PyTorch, on the split of a saved run: what the framework's must reach.

    python experiments/published_levels/recvae_reference.py RUN [--part validation] [--seed 0] [--threads 1]

As multvae_reference.py, whose split it takes: dense rows, 600 hidden, 200 latents, Adam 5e-4, three epochs of the
encoder on noised rows and one of the decoder on whole ones in turn, the old posterior renewed after the encoder's
epochs, early stopping on the validation users' NDCG@10.
"""

from __future__ import annotations

import copy
import math
from functools import partial

import numpy as np
import torch
from multvae_reference import held_out, ndcg_at_10, report, settings, started
from torch import nn


class Encoder(nn.Module):
    def __init__(self, n_items: int, hidden: int = 600, latent: int = 200) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(n_items if n == 0 else hidden, hidden) for n in range(5))
        self.norms = nn.ModuleList(nn.LayerNorm(hidden, eps=0.1) for _ in range(5))
        self.mu, self.logvar = nn.Linear(hidden, latent), nn.Linear(hidden, latent)

    def forward(self, x: torch.Tensor, dropout: float) -> tuple[torch.Tensor, torch.Tensor]:
        h = nn.functional.dropout(nn.functional.normalize(x), dropout, dropout > 0)
        outputs: list[torch.Tensor] = []
        for layer, norm in zip(self.layers, self.norms, strict=True):
            h = norm(nn.functional.silu(sum(outputs, layer(h))))
            outputs.append(h)
        return self.mu(h), self.logvar(h)


def log_normal(z: torch.Tensor, mu: torch.Tensor | float, logvar: torch.Tensor) -> torch.Tensor:
    return -0.5 * (logvar + math.log(2 * math.pi) + (z - mu).square() / logvar.exp())


def losses(encoder: Encoder, old: Encoder, decoder: nn.Linear, x: torch.Tensor, dropout: float, gamma: float):
    mu, logvar = encoder(x, dropout)
    z = mu + torch.randn_like(mu) * (logvar / 2).exp()
    likelihood = (torch.log_softmax(decoder(z), 1) * x).sum(1)
    with torch.no_grad():
        old_mu, old_logvar = old(x, 0.0)
    parts = [
        math.log(0.15) + log_normal(z, 0.0, torch.zeros_like(z)),
        math.log(0.75) + log_normal(z, old_mu, old_logvar),
        math.log(0.10) + log_normal(z, 0.0, torch.full_like(z, 10.0)),
    ]
    kl = (log_normal(z, mu, logvar) - torch.stack(parts).logsumexp(0)).sum(1)
    return -likelihood.mean(), (gamma * x.sum(1) * kl).mean()


def main() -> None:
    parser = settings(__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--patience", type=int, default=10)
    parser.add_argument("--gamma", type=float, default=0.005)
    given = parser.parse_args()
    dataset, trained = started(given)
    n_items = trained.shape[1]
    encoder, decoder = Encoder(n_items), nn.Linear(200, n_items)
    for layer in (*encoder.modules(), decoder):
        if isinstance(layer, nn.Linear):
            nn.init.xavier_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
    old = copy.deepcopy(encoder)
    of_encoder = torch.optim.Adam(encoder.parameters(), lr=5e-4)
    of_decoder = torch.optim.Adam(decoder.parameters(), lr=5e-4)
    best, since, kept = 0.0, 0, (copy.deepcopy(encoder), copy.deepcopy(decoder))
    for number in range(given.rounds):
        for epoch in range(4):
            dropout, optimiser = (0.5, of_encoder) if epoch < 3 else (0.0, of_decoder)
            if epoch == 3:
                old.load_state_dict(encoder.state_dict())
            for chunk in torch.randperm(len(trained)).split(100):
                reconstruction, kl = losses(encoder, old, decoder, trained[chunk], dropout, given.gamma)
                of_encoder.zero_grad()
                of_decoder.zero_grad()
                (reconstruction + kl if epoch < 3 else reconstruction).backward()
                optimiser.step()
        _, seen, relevant = held_out(dataset, "validation")
        found = float(ndcg_at_10(scored(encoder, decoder, seen), seen, relevant).mean())
        if found > best:
            best, since, kept = found, 0, (copy.deepcopy(encoder), copy.deepcopy(decoder))
            print(f"round {number + 1}: {best:.4f}", flush=True)
        elif (since := since + 1) == given.patience:
            break
    report(given, dataset, partial(scored, *kept))


def scored(encoder: Encoder, decoder: nn.Linear, seen: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return decoder(encoder(torch.from_numpy(seen), 0.0)[0]).numpy()


if __name__ == "__main__":
    main()
