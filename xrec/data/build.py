"""Source -> clean, split interactions, through the cache."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from xrec.data.cache import FORMAT, ArrayCache, SourceDigests, digest
from xrec.data.errors import DataError
from xrec.data.interactions import SplitInteractions
from xrec.data.split import TemporalSplit
from xrec.types import Catalogue, Field


class Source(Protocol):
    """What `data.source` must be; `load` returns `xrec.data.schema.RawData`."""

    name: str

    def files(self) -> list[Path]: ...
    def load(self) -> Any: ...


def build(
    source: Source,
    split: TemporalSplit,
    cache: ArrayCache,
    *,
    min_item_users: int,
    min_user_items: int,
    min_level_count: int,
) -> SplitInteractions:
    """Load, clean and split, or take all that from the cache when source files and settings are unchanged.

    Args:
        min_item_users, min_user_items: the core, counted on training periods, to a fixed point.
        min_level_count: attribute levels held by fewer items (or users) are pooled.
    Raises:
        DataError: a source that is missing, unreadable, empty or malformed, or a core that is empty.
    """
    key = {
        "source": source.name,
        "files": SourceDigests(cache.root).of(source.files()),
        "settings": getattr(source, "settings", {}),
        "core": [min_item_users, min_user_items],
        "min_level_count": min_level_count,
        "split": split.key(),
    }

    def make() -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        return _make(source, split, min_item_users, min_user_items, min_level_count)

    arrays, document = cache.folder(f"data-{source.name}", key, make)
    return SplitInteractions(
        user=arrays["user"],
        item=arrays["item"],
        time=arrays["time"],
        strength=arrays["strength"],
        kind=arrays["kind"],
        catalogue=_catalogue(arrays, document),
        split=split,
        fingerprint=digest([FORMAT, key]),
        card=document["card"],
    )


def _make(
    source: Source, split: TemporalSplit, min_item_users: int, min_user_items: int, min_level_count: int
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    # imported here: a cached start does not need polars
    import polars as pl

    from xrec.data.clean import k_core
    from xrec.data.schema import Step, check_events, encode_fields

    raw = source.load()
    check_events(raw.events, source.name)
    inside = raw.events.filter(pl.col("period") <= split.test_end)
    late = Step(
        "span", f"after period {split.test_end}", inside.height, inside["user"].n_unique(), inside["item"].n_unique()
    )
    if inside.filter(pl.col("period") <= split.train_end).height == 0:
        raise DataError(
            f"{source.name}: no events in periods <= split.train_end={split.train_end}; check split.train_end"
        )
    events, core_steps = k_core(inside, split.train_end, min_item_users, min_user_items)
    # numeric order where ids are numbers, else by text: ties in scores go to the lower internal id, so order must be
    # stable
    user_ids, item_ids = (tuple(sorted(events[c].unique().to_list(), key=_natural)) for c in ("user", "item"))
    users, items = ({v: i for i, v in enumerate(ids)} for ids in (user_ids, item_ids))
    coded = events.select(
        pl.col("user").replace_strict(users, return_dtype=pl.Int64),
        pl.col("item").replace_strict(items, return_dtype=pl.Int64),
        pl.col("period").alias("time"),
        pl.col("strength").cast(pl.Float32),
        "kind",
    ).sort("user", "item", "time")
    if coded.select("user", "item", "time").is_duplicated().any():
        raise DataError(f"{source.name}: several events for one user, item and period; the source must merge them")
    item_fields = encode_fields(raw.items, "item", item_ids, min_level_count)
    user_fields = encode_fields(raw.users, "user", user_ids, min_level_count)
    arrays = {c: coded[c].to_numpy() for c in coded.columns}
    arrays |= {f"item_field_{i}": f.codes for i, f in enumerate(item_fields)}
    arrays |= {f"user_field_{i}": f.codes for i, f in enumerate(user_fields)}
    document = {
        "item_ids": item_ids,
        "item_names": [raw.item_names.get(i, i) for i in item_ids],
        "user_ids": user_ids,
        "item_fields": [{"name": f.name, "levels": f.levels} for f in item_fields],
        "user_fields": [{"name": f.name, "levels": f.levels} for f in user_fields],
    }
    steps = [*raw.steps, late, *core_steps]
    document["card"] = _card(
        source.name, arrays, document, split, [asdict(s) for s in steps], (*item_fields, *user_fields)
    )
    return arrays, document


def _natural(value: str) -> tuple[int, int, str]:
    return (0, int(value), value) if value.isascii() and value.isdigit() else (1, 0, value)


def _catalogue(arrays: dict[str, np.ndarray], document: dict[str, Any]) -> Catalogue:
    def fields(kind: str) -> tuple[Field, ...]:
        described = document[f"{kind}_fields"]
        return tuple(Field(d["name"], arrays[f"{kind}_field_{i}"], tuple(d["levels"])) for i, d in enumerate(described))

    return Catalogue(
        item_ids=tuple(document["item_ids"]),
        item_names=tuple(document["item_names"]),
        item_fields=fields("item"),
        user_ids=tuple(document["user_ids"]),
        user_fields=fields("user"),
    )


def _card(
    name: str,
    arrays: dict[str, np.ndarray],
    document: dict[str, Any],
    split: TemporalSplit,
    steps: list[dict[str, Any]],
    fields: tuple[Field, ...],
) -> dict[str, Any]:
    """The data card: sizes, drop accounting, the split's parts, attribute coverage. JSON-able."""
    user, item, time = arrays["user"], arrays["item"], arrays["time"]
    n_users, n_items = len(document["user_ids"]), len(document["item_ids"])
    sizes: dict[str, float] = {"n_users": n_users, "n_items": n_items, "n_events": len(user)}
    test_start = split.period("test")[0]
    before = np.unique(user[time < test_start] * n_items + item[time < test_start])
    sizes["n_pairs_before_test"] = len(before)
    sizes["density_before_test"] = round(len(before) / (n_users * n_items), 5)
    lengths = np.bincount(before // n_items, minlength=n_users)
    sizes["history_mean"], sizes["history_median"] = round(float(lengths.mean()), 1), float(np.median(lengths))
    sizes["history_max"] = int(lengths.max())
    parts = {}
    for part in ("validation", "test"):
        start, end = split.period(part)
        span = (time >= start) & (time <= end)
        pairs = np.unique(user[span] * n_items + item[span])
        known = np.unique(user[time < start] * n_items + item[time < start])
        fresh = np.setdiff1d(pairs, known, assume_unique=True)
        parts[part] = {
            "periods": f"{start}-{end}",
            "targets": len(pairs),
            "users": len(np.unique(pairs // n_items)),
            "new_targets": len(fresh),
            "new_users": len(np.unique(fresh // n_items)),
            "repeat_share": round(1 - len(fresh) / max(1, len(pairs)), 4),
        }
    coverage = {f.name: round(float((f.codes != 0).mean()), 4) for f in fields}
    return {
        "name": name,
        "sizes": json.loads(json.dumps(sizes)),
        "steps": steps,
        "splits": parts,
        "attribute_coverage": coverage,
    }
