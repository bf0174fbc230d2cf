"""The work behind `build`: raw data to the arrays and the document that the cache keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl

from xrec.data.accounting import Tally
from xrec.data.attribute_history import latest_values
from xrec.data.card import data_card
from xrec.data.clean import Cleaning, Kinds, clean
from xrec.data.codes import Coded, code_events
from xrec.data.core import drop_outliers, k_core
from xrec.data.errors import DataError
from xrec.data.fields import encode_fields
from xrec.data.interactions import ENTITIES, PARTS
from xrec.data.runs import by_user, last_of_runs
from xrec.data.schema import RawData, Step, check_events
from xrec.data.split.assigned import Assigned
from xrec.data.split.given import check_given
from xrec.data.split.leakage import check, last_training_time
from xrec.data.split.settling import counts_own
from xrec.data.texts import Texts, short
from xrec.types import Bools, Field, Ints

Arrays = dict[str, np.ndarray]


@dataclass
class Cleaned:
    """A source after cleaning, before the split. events: of `clean`. own_counter: whether times count each user's own
    events, by the source's word or as they were before cleaning, which leaves gaps."""

    source: str
    raw: RawData
    coded: Coded
    kinds: Kinds
    tally: Tally
    events: pl.DataFrame
    own_counter: bool


def clean_events(source: Any, cleaning: Cleaning, split: Any) -> Cleaned:
    """Load, code and clean; see `build` for what is raised. The split must not overlook what the log says of parts."""
    raw: RawData = source.load()
    check_events(raw, source.name)
    check_given(raw.events.collect_schema().names(), split, source.name)
    coded = code_events(raw, source.name)
    tally = Tally(source.name, raw.steps or [_read(coded.events)], strict=cleaning.strict)
    _same_number(tally, coded.events)
    own_counter = raw.own_counter or counts_own(coded.events)
    events, coded.events = coded.events, pl.DataFrame()  # one owner, so that it can be let go
    kinds = Kinds.of(raw.event_kinds, cleaning, source.name, raw.history_only)
    return Cleaned(source.name, raw, coded, kinds, tally, clean(events, kinds, cleaning, tally), own_counter)


def make_arrays(read: Cleaned, split: Any, cleaning: Cleaning) -> tuple[Arrays, dict[str, Any]]:
    """Arrays and a JSON-able document; see `build` for what they become and for what is raised. `read` loses its
    events."""
    raw, coded, kinds, tally = read.raw, read.coded, read.kinds, read.tally
    events, read.events = read.events, pl.DataFrame()
    assigned: Assigned = split.assign(events, kinds.n_targets)
    for step in assigned.steps:
        tally.add(step)
    check(assigned, events, split.name, kinds.n_targets)
    del events
    end = last_training_time(assigned)
    held_out = _first_held_out(assigned, coded.items, kinds.n_targets) if raw.item_history is not None else None
    kept = _core(assigned, cleaning, tally, split.name, kinds.n_targets)
    span = kept.select(first=pl.col("time").min(), last=pl.col("time").max())
    new_code = {e: _new_codes(kept[e], len(getattr(coded, f"{e}s"))) for e in ENTITIES}
    arrays = _events(kept, new_code)
    truth, causes = _truth(raw, coded, kept, new_code)
    arrays |= truth | _folds(assigned, new_code)
    del kept
    cold = {part: new_code["item"][codes] for part, codes in assigned.cold.items()}
    arrays |= {f"cold_{part}": np.sort(codes[codes >= 0]) for part, codes in cold.items()}
    _no_part_empty(arrays, assigned, kinds.n_targets, cleaning)
    described, history = _describe(
        raw, coded, arrays, new_code, assigned.train_end, (end, held_out), cleaning, read.source
    )
    arrays |= described["arrays"]
    card = data_card(
        read.source, arrays, len(described["user_ids"]), len(described["item_ids"]), assigned.train_end,
        assigned.parts, kinds.n_targets, [asdict(s) for s in tally.steps], described["item"], described["user"],
    )  # fmt: skip
    card["time_span"] = {k: str(v) for k, v in span.row(0, named=True).items()}
    card["split"] = (
        {"name": split.name}
        | {k: v for k, v in split.key().items() if k != "kind"}
        | ({"note": assigned.note} if assigned.note else {})
    )
    card |= {"cold_items": {p: len(c[c >= 0]) for p, c in cold.items()}} if cold else {}
    card |= {"item_history": history} if history else {}
    card |= {"truth": causes} if causes else {}
    document = {
        "train_end": assigned.train_end,
        "parts": {name: [int(first), int(last)] for name, (first, last) in assigned.parts.items()},
        "cold": list(cold),
        "event_kinds": list(kinds.names),
        "n_target_kinds": kinds.n_targets,
        "users_apart": "users_apart" in assigned.promises,
        "mechanisms": raw.truth["mechanism"].unique().sort().to_list() if raw.truth is not None else [],
        "item_fields": [{"name": f.name, "kind": f.kind} for f in described["item"]],
        "user_fields": [{"name": f.name, "kind": f.kind} for f in described["user"]],
        "card": card,
    }
    return arrays, document


