"""Which recommendations are explained, and their value functions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from xrec.config.instantiate import instantiate
from xrec.files import whole_file
from xrec.masking.value import ValueFunction, ValueSettings
from xrec.models.base import History, Recommender
from xrec.ranking.evaluate import top_items
from xrec.stages.run import Run, by_length, chunked, release_memory
from xrec.types import Case, Ints


def choose_cases(run: Run, model: Recommender) -> list[Case]:
    """The first `cases.top_n` recommendations of each sampled user, per group.

    'new': the best items that the user never had (an event of a kind that is to be predicted). 'repeat': the best of
    the others. Groups of histories with fewer than `few_players` players get the suffix '_few'; fewer than
    `min_players` are no case.
    """
    settings = run.config.cases
    first, last = run.dataset.period(settings.part)
    table, targets = run.dataset.histories(first), run.dataset.targets(first, last)
    eligible = np.flatnonzero((np.diff(targets.indptr) > 0) & (table.lengths() >= settings.min_players))
    users = np.sort(run.numpy_generator(3).permutation(eligible)[: settings.n_users])
    catalogue, cases = run.dataset.catalogue, []
    for chunk in by_length(users, table.lengths(), settings.chunk_size):
        with torch.no_grad():
            scores = model.score(model.prepare(History.from_table(table, chunk, run.device)))[:, 0]
        known = torch.from_numpy(table.known(chunk, catalogue.n_items)).to(run.device)
        for group in settings.groups:
            allowed = known if group == "repeat" else ~known
            items, values = top_items(scores.masked_fill(~allowed, -torch.inf), settings.top_n)
            for user, row, worth in zip(chunk.tolist(), items.tolist(), values.tolist(), strict=True):
                few = "_few" if table.lengths()[user] < settings.few_players else ""
                found = [(i, item) for i, (item, v) in enumerate(zip(row, worth, strict=True)) if v != -float("inf")]
                cases += [(user, item, group + few, position + 1) for position, item in found]
    cases.sort(key=lambda c: (c[2], table.lengths()[c[0]], c[0], c[3]))
    return [
        Case(
            i, settings.part, user, item, group, position, catalogue.user_ids[int(user)], catalogue.item_ids[int(item)]
        )
        for i, (user, item, group, position) in enumerate(cases)
    ]


def save_cases(run: Run, cases: list[Case], path: Path) -> None:
    """cases.parquet: which cases, by external ids."""
    first, _ = run.dataset.period(run.config.cases.part)
    lengths = run.dataset.histories(first).lengths()
    frame = pl.DataFrame(
        {
            "case": [c.index for c in cases],
            "part": [c.part for c in cases],
            "user": [c.user_id for c in cases],
            "item": [c.item_id for c in cases],
            "item_name": [run.dataset.catalogue.item_names[c.target] for c in cases],
            "group": [c.group for c in cases],
            "position": [c.position for c in cases],
            "n_players": [int(lengths[c.user]) for c in cases],
        }
    )
    with whole_file(path) as temporary:
        frame.write_parquet(temporary)


def load_cases(run: Run, path: Path) -> list[Case]:
    """Cases of a saved run.

    Raises:
        FileNotFoundError: the run has none.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: run the stage explain first, or give from_run=<a run that has it>")
    users = {v: i for i, v in enumerate(run.dataset.catalogue.user_ids)}
    items = {v: i for i, v in enumerate(run.dataset.catalogue.item_ids)}
    return [
        Case(r["case"], r["part"], users[r["user"]], items[r["item"]], r["group"], r["position"], r["user"], r["item"])
        for r in pl.read_parquet(path).sort("case").iter_rows(named=True)
    ]


def case_chunks(run: Run, cases: list[Case]) -> list[tuple[Case, ...]]:
    """Cases in the pieces that are explained and measured together."""
    if not cases:
        return []
    lengths = run.dataset.histories(run.dataset.period(cases[0].part)[0]).lengths()
    ranges = chunked(lengths[np.array([c.user for c in cases])], run.config.cases.chunk_size)
    return [tuple(cases[start:end]) for start, end in ranges]


def value_functions(run: Run, model: Recommender, chunks: list[tuple[Case, ...]]) -> Iterator[ValueFunction]:
    """One value function per chunk of cases; made one at a time, since each holds tables over the catalogue."""
    if not chunks:
        return
    table = run.dataset.histories(run.dataset.period(chunks[0][0].part)[0])
    settings = ValueSettings(
        masker=instantiate(run.config.masker),
        players=instantiate(run.config.players),
        item_ids=run.dataset.catalogue.item_ids,
        popularity=run.popularity(),
        mask_chunk=run.config.cases.mask_chunk,
    )
    for chunk in chunks:
        release_memory()
        users: Ints = np.array([c.user for c in chunk])
        known = table.known(users, run.dataset.catalogue.n_items)
        repeat = np.array([c.group.startswith("repeat") for c in chunk])
        candidates = torch.from_numpy(~known | repeat[:, None]).to(run.device)
        yield ValueFunction(model, History.from_table(table, users, run.device), chunk, candidates, settings)


def channel(value: ValueFunction, name: str) -> list[Any]:
    """A history channel per player, case after case, without padding."""
    values = getattr(value.history, name).tolist()
    return [v for row, n in zip(values, value.n_players.tolist(), strict=True) for v in row[:n]]
