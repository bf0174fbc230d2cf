"""A small grocery chain in Complete Journey's own layout, for tests that run the real application."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

#: overrides that make a run over `small_journey` take seconds
SMALL = [
    "data.clean.min_item_users=3",
    "data.clean.min_user_items=3",
    "data.clean.min_level_count=1",
    "training.windows=[28,34]",
    "training.epochs=2",
    "training.batch_size=16",
    "training.n_negatives=8",
    "training.log_every=1",
    "model.embedding_size=8",
    "cases.n_users=6",
    "cases.chunk_size=4",
    "tracking=none",
    "threads=1",
]
#: What a run explains and measures where neither is what is tested. It takes half the time: the import of shap and the
#: drawings of scores are most of a small run. tests/contracts/test_own_log.py does everything, and does it again.
SHORT = ("explainer=[random,leave_one_out]", "fidelity=[removal]")


def write_small_journey(folder: Path, n_users: int = 40, n_items: int = 30, seed: int = 0) -> Path:
    """transactions, products and demographics as parquet; tastes by category, so that there is something to learn.

    One product is called `<script>alert(1)</script>`; one has no package size; one household has no demographics.
    """
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    category = rng.integers(0, 4, n_items)
    taste = rng.dirichlet(np.full(4, 0.4), n_users)
    rows = []
    for user in range(n_users):
        weight = taste[user][category] + 0.02
        for week in range(1, 54):
            bought = rng.choice(n_items, size=rng.integers(0, 4), replace=False, p=weight / weight.sum())
            rows += [(user + 1, user * 100 + week, int(i) + 1000, week) for i in bought]
    users, baskets, products, weeks = (list(c) for c in zip(*rows, strict=True))
    pl.DataFrame(
        {
            "household_id": users,
            "basket_id": baskets,
            "product_id": products,
            "quantity": [1] * len(rows),
            "sales_value": [1.5] * len(rows),
            "week": weeks,
        }
    ).write_parquet(folder / "transactions.parquet")
    names = [f"TYPE {c}" for c in category]
    names[0] = "<script>alert(1)</script>"
    pl.DataFrame(
        {
            "product_id": list(range(1000, 1000 + n_items)),
            "manufacturer_id": rng.integers(1, 5, n_items).tolist(),
            "department": ["GROCERY"] * n_items,
            "brand": ["National", "Private"] * (n_items // 2),
            "product_category": [f"CATEGORY {c}" for c in category],
            "product_type": names,
            "package_size": [None, *["12 OZ"] * (n_items - 1)],
        }
    ).write_parquet(folder / "products.parquet")
    pl.DataFrame({"household_id": list(range(1, n_users)), "age": ["45-54"] * (n_users - 1)}).write_parquet(
        folder / "demographics.parquet"
    )
    return folder
