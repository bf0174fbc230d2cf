"""SASRec (Kang and McAuley, ICDM 2018) in plain torch on Amazon Beauty: what xrec's `self_attention` has to reach.

Cosine scores with a learned temperature; sampled softmax over negatives drawn half by popularity, half uniformly, with
log-q correction; an item's embedding is a free row plus the sum of its attributes' rows. Knows nothing of xrec.
Split: fit on x[:-2], validate on x[-2], test on x[-1]; NDCG@10 over the whole catalogue without what was seen.

Usage: sasrec_reference.py FOLDER [--no-attributes] [--epochs N] [--test]   (FOLDER holds Beauty.txt and
Beauty_item2attributes.json).
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

SIZE, LENGTH, NEGATIVES, USERS = 64, 50, 512, 64


class SASRec(nn.Module):
    """Item embeddings = free row + attribute rows; two blocks, two heads, causal."""

    def __init__(self, n_items: int, attributes: list[list[int]], dropout: float = 0.4) -> None:
        super().__init__()
        self.free = nn.Embedding(n_items, SIZE)
        n_attributes = 1 + max((a for row in attributes for a in row), default=0)
        self.attribute = nn.EmbeddingBag(n_attributes, SIZE, mode="sum")
        self.codes = torch.tensor([a for row in attributes for a in row], dtype=torch.long)
        self.starts = torch.tensor(np.cumsum([0, *map(len, attributes)])[:-1], dtype=torch.long)
        self.place = nn.Embedding(LENGTH, SIZE)
        for table in (self.free, self.attribute, self.place):
            nn.init.normal_(table.weight, std=0.02)
        block = nn.TransformerEncoderLayer(SIZE, 2, SIZE, dropout, batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(block, 2, norm=nn.LayerNorm(SIZE), enable_nested_tensor=False)
        self.dropout, self.log_temperature = nn.Dropout(dropout), nn.Parameter(torch.tensor(0.07).log())

    def items(self) -> Tensor:
        return self.free.weight + self.attribute(self.codes, self.starts)

    def forward(self, items: Tensor, sequence: Tensor) -> Tensor:
        """Unit states [B, L, d] of sequences [B, L] of item ids, padded by -1 on the right; the last place is 0."""
        there, width = sequence >= 0, sequence.shape[1]
        place = (there.sum(1, keepdim=True) - 1 - torch.arange(width)).clamp_min(0)  # counted from the sequence's end
        del place
        states = items[sequence.clamp_min(0)] * SIZE**0.5 * 0.25 + self.place(torch.arange(width))
        mask = torch.ones(width, width, dtype=torch.bool).triu(1)
        return functional.normalize(self.blocks(self.dropout(states), mask), dim=-1)


def ndcg(model: SASRec, histories: list[list[int]], targets: list[int]) -> float:
    model.eval()
    found = []
    with torch.no_grad():
        items = model.items()
        unit = functional.normalize(items, dim=-1)
        for start in range(0, len(histories), 256):
            rows = [h[-LENGTH:] for h in histories[start : start + 256]]
            states = model(items, padded(rows))
            last = states[torch.arange(len(rows)), torch.tensor([len(r) - 1 for r in rows])]
            scores = last @ unit.T
            for row, seen in enumerate(histories[start : start + 256]):
                scores[row, seen] = -torch.inf
            wanted = scores.gather(1, torch.tensor(targets[start : start + 256])[:, None])
            found.append((scores > wanted).sum(1) + 1)
    rank = torch.cat(found).double()
    return float(torch.where(rank <= 10, 1 / (rank + 1).log2(), 0.0).mean())


def padded(rows: list[list[int]]) -> Tensor:
    width = max(map(len, rows))
    return torch.tensor([r + [-1] * (width - len(r)) for r in rows])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--no-attributes", action="store_true")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--test", action="store_true")
    given = parser.parse_args()
    torch.manual_seed(given.seed)
    torch.set_num_threads(1)
    lines = [line.split()[1:] for line in (given.folder / "Beauty.txt").read_text().splitlines()]
    ids = {item: i for i, item in enumerate(sorted({x for line in lines for x in line}))}
    users = [[ids[x] for x in line] for line in lines]
    named = {} if given.no_attributes else json.loads((given.folder / "Beauty_item2attributes.json").read_text())
    model = SASRec(len(ids), [named.get(item, []) for item in ids])
    count = np.bincount([x for u in users for x in u[:-2]], minlength=len(ids))
    q = torch.tensor(0.5 * count / count.sum() + 0.5 / len(ids), dtype=torch.float32)
    optimiser = torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=1e-4, fused=True)
    rng, best, since, started = np.random.default_rng(given.seed), (-1.0, {}), 0, time.process_time()
    some = rng.permutation(len(users))[:2000]
    sequences = [u[:-2][-LENGTH - 1 :] for u in users]
    for epoch in range(given.epochs):
        model.train()
        order = np.argsort([len(s) * f for s, f in zip(sequences, rng.uniform(0.7, 1.4, len(users)), strict=True)])
        batches = [order[i : i + USERS] for i in range(0, len(order), USERS)]
        total = 0.0
        for index in rng.permutation(len(batches)):
            batch = padded([sequences[u] for u in batches[index]])
            past, future = batch[:, :-1], batch[:, 1:]
            items, there = model.items(), future >= 0
            states, target = model(items, past)[there], future[there]
            negative = torch.multinomial(q, NEGATIVES, replacement=True)
            scale = (-model.log_temperature).exp()
            own = (states * functional.normalize(items[target], dim=-1)).sum(-1, keepdim=True) * scale
            others = states @ functional.normalize(items[negative], dim=-1).T * scale - (NEGATIVES * q[negative]).log()
            others = others.masked_fill(negative == target[:, None], -torch.inf)
            loss = (torch.cat([own, others], 1).logsumexp(1) - own[:, 0]).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += float(loss.detach())
        value = ndcg(model, [users[u][:-2] for u in some], [users[u][-2] for u in some])
        since = 0 if value > best[0] else since + 1
        if since == 0:
            best = (value, {k: v.clone() for k, v in model.state_dict().items()})
        seconds, temperature = time.process_time() - started, float(model.log_temperature.detach().exp())
        print(f"{epoch + 1} loss {total / len(batches):.3f} validation {value:.4f} T {temperature:.3f} {seconds:.0f} s")
        if since == 4:
            break
    model.load_state_dict(best[1])
    print(f"validation, all users: {ndcg(model, [u[:-2] for u in users], [u[-2] for u in users]):.4f}")
    if given.test:
        print(f"test: {ndcg(model, [u[:-1] for u in users], [u[-1] for u in users]):.4f}")


if __name__ == "__main__":
    main()
