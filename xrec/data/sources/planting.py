"""How `planted` makes its purchases: roles of items, links between them, and one period after another."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from xrec.data.errors import DataError
from xrec.types import Bools, Doubles, Ints

#: What brings a purchase about. The first four have earlier items of the same user as causes, the others have none.
MECHANISMS = ("complement", "substitute", "repeat", "taste", "innate", "popularity", "season", "noise")
COMPLEMENT, SUBSTITUTE, REPEAT, TASTE, INNATE, POPULARITY, SEASON, NOISE = range(8)
LINKED = (COMPLEMENT, SUBSTITUTE, REPEAT)
ORGANIC = (TASTE, POPULARITY, SEASON, NOISE)
SHARES = tuple(MECHANISMS[m] for m in ORGANIC)


@dataclass(frozen=True)
class Links:
    """Links of one mechanism, sorted by cause: those of item i are `start[i]:start[i + 1]`."""

    cause: Ints
    item: Ints
    start: Ints
    first: int
    last: int
    strength: float

    @property
    def hazard(self) -> float:
        return 1 - (1 - self.strength) ** (1 / (self.last - self.first + 1))


@dataclass(frozen=True)
class World:
    """What does not change from period to period. Items are sorted by category; `weight` [I] is for organic draws."""

    category: Ints
    weight: Doubles
    rate: Doubles  # [U] baskets a period
    innate: Doubles  # [U, C] cumulative tastes
    phase: Doubles  # [C] in years
    brand: Ints
    price: Doubles
    links: dict[int, Links]
    targets: Ints  # [n_complements] the B items
    causes: Ints  # [n_complements, complement_causes] the A items
    pairs: Ints  # [n_substitutes, 2]
    staples: Ints


@dataclass
class Log:
    """Columns that grow by a chunk a period."""

    chunks: dict[str, list[np.ndarray]] = field(default_factory=dict)

    def add(self, **columns: np.ndarray) -> None:
        for name, values in columns.items():
            self.chunks.setdefault(name, []).append(values)

    def causes(self, when: int, mechanism: int, effect: Ints, cause: Ints, strength: Doubles | float) -> None:
        """`effect` [n] keys user x item of purchases, `cause` [n] items (-1: none)."""
        n = len(effect)
        self.add(
            effect=effect,
            cause=cause,
            strength=np.broadcast_to(np.asarray(strength, dtype=np.float64), n),
            when=np.full(n, when),
            mechanism=np.full(n, mechanism),
        )

    def column(self, name: str) -> np.ndarray:
        return np.concatenate(self.chunks[name])


def make_world(s: dict[str, Any], rng: np.random.Generator) -> World:
    n_items, n_categories = s["n_items"], s["n_categories"]
    share = 1 / (np.arange(n_categories) + 3.0)
    more = rng.choice(n_categories, n_items - n_categories, p=share / share.sum())
    category = np.sort(np.concatenate([np.arange(n_categories), more]))
    pairs, targets, causes, staples = _roles(s, category, rng)
    weight = (rng.permutation(n_items) + 6.0) ** -s["popularity_exponent"]
    weight[targets] *= s["complement_organic"]
    rate = s["baskets_per_user"] / s["n_periods"]
    spread = s["activity_sigma"]
    lag = s["lag"]
    links = {
        COMPLEMENT: _links(
            n_items, causes.ravel(), np.repeat(targets, causes.shape[1]), 1, lag, s["complement_strength"]
        ),
        SUBSTITUTE: _links(n_items, pairs.ravel(), pairs[:, ::-1].ravel(), lag + 1, 2 * lag, s["substitute_strength"]),
        REPEAT: _links(n_items, staples, staples, 1, lag, s["repeat_strength"]),
    }
    return World(
        category=category,
        weight=weight,
        rate=rate * rng.lognormal(-(spread**2) / 2, spread, s["n_users"]),
        innate=np.cumsum(rng.dirichlet(np.full(n_categories, s["taste_spread"]), s["n_users"]), axis=1),
        phase=rng.random(n_categories),
        brand=rng.integers(0, 4, n_items),
        price=np.round(rng.lognormal(rng.normal(1.0, 0.7, n_categories)[category], 0.4) + 0.01, 2),
        links=links,
        targets=targets,
        causes=causes,
        pairs=pairs,
        staples=staples,
    )


def _roles(s: dict[str, Any], category: Ints, rng: np.random.Generator) -> tuple[Ints, Ints, Ints, Ints]:
    """Substitute pairs [n, 2], complement targets [n] and causes [n, m], staples [n]; no item has two roles."""
    shuffled = np.lexsort((rng.random(len(category)), category))
    place = np.arange(len(category)) - np.searchsorted(category, category[shuffled])
    opens = np.flatnonzero((place[:-1] % 2 == 0) & (category[shuffled][:-1] == category[shuffled][1:]))
    if len(opens) < s["n_substitutes"]:
        raise DataError(
            f"planted: n_substitutes={s['n_substitutes']}, but the categories hold {len(opens)} pairs of items only; "
            "lower it, or raise n_items"
        )
    chosen = rng.choice(opens, s["n_substitutes"], replace=False)
    pairs = np.stack([shuffled[chosen], shuffled[chosen + 1]], axis=1)
    free = np.setdiff1d(np.arange(len(category)), pairs)
    # the first item of a category is never a target, so that none is left without a weight
    first = np.isin(free, np.unique(category, return_index=True)[1])
    n, m = s["n_complements"], s["complement_causes"]
    wanted = n * (1 + m) + s["n_staples"]
    if len(free) < wanted or (~first).sum() < n:
        raise DataError(
            f"planted: complements and staples want {wanted} items, but substitutes leave {len(free)} "
            f"({(~first).sum()} of them can be a complement's target); lower n_complements, complement_causes, "
            "n_substitutes or n_staples, or raise n_items"
        )
    targets = rng.permutation(free[~first])[:n]
    rest = rng.permutation(np.setdiff1d(free, targets))
    return pairs, targets, rest[: n * m].reshape(n, m), rest[n * m : n * m + s["n_staples"]]


def _links(n_items: int, cause: Ints, item: Ints, first: int, last: int, strength: float) -> Links:
    order = np.lexsort((item, cause))
    cause, item = cause[order], item[order]
    return Links(cause, item, np.searchsorted(cause, np.arange(n_items + 1)), first, last, strength)


def generate(s: dict[str, Any], world: World, rng: np.random.Generator) -> Log:
    """Period after period; a purchase is a key user x n_items + item, `past` holds the distinct ones of each period."""
    log = Log()
    past: list[Ints] = [np.zeros(0, dtype=np.int64)]
    for t in range(1, s["n_periods"] + 1):
        bought = [_linked(t, m, world, past, rng, log) for m in LINKED]
        bought.append(_organic(t, s, world, past, rng, log))
        keys, counts = np.unique(np.concatenate(bought), return_counts=True)
        log.add(key=keys, value=counts, time=np.full(len(keys), t))
        past.append(keys)
    return log


def _window(past: list[Ints], first: int, last: int) -> Ints:
    """Distinct keys bought `first` .. `last` periods before the one that comes next."""
    t = len(past)
    return np.unique(np.concatenate(past[max(0, t - last) : max(1, t - first + 1)]))


def _expand(start: Ints, stop: Ints) -> tuple[Ints, Ints]:
    """The ranges start[i]:stop[i] one after the other: (i, position) of each of their elements."""
    length = stop - start
    row = np.repeat(np.arange(len(start)), length)
    return row, np.arange(len(row)) + np.repeat(start - np.cumsum(length) + length, length)


def _reached(links: Links, keys: Ints, n_items: int) -> tuple[Ints, Ints]:
    """What the purchases `keys` are linked to: (keys of the effects, items that are the causes)."""
    user, cause = np.divmod(keys, n_items)
    row, link = _expand(links.start[cause], links.start[cause + 1])
    return user[row] * n_items + links.item[link], cause[row]


def _linked(t: int, mechanism: int, world: World, past: list[Ints], rng: np.random.Generator, log: Log) -> Ints:
    """Keys of the purchases that links of one mechanism bring about at t."""
    links = world.links[mechanism]
    effect, cause = _reached(links, _window(past, links.first, links.last), len(world.weight))
    fired = np.unique(effect[rng.random(len(effect)) < links.hazard])
    caused = np.isin(effect, fired)
    log.causes(t, mechanism, effect[caused], cause[caused], links.strength)
    return fired


def _organic(t: int, s: dict[str, Any], world: World, past: list[Ints], rng: np.random.Generator, log: Log) -> Ints:
    """Keys of the purchases of t's baskets, a key as often as it was drawn."""
    n_users, n_items = s["n_users"], s["n_items"]
    baskets = rng.poisson(world.rate)
    user = np.repeat(np.arange(n_users), baskets + rng.poisson(baskets * (s["basket_size"] - 1)))
    kind = rng.choice(ORGANIC, len(user), p=[s[MECHANISMS[m]] for m in ORGANIC])
    recent = _window(past, 1, s["memory"])
    wave = np.exp(s["season_strength"] * np.cos(2 * np.pi * (t / s["season_length"] - world.phase)))
    weights = {POPULARITY: world.weight, SEASON: world.weight * wave[world.category], NOISE: np.ones(n_items)}
    item = np.zeros(len(user), dtype=np.int64)
    for mechanism, weight in weights.items():
        drawn = kind == mechanism
        item[drawn] = _draw(np.cumsum(weight), rng.random(drawn.sum()))
    tasted = np.flatnonzero(kind == TASTE)
    category, decided = _tastes(s, world, recent, user[tasted], rng)
    kind[tasted[~decided]] = INNATE
    mass = np.concatenate([[0.0], np.cumsum(world.weight)])
    edge = np.searchsorted(world.category, np.arange(s["n_categories"] + 1))
    low, high = mass[edge[category]], mass[edge[category + 1]]
    item[tasted] = np.clip(
        np.searchsorted(mass, low + rng.random(len(tasted)) * (high - low), "right") - 1,
        edge[category],
        edge[category + 1] - 1,
    )
    key = user * n_items + item
    held = _reached(world.links[SUBSTITUTE], _window(past, 1, s["lag"]), n_items)[0]
    stays = ~(np.isin(key, held) & (rng.random(len(key)) < s["suppression"]))
    key, kind = key[stays], kind[stays]
    _taste_causes(t, s, world, recent, np.unique(key[kind == TASTE]), log)
    for mechanism in (INNATE, POPULARITY, SEASON, NOISE):
        effect = np.unique(key[kind == mechanism])
        log.causes(t, mechanism, effect, np.full(len(effect), -1), 0.0)
    return key


