"""Synthetic retail data in which the cause of every purchase is known."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from xrec.data.errors import DataError
from xrec.data.schema import RawData, Step
from xrec.data.sources.planting import MECHANISMS, SHARES, World, generate, make_world
from xrec.types import Ints


class Planted:
    """Purchases of `n_users` in `n_periods` by known mechanisms; `RawData.truth` names the causes of each.

    A user makes baskets of organic purchases, each of one of four kinds, by share. On top come the purchases that
    *links* between items bring about. A link i -> j has a window and a strength s: of a user who bought i, the chance
    to buy j for that reason in at least one period of the window is s (one hazard for every period of it); several
    causes of one j act independently (a noisy or), and all that are within their window are causes of the purchase.

        complement   "Complement pair 12 A" -> "... B", 1 .. `lag` periods later
        substitute   "Substitute pair 5 A" <-> "... B", of one category: for `lag` periods after one of them, an organic
                     purchase of the other is dropped with chance `suppression`; in the `lag` periods after those, the
                     user switches to the other with chance `substitute_strength`
        repeat       "Staple 7" -> itself, 1 .. `lag` periods later
        taste        organic: a category is drawn with weights `taste_concentration` x the user's innate tastes + the
                     number of the user's distinct items of the last `memory` periods in it, then an item of it by
                     popularity. Where recent items decided, all of the category are causes, each of strength
                     1 / (concentration + number of recent items); where not, the purchase is `innate`: no cause
        popularity   organic: by the long-tailed popularity of items alone
        season       organic: by popularity x exp(season_strength x cos), the wave having a phase for each category
        noise        organic: any item, all alike

    Args:
        n_users, n_items, n_categories: sizes; the sizes of categories are long-tailed too.
        n_periods: periods 1 .. n_periods. season_length: periods of a year.
        baskets_per_user: mean over users, all periods together; activity_sigma: spread of its logarithm over users
            (log-normal). basket_size: mean number of organic purchases in a basket (1 + Poisson).
        popularity_exponent: the r-th most popular item has weight (r + 5) ** -exponent (Zipf-Mandelbrot).
        taste_concentration: pseudo-count of innate taste; small: the history rules. taste_spread: Dirichlet parameter
            of innate tastes over categories; small: few categories a user.
        taste, popularity, season, noise: shares of the organic purchases; together 1.
        n_complements, complement_causes, complement_strength: number of targets B, of items A for each, strength.
        complement_organic: factor on B's popularity in organic draws; small: B is mostly caused.
        n_substitutes, substitute_strength, suppression: number of pairs, strengths.
        n_staples, repeat_strength: number of items that are bought again, strength.
        lag, memory: windows, in periods. seed: same arguments, same data.

    Raises:
        DataError: an argument out of its range.
    """

    name = "planted"

    def __init__(
        self,
        n_users: int = 2000,
        n_items: int = 1000,
        n_categories: int = 30,
        n_periods: int = 53,
        season_length: int = 52,
        baskets_per_user: float = 20.0,
        activity_sigma: float = 0.8,
        basket_size: float = 3.0,
        popularity_exponent: float = 1.0,
        taste_concentration: float = 10.0,
        taste_spread: float = 0.1,
        taste: float = 0.5,
        popularity: float = 0.25,
        season: float = 0.15,
        season_strength: float = 2.0,
        noise: float = 0.1,
        n_complements: int = 100,
        complement_causes: int = 2,
        complement_strength: float = 0.5,
        complement_organic: float = 0.1,
        n_substitutes: int = 50,
        substitute_strength: float = 0.4,
        suppression: float = 0.9,
        n_staples: int = 100,
        repeat_strength: float = 0.4,
        lag: int = 3,
        memory: int = 6,
        seed: int = 0,
    ) -> None:
        given = locals()
        self.settings: dict[str, Any] = {k: given[k] for k in inspect.signature(Planted).parameters}
        _check(self.settings)

    def files(self) -> list[Path]:
        """Nothing is read: `settings` alone key the cache."""
        return []

    def _start(self) -> tuple[World, np.random.Generator]:
        # not when it is constructed, so that a start from the cache makes no world
        rng = np.random.default_rng(self.settings["seed"])
        return make_world(self.settings, rng), rng

    def links(self) -> pl.DataFrame:
        """Every planted link: mechanism, cause_item, item, first and last period of its window, strength.

        Raises:
            DataError: more roles than items.
        """
        return pl.concat(
            pl.DataFrame(
                {
                    "mechanism": pl.repeat(MECHANISMS[m], len(links.item), eager=True),
                    "cause_item": _ids("i", links.cause),
                    "item": _ids("i", links.item),
                    "first": np.full(len(links.item), links.first),
                    "last": np.full(len(links.item), links.last),
                    "strength": np.full(len(links.item), links.strength),
                }
            )
            for m, links in self._start()[0].links.items()
        )

    def load(self) -> RawData:
        """Generate.

        Returns:
            Events with String ids, whole periods, value = number of purchases in the period; items with category, brand
            and price; `truth`: user, item, time, cause_item, strength, mechanism: a row for each event, mechanism and
            cause, or one row with a null cause_item and strength 0 where no earlier item is a cause.

        Raises:
            DataError: more roles than items.
        """
        world, rng = self._start()
        log = generate(self.settings, world, rng)
        user, item = np.divmod(log.column("key"), self.settings["n_items"])
        events = pl.DataFrame(
            {
                "user": _ids("u", user),
                "item": _ids("i", item),
                "time": log.column("time"),
                "kind": np.zeros(len(user), dtype=np.uint8),
                "value": log.column("value").astype(np.float64),
            }
        ).sort("user", "time", "item")
        user, item = np.divmod(log.column("effect"), self.settings["n_items"])
        cause = log.column("cause")
        truth = pl.DataFrame(
            {
                "user": _ids("u", user),
                "item": _ids("i", item),
                "time": log.column("when"),
                "cause_item": pl.select(pl.when(pl.Series(cause) >= 0).then(_ids("i", cause))).to_series(),
                "strength": log.column("strength"),
                "mechanism": pl.Series(log.column("mechanism")).replace_strict(dict(enumerate(MECHANISMS))),
            }
        ).sort("user", "time", "item", "mechanism", "cause_item")
        items, names = _describe(world)
        return RawData(
            events=events.lazy(),
            items=items,
            users=pl.DataFrame({"user": _ids("u", np.arange(self.settings["n_users"]))}),
            item_names=names,
            event_kinds=("purchase",),
            steps=[
                Step(
                    "generated",
                    f"user x item x period, seed {self.settings['seed']}",
                    events.height,
                    events["user"].n_unique(),
                    events["item"].n_unique(),
                )
            ],
            truth=truth,
        )


def _ids(prefix: str, numbers: Ints) -> pl.Series:
    """ "i0000012"-like ids, in the order of the numbers."""
    text = pl.Series(numbers, dtype=pl.Int64).cast(pl.String).str.zfill(6)
    return pl.select(pl.lit(prefix) + text).to_series()


def _describe(world: World) -> tuple[pl.DataFrame, dict[str, str]]:
    """Attributes and names of the items."""
    category = [f"Category {c + 1:02d}" for c in world.category]
    ids = _ids("i", np.arange(len(category)))
    items = pl.DataFrame(
        {
            "item": ids,
            "category": category,
            "brand": [f"{c}, brand {b + 1}" for c, b in zip(category, world.brand, strict=True)],
            "price": world.price,
        }
    )
    names = [f"Item {i}, {c.lower()}" for i, c in enumerate(category)]
    for n, (target, causes) in enumerate(zip(world.targets, world.causes, strict=True), start=1):
        names[target] = f"Complement pair {n} B"
        for m, cause in enumerate(causes, start=1):
            names[cause] = f"Complement pair {n} A" + (f"{m}" if len(causes) > 1 else "")
    for n, pair in enumerate(world.pairs, start=1):
        for letter, item in zip("AB", pair, strict=True):
            names[item] = f"Substitute pair {n} {letter}"
    for n, item in enumerate(world.staples, start=1):
        names[item] = f"Staple {n}"
    return items, dict(zip(ids, names, strict=True))


#: Least and greatest value of each argument; None: no bound. Whole numbers are those whose least is a whole number.
_RANGES: dict[str, tuple[float, float | None]] = {
    "n_users": (1, None),
    "n_items": (1, None),
    "n_categories": (1, None),
    "n_periods": (1, None),
    "season_length": (1, None),
    "baskets_per_user": (0.0, None),
    "activity_sigma": (0.0, None),
    "basket_size": (1.0, None),
    "popularity_exponent": (0.0, None),
    "taste_concentration": (1e-9, None),
    "taste_spread": (1e-3, None),
    **dict.fromkeys(SHARES, (0.0, 1.0)),
    "season_strength": (0.0, None),
    "n_complements": (0, None),
    "complement_causes": (1, None),
    "complement_strength": (0.0, 1.0),
    "complement_organic": (0.0, 1.0),
    "n_substitutes": (0, None),
    "substitute_strength": (0.0, 1.0),
    "suppression": (0.0, 1.0),
    "n_staples": (0, None),
    "repeat_strength": (0.0, 1.0),
    "lag": (1, None),
    "memory": (1, None),
    "seed": (0, None),
}


def _check(s: dict[str, Any]) -> None:
    for name, (low, high) in _RANGES.items():
        value, kind = s[name], "a whole number" if isinstance(low, int) else "a number"
        good = isinstance(value, int if isinstance(low, int) else (int, float)) and not isinstance(value, bool)
        if not good or not low <= value <= (np.finfo(float).max if high is None else high):
            bounds = f">= {low:g}" if high is None else f"from {low:g} to {high:g}"
            raise DataError(f"planted: {name} must be {kind} {bounds}, not {value!r}")
    total = sum(s[share] for share in SHARES)
    if abs(total - 1) > 1e-9:
        raise DataError(f"planted: the shares {', '.join(SHARES)} must sum to 1, not {total:g}")
    if s["n_categories"] > s["n_items"]:
        raise DataError(f"planted: n_categories={s['n_categories']} is more than n_items={s['n_items']}")