def _read(events: pl.DataFrame) -> Step:
    users, items = (events[e].drop_nulls().n_unique() for e in ENTITIES)
    return Step("read", "events of the source", events.height, users, items)


def _same_number(tally: Tally, events: pl.DataFrame) -> None:
    last = tally.steps[-1]
    if last.rows != events.height:
        raise DataError(
            f"{tally.source}: the source counts {last.rows} events after its step {last.step!r}, but delivers "
            f"{events.height}; a row is lost or doubled in the source"
        )


def _first_held_out(assigned: Assigned, items: pl.Series, n_targets: int) -> pl.DataFrame:
    """item (id) and time of its first event that is a target of a part."""
    targets = assigned.events.filter((pl.col("period") > assigned.train_end) & (pl.col("kind") < n_targets))
    first = targets.group_by("item").agg(pl.col("time").min())
    return first.with_columns(item=items.gather(first["item"]))


def _core(assigned: Assigned, cleaning: Cleaning, tally: Tally, split: str, n_targets: int) -> pl.DataFrame:
    """The split's events without robots and outside the core, sorted by user, item and period; `assigned` loses them.

    Columns user, item, time, period, kind, strength.
    """
    events, assigned.events = assigned.events, pl.DataFrame()
    if cleaning.outlier_mads is not None:
        events = drop_outliers(events, assigned.train_end, cleaning.outlier_mads, tally)
    columns = (pl.col("user", "item").cast(pl.UInt32), pl.col("period").cast(pl.Int32), "time", "kind", "strength")
    events = events.select(columns)
    key = ("user", "item", "period")
    events = pl.concat(by_user(events, key))
    if not last_of_runs(events, key).all():
        raise DataError(f"{split}: a split must give one row per user, item and period, but gives several of some")
    held_out = None
    if assigned.folds is not None:
        out = (pl.col("entity") == "user") & (pl.col("part") != "train")
        held_out = assigned.folds.filter(out)["id"].cast(pl.Int64).to_numpy()
    cold = np.concatenate(list(assigned.cold.values())).astype(np.int64) if assigned.cold else None
    return k_core(
        events, assigned.train_end, cleaning.min_item_users, cleaning.min_user_items, tally, held_out, cold, n_targets
    )


def _no_part_empty(arrays: Arrays, assigned: Assigned, n_targets: int, cleaning: Cleaning) -> None:
    """Raise `DataError` where the core leaves a part without a target, or with no target of a known user."""
    time, wanted = arrays["time"], arrays["kind"] < n_targets
    for part, (first, last) in assigned.parts.items():
        if not ((time >= first) & (time <= last) & wanted).any():
            raise DataError(
                f"split: no target of {part} is left once users and items outside the core are gone; lower "
                f"data.clean.min_item_users={cleaning.min_item_users} or "
                f"data.clean.min_user_items={cleaning.min_user_items}"
            )


def _new_codes(codes: pl.Series, n: int) -> Ints:
    """[n] the code of each id among those that are left, -1 for the others; the order stays."""
    left = np.zeros(n, dtype=bool)
    left[codes.to_numpy()] = True
    return np.where(left, np.cumsum(left) - 1, -1)


def _events(events: pl.DataFrame, new_code: Mapping[str, Ints]) -> Arrays:
    arrays = {e: new_code[e].astype(np.int32)[events[e].to_numpy()] for e in ENTITIES}
    arrays["time"] = events["period"].cast(pl.Int32).to_numpy()
    arrays["strength"] = events["strength"].cast(pl.Float32).to_numpy()
    arrays["kind"] = events["kind"].cast(pl.UInt8).to_numpy()
    return arrays


