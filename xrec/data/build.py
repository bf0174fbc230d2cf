"""Source -> clean -> split -> core -> arrays, through the cache."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from xrec.data import settled
from xrec.data.cache import FORMAT, ArrayCache, SourceDigests, digest
from xrec.data.interactions import SplitInteractions
from xrec.data.texts import Texts
from xrec.types import Catalogue, Field

if TYPE_CHECKING:
    from xrec.data.clean import Cleaning


class Source(Protocol):
    """What `data.source` must be; `load` returns `xrec.data.schema.RawData`. `settings`, where there are any, change
    what is read."""

    name: str

    def files(self) -> list[Path]: ...
    def load(self) -> Any: ...


class Split(Protocol):
    """`xrec.data.split.assigned.Split`, without polars."""

    name: str

    def key(self) -> dict[str, Any]: ...
    def assign(self, events: Any, n_targets: int) -> Any: ...


def build(source: Source, split: Split, cache: ArrayCache, cleaning: Cleaning) -> SplitInteractions:
    """Load, clean and split, or take all that from the cache when source files and settings are unchanged. A split that
    must see the events settles first; the data set, its cache entry and its fingerprint are those of what it settles
    to.

    Raises:
        DataError: a source that is missing, unreadable, empty or malformed; settings that leave nothing; a split that
            lets the future into training.
    """
    key = {
        "source": source.name,
        "files": SourceDigests(cache.root).of(source.files()),
        "settings": getattr(source, "settings", {}),
        "clean": cleaning.key(),
    }
    reading = settled.Reading(source, cleaning)
    split, words = settled.settle(split, cache, key, reading)
    key["split"] = split.key()
    arrays, document = cache.folder(f"data-{source.name}", key, lambda: reading.arrays(split))
    card = document["card"]
    if words:
        card = card | {"split": card["split"] | {"found": words}}
    return SplitInteractions(
        user=arrays["user"],
        item=arrays["item"],
        time=arrays["time"],
        strength=arrays["strength"],
        kind=arrays["kind"],
        catalogue=_catalogue(arrays, document),
        train_end=document["train_end"],
        parts={name: (first, last) for name, (first, last) in document["parts"].items()},
        fingerprint=digest([FORMAT, key]),
        card=card,
        cold={part: arrays[f"cold_{part}"] for part in document["cold"]},
        fold_codes=_prefixed(arrays, "fold"),
        truth=_prefixed(arrays, "truth"),
        mechanisms=document["mechanisms"],
        n_target_kinds=document["n_target_kinds"],
        users_apart=document["users_apart"],
        split=split,
    )


def _prefixed(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {k.removeprefix(f"{prefix}_"): v for k, v in arrays.items() if k.startswith(f"{prefix}_")}


def _catalogue(arrays: dict[str, np.ndarray], document: dict[str, Any]) -> Catalogue:
    def fields(entity: str) -> tuple[Field, ...]:
        return tuple(
            Field(
                name=described["name"],
                kind=described["kind"],
                levels=Texts.stored(arrays, f"{entity}_field_{i}_levels"),
                codes=arrays[f"{entity}_field_{i}_codes"],
                weights=arrays[f"{entity}_field_{i}_weights"],
            )
            for i, described in enumerate(document[f"{entity}_fields"])
        )

    no_items = np.zeros(0, dtype=np.int32)
    return Catalogue(
        item_ids=Texts.stored(arrays, "item_ids"),
        item_names=Texts.stored(arrays, "item_names"),
        item_fields=fields("item"),
        user_ids=Texts.stored(arrays, "user_ids"),
        user_fields=fields("user"),
        event_kinds=tuple(document["event_kinds"]),
        cold=np.concatenate([arrays[f"cold_{part}"] for part in document["cold"]] or [no_items]).astype(np.int32),
    )
