"""Logs that nobody prepared, as people have them: baskets by week, a shop's orders with dates and prices, ratings
without times. Each is written by its own few lines, the same every time."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np


def _tastes(rng: np.random.Generator, n_users: int, n_items: int) -> np.ndarray:
    """[n_users, n_items] chance of each item: one of three tastes and a long tail, so that there is something to
    learn."""
    popular = 1.0 / (np.arange(n_items) + 3)
    liked = (np.arange(n_items) % 3)[None, :] == rng.integers(0, 3, n_users)[:, None]
    chance = popular * (liked + 0.1)
    return chance / chance.sum(1, keepdims=True)


def write_baskets(path: Path, n_users: int = 80, n_items: int = 40, n_weeks: int = 30, seed: int = 1) -> Path:
    """`customer,product,week`: weekly baskets, many of them bought again; weeks are whole numbers from 1."""
    rng = np.random.default_rng(seed)
    taste = _tastes(rng, n_users, n_items)
    lines = ["customer,product,week"]
    for user in range(n_users):
        for week in range(1, n_weeks + 1):
            if rng.random() < 0.5:
                bought = rng.choice(n_items, size=rng.integers(1, 4), replace=False, p=taste[user])
                lines += [f"{user},P{item:03d},{week}" for item in bought]
    path.write_text("\n".join(lines) + "\n")
    return path


def write_orders(path: Path, n_users: int = 80, n_items: int = 40, seed: int = 2) -> Path:
    """`order_date,client,article,price`: half a year of a shop; every article has one price and is bought once or
    again."""
    rng = np.random.default_rng(seed)
    taste, prices = _tastes(rng, n_users, n_items), np.round(rng.uniform(2, 60, n_items), 2)
    rows = []
    for user in range(n_users):
        for _ in range(rng.integers(8, 25)):
            moment = datetime(2024, 1, 3) + timedelta(minutes=int(rng.integers(0, 182 * 1440)))
            item = rng.choice(n_items, p=taste[user])
            rows.append((moment, f"c{user}@shop.example", f"article {item}", prices[item]))
    rows.sort()
    lines = [f"{moment:%Y-%m-%d %H:%M:%S},{client},{article},{price}" for moment, client, article, price in rows]
    path.write_text("\n".join(["order_date,client,article,price", *lines]) + "\n")
    return path


def write_ratings(path: Path, n_users: int = 80, n_items: int = 60, seed: int = 3) -> Path:
    """`user item stars`, tab-separated, no times: each user rates an item once; the rows stand in the order of the
    ratings."""
    rng = np.random.default_rng(seed)
    taste = _tastes(rng, n_users, n_items)
    rated = [
        list(rng.choice(n_items, size=rng.integers(6, 20), replace=False, p=taste[user])) for user in range(n_users)
    ]
    lines = ["user\titem\tstars"]
    while any(rated):
        user = int(rng.choice([u for u in range(n_users) if rated[u]]))
        lines.append(f"{user}\t{rated[user].pop(0)}\t{rng.integers(1, 6)}")
    path.write_text("\n".join(lines) + "\n")
    return path