def _folds(assigned: Assigned, new_code: Mapping[str, Ints]) -> Arrays:
    """entity (0 user, 1 item), code and part (place in PARTS) of the entities that are left."""
    if assigned.folds is None:
        return {}
    pieces: list[np.ndarray] = []
    for number, entity in enumerate(ENTITIES):
        rows = assigned.folds.filter(pl.col("entity") == entity)
        codes = new_code[entity][rows["id"].to_numpy()]
        part = rows["part"].replace_strict(list(PARTS), list(range(len(PARTS))), return_dtype=pl.Int32).to_numpy()
        piece = np.stack([np.full(len(codes), number), codes, part], axis=1)[codes >= 0]
        pieces.append(piece[np.argsort(piece[:, 1], kind="stable")])
    return {"fold_entity_code_part": np.concatenate(pieces).astype(np.int32)}


def _truth(
    raw: RawData, coded: Coded, kept: pl.DataFrame, new_code: Mapping[str, Ints]
) -> tuple[Arrays, dict[str, int]]:
    """The known causes of the events that are left: user, item, period, cause (an item, -1 for none), strength and
    mechanism (a place among the sorted names); and how many rows there were, and why others went."""
    if raw.truth is None:
        return {}, {}
    rows, counts = raw.truth, {"rows": raw.truth.height}
    cause = pl.DataFrame({"cause_item": coded.items, "cause": new_code["item"]})
    rows = rows.join(cause, on="cause_item", how="left").with_columns(pl.col("cause").fill_null(-1))
    for entity, ids in (("user", coded.users), ("item", coded.items)):
        places = pl.DataFrame({entity: ids, "code": new_code[entity]}).filter(pl.col("code") >= 0)
        rows = rows.join(places, on=entity).drop(entity).rename({"code": entity})
    where = kept.select(*(pl.Series(e, new_code[e][kept[e].to_numpy()]) for e in ENTITIES), pl.col("time", "period"))
    rows = rows.join(where, on=["user", "item", "time"])
    counts["of_events_that_went"] = counts["rows"] - rows.height
    here = pl.col("cause_item").is_null() | (pl.col("cause") >= 0)
    counts["of_causes_that_went"] = rows.filter(~here).height
    columns = ["user", "item", "period", "cause", "mechanism"]
    names = raw.truth["mechanism"].unique().sort().to_list()
    rows = rows.filter(here).with_columns(
        pl.col("mechanism").replace_strict(names, list(range(len(names))), return_dtype=pl.Int32)
    )
    rows = rows.sort(columns)
    counts["kept"] = rows.height
    arrays = {f"truth_{c}": rows[c].cast(pl.Int32).to_numpy() for c in columns}
    return arrays | {"truth_strength": rows["strength"].cast(pl.Float32).to_numpy()}, counts


def _describe(
    raw: RawData, coded: Coded, arrays: Arrays, new_code: Mapping[str, Ints], train_end: int,
    until: tuple[Any, pl.DataFrame | None], cleaning: Cleaning, source: str,
) -> tuple[dict[str, Any], dict[str, int]]:  # fmt: skip
    """Ids, names and fields of the entities that are left, and what became of attributes that change (`until`: the
    last time of training, and the first held-out time of items)."""
    items, history = raw.items, {}
    if raw.item_history is not None:
        items, history = latest_values(raw.item_history, items, *until, source)
    training = arrays["time"] <= train_end
    stored: Arrays = {}
    found: dict[str, Any] = {"arrays": stored}
    for entity, frame, text in (("item", items, raw.text), ("user", raw.users, ())):
        ids: pl.Series = getattr(coded, f"{entity}s").filter(pl.Series(new_code[entity] >= 0))
        trained: Bools = np.zeros(len(ids), dtype=bool)
        trained[arrays[entity][training]] = True
        fields = encode_fields(frame, entity, ids, trained, cleaning.min_level_count, text)
        texts = Texts.of(ids.cast(pl.String).to_list())
        stored |= texts.arrays(f"{entity}_ids") | _stored(entity, fields)
        found |= {entity: fields, f"{entity}_ids": texts}
    names = Texts.of(short(raw.item_names.get(i) or i) for i in found["item_ids"])
    stored |= names.arrays("item_names")
    return found, history


def _stored(entity: str, fields: tuple[Field, ...]) -> Arrays:
    arrays: Arrays = {}
    for i, field in enumerate(fields):
        arrays |= Texts.of(field.levels).arrays(f"{entity}_field_{i}_levels")
        arrays |= {f"{entity}_field_{i}_codes": field.codes, f"{entity}_field_{i}_weights": field.weights}
    return arrays
