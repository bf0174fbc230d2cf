"""Which recommendations are explained, and their value functions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
import torch

from xrec.config.instantiate import instantiate
from xrec.errors import RunError
from xrec.files import whole_file
from xrec.games.game import Game, Rules
from xrec.models.history import History
from xrec.models.recommender import Recommender
from xrec.ranking.evaluate import top_items
from xrec.rundir.saved import SavedRun
from xrec.stages.run import Run, by_length, chunked, release_memory, score_users
from xrec.types import Case, Ints

CASES = "cases.parquet"


def check_cases(run: Run) -> None:
    """Raises: RunError, when no user has a history long enough to be explained; known before any model is fitted."""
    settings, longest = run.config.cases, int(_lengths(run).max(initial=0))
    if longest < settings.min_players:
        raise RunError(
            f"cases.min_players={settings.min_players}: no history of part {settings.part} is that long, the longest "
            f"has {longest} items; lower it, or leave out the stage explain"
        )


def _lengths(run: Run) -> Ints:
    """Of the histories that cases are chosen from, by user; 0 for users without a target in that part."""
    first, last = run.dataset.period(run.config.cases.part)
    lengths = run.dataset.histories(first).lengths()
    return np.where(np.diff(run.dataset.targets(first, last).indptr) > 0, lengths, 0)


def choose_cases(run: Run, model: Recommender) -> list[Case]:
    """The first `cases.top_n` recommendations of each sampled user, per group.

    'new': the best items that the user never had (an event of a kind that is to be predicted). 'repeat': the best of
    the others. Histories with fewer than `few_players` players are marked `few`; fewer than `min_players` are no case.
    """
    settings = run.config.cases
    table = run.dataset.histories(run.dataset.period(settings.part)[0])
    eligible = np.flatnonzero(_lengths(run) >= settings.min_players)
    users = np.sort(run.numpy_generator(3).permutation(eligible)[: settings.n_users])
    catalogue, cases = run.dataset.catalogue, []
    for chunk in by_length(users, table.lengths(), settings.chunk_size):
        scores = score_users(model, table, chunk, run.device)
        known = torch.from_numpy(table.known(chunk, catalogue.n_items)).to(run.device)
        for group in settings.groups:
            allowed = known if group == "repeat" else ~known
            items, values = top_items(scores.masked_fill(~allowed, -torch.inf), settings.top_n)
            for user, row, worth in zip(chunk.tolist(), items.tolist(), values.tolist(), strict=True):
                few = bool(table.lengths()[user] < settings.few_players)
                found = [(i, item) for i, (item, v) in enumerate(zip(row, worth, strict=True)) if v != -float("inf")]
                cases += [(group, few, user, position + 1, item) for position, item in found]
    cases.sort(key=lambda c: (c[0], c[1], table.lengths()[c[2]], *c[2:4]))
    user_ids, item_ids = catalogue.user_ids, catalogue.item_ids
    return [
        Case(i, settings.part, user, item, group, position, user_ids[int(user)], item_ids[int(item)], few)
        for i, (group, few, user, position, item) in enumerate(cases)
    ]


def save_cases(run: Run, cases: list[Case]) -> pl.DataFrame:
    """cases.parquet: which cases, by external ids; what was written."""
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
            "few": [c.few for c in cases],
            "position": [c.position for c in cases],
            "n_players": [int(lengths[c.user]) for c in cases],
        }
    )
    with whole_file(run.store.path(CASES)) as temporary:
        frame.write_parquet(temporary)
    return frame


def load_cases(run: Run) -> list[Case]:
    """The cases of the run's own directory.

    Raises:
        RunError: it has none, or they are not of this data.
    """
    frame = SavedRun(run.store.directory).table(CASES)
    if frame is None:
        raise RunError(
            f"{run.store.path(CASES)} is missing: run the stage explain first, or give from_run=<a run that has it>"
        )
    users = {v: i for i, v in enumerate(run.dataset.catalogue.user_ids)}
    items = {v: i for i, v in enumerate(run.dataset.catalogue.item_ids)}
    strange = [r for r in frame.iter_rows(named=True) if r["user"] not in users or r["item"] not in items]
    if strange:
        raise RunError(f"{run.store.path(CASES)}: case {strange[0]['case']} is not of this data; explain again")
    return [
        Case(
            r["case"], r["part"], users[r["user"]], items[r["item"]], r["group"], r["position"], r["user"], r["item"],
            r["few"],
        )
        for r in frame.sort("case").iter_rows(named=True)
    ]  # fmt: skip


def case_chunks(run: Run, cases: list[Case]) -> list[tuple[Case, ...]]:
    """Cases in the pieces that are explained and measured together."""
    if not cases:
        return []
    lengths = run.dataset.histories(run.dataset.period(cases[0].part)[0]).lengths()
    ranges = chunked(lengths[np.array([c.user for c in cases])], run.config.cases.chunk_size)
    return [tuple(cases[start:end]) for start, end in ranges]


def games_of(run: Run, model: Recommender, chunks: list[tuple[Case, ...]]) -> Iterator[Game]:
    """One value function per chunk of cases; made one at a time, since each holds tables over the catalogue."""
    if not chunks:
        return
    table = run.dataset.histories(run.dataset.period(chunks[0][0].part)[0])
    settings = Rules(
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
        repeat = np.array([c.group == "repeat" for c in chunk])
        candidates = torch.from_numpy(~known | repeat[:, None]).to(run.device)
        yield Game(model, History.from_table(table, users, run.device), chunk, candidates, settings)


def channel(value: Game, name: str) -> list[Any]:
    """A history channel per player, case after case, without padding."""
    values = getattr(value.history, name).tolist()
    return [v for row, n in zip(values, value.n_players.tolist(), strict=True) for v in row[:n]]