def _draw(cumulative: Doubles, uniform: Doubles) -> Ints:
    """Indices drawn with the weights whose running sum is `cumulative`."""
    found = np.searchsorted(cumulative, uniform * cumulative[-1], "right")
    return np.minimum(found, len(cumulative) - 1)


def _tastes(s: dict[str, Any], world: World, recent: Ints, user: Ints, rng: np.random.Generator) -> tuple[Ints, Bools]:
    """(category of each draw, whether the user's `recent` items decided it)."""
    n_items = s["n_items"]
    start = np.searchsorted(recent, np.arange(s["n_users"] + 1) * n_items)
    n_recent = np.diff(start)[user]
    decided = rng.random(len(user)) < n_recent / (n_recent + s["taste_concentration"])
    innate = (world.innate[user] < rng.random(len(user))[:, None]).sum(axis=1).clip(max=s["n_categories"] - 1)
    chosen = start[user] + (rng.random(len(user)) * n_recent).astype(np.int64)
    category = innate.copy()
    category[decided] = world.category[recent[chosen[decided]] % n_items]
    return category, decided


def _taste_causes(t: int, s: dict[str, Any], world: World, recent: Ints, effect: Ints, log: Log) -> None:
    """All recent items of the effect's category are its causes."""
    n_items = s["n_items"]
    # items are sorted by category, so those of one category are a range of keys for each user
    edge = np.searchsorted(world.category, np.arange(s["n_categories"] + 1))
    user, item = np.divmod(effect, n_items)
    category = world.category[item]
    bounds = [np.searchsorted(recent, user * n_items + edge[category + side]) for side in (0, 1)]
    row, position = _expand(*bounds)
    n_recent = np.searchsorted(recent, (user + 1) * n_items) - np.searchsorted(recent, user * n_items)
    strength = 1 / (s["taste_concentration"] + n_recent)
    log.causes(t, TASTE, effect[row], recent[position] % n_items, strength[row])
