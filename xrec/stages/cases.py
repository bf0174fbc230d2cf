"""Which recommendations are explained, and their games."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from xrec.config.instantiate import instantiate
from xrec.errors import RunError
from xrec.files import whole_file
from xrec.games.fitting import training_users
from xrec.games.model_game import ModelGame, Rules
from xrec.games.outputs import Choice, Output
from xrec.games.players import Players
from xrec.models.history import History
from xrec.models.recommender import Recommender
from xrec.ranking.evaluate import top_items
from xrec.rundir.saved import SavedRun
from xrec.stages.run import Run, by_length, chunked, release_memory, score_users
from xrec.types import Case, Ints
from xrec.words import counted

log = logging.getLogger(__name__)

CASES = "cases.parquet"


def rules_of(run: Run) -> Rules:
    """What is explained, as the config says; the masker is not fitted yet."""
    return Rules(
        players=instantiate(run.config.players),
        masker=instantiate(run.config.masker),
        output=instantiate(run.config.output),
        catalogue=run.dataset.catalogue,
        seed=run.seed,
        mask_chunk=run.config.cases.mask_chunk,
    )


def check_game(run: Run) -> None:
    """Raises: SettingError, an output or a masker that this data does not have."""
    instantiate(run.config.output).check(run.dataset.catalogue)
    instantiate(run.config.masker).check(run.dataset)


def check_cases(run: Run) -> None:
    """What the data says of the settings, known before any model is fitted.

    Raises:
        RunError: no user has a history with enough players to be explained. SettingError: players that this data does
            not have.
    """
    settings, players = run.config.cases, instantiate(run.config.players)
    longest = int(_players_by_user(run, settings.part, players).max(initial=0))
    if longest < settings.min_players:
        raise RunError(
            f"cases.min_players={settings.min_players}: no history of part {settings.part} is that long, the longest "
            f"has {counted(longest, 'player')} ({players.name}); lower it, or leave out the stage explain"
        )


def _players_by_user(run: Run, part: str, players: Players) -> Ints:
    """[U] players of the histories that cases are chosen from; 0 for users without a target in that part."""
    first, last = run.dataset.period(part)
    with_target = np.diff(run.dataset.targets(first, last).indptr) > 0
    return np.where(with_target, players.count(run.dataset.histories(first), run.dataset.catalogue), 0)


@dataclass(frozen=True)
class Chosen:
    """Cases in the order they are explained in. without_foil: by group, recommendations that are no case because there
    is nothing to hold them against."""

    cases: list[Case]
    without_foil: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Found:
    """A case before it has a number."""

    group: str
    few: bool
    length: int
    user: int
    position: int
    targets: tuple[int, ...]
    foil: int | None


def choose_cases(run: Run, model: Recommender, rules: Rules) -> Chosen:
    """The first `cases.top_n` recommendations of each sampled user, per group; all as one case where the output takes
    several targets.

    'new': the best items that the user never had (an event of a kind that is to be predicted). 'repeat': the best of
    the others. Histories with fewer than `few_players` players are marked `few`; fewer than `min_players` are no case,
    nor is a recommendation that the output has no foil for.
    """
    settings = run.config.cases
    n_players = _players_by_user(run, settings.part, rules.players)
    eligible = np.flatnonzero(n_players >= settings.min_players)
    users = np.sort(run.numpy_generator(3).permutation(eligible)[: settings.n_users])
    return _chosen(run, model, rules, settings.part, users, n_players)


def other_users(run: Run, rules: Rules, explained: Sequence[Case], n_users: int) -> tuple[Ints, Ints]:
    """Up to n users with cases at the moment of `part_of_others`, none of whom is explained; [U] players of all."""
    n_players = _players_by_user(run, part_of_others(run), rules.players)
    eligible = np.setdiff1d(
        np.flatnonzero(n_players >= run.config.cases.min_players), [case.user for case in explained]
    )
    return np.sort(run.numpy_generator(5).permutation(eligible)[:n_users]), n_players


def part_of_others(run: Run) -> str:
    """At whose moment there are games to learn from: validation's, or the test's, where that is when training ends."""
    return "validation" if "validation" in run.dataset.parts else "test"


def games_of_others(
    run: Run, model: Recommender, rules: Rules, explained: Sequence[Case], n_users: int
) -> Iterator[ModelGame]:
    """Games for learned explainers to fit on: those of `other_users`. Targets of the part play no role in them but that
    its users have some."""
    users, n_players = other_users(run, rules, explained, n_users)
    cases = _chosen(run, model, rules, part_of_others(run), users, n_players).cases
    yield from games_of(run, model, rules, case_chunks(run, cases))


def _chosen(run: Run, model: Recommender, rules: Rules, part: str, users: Ints, n_players: Ints) -> Chosen:
    settings, catalogue = run.config.cases, run.dataset.catalogue
    table = run.dataset.histories(run.dataset.period(part)[0])
    lengths = table.lengths()
    popular = training_users(run.dataset)
    found: list[_Found] = []
    without_foil = dict.fromkeys(settings.groups, 0)
    for chunk in by_length(users, lengths, settings.chunk_size):
        scores = score_users(model, table, chunk, run.device)
        known = torch.from_numpy(table.known(chunk, catalogue.n_items)).to(run.device)
        for group in settings.groups:
            allowed = known if group == "repeat" else ~known
            candidates = torch.ones_like(known) if group == "repeat" else ~known
            tops = _top_lists(scores.masked_fill(~allowed, -torch.inf), settings.top_n)
            foils = _foils(rules.output, Choice(scores, candidates, catalogue, popular), tops)
            for user, top, held_against in zip(chunk.tolist(), tops, foils, strict=True):
                few = bool(n_players[user] < settings.few_players)
                for position, targets, foil in _grouped(rules.output, top, held_against):
                    if foil == -1:
                        without_foil[group] += 1
                    else:
                        found.append(_Found(group, few, int(lengths[user]), user, position, targets, foil))
    found.sort(key=lambda f: (f.group, f.few, f.length, f.user, f.position, f.targets))
    if left_out := sum(without_foil.values()):
        log.warning("%d recommendations are no case: output %s has no foil for them", left_out, rules.output.name)
    cases = [
        Case(
            number, part, f.user, f.targets, f.group, f.position, catalogue.user_ids[f.user],
            tuple(catalogue.item_ids[i] for i in f.targets), f.few, f.foil,
        )
        for number, f in enumerate(found)
    ]  # fmt: skip
    return Chosen(cases, without_foil if rules.output.contrastive else {})


def _top_lists(scores: Tensor, top_n: int) -> list[list[int]]:
    """The best items of each row that may be recommended at all, best first."""
    items, values = top_items(scores, top_n)
    rows = zip(items.tolist(), values.tolist(), strict=True)
    return [[i for i, worth in zip(*row, strict=True) if worth != -float("inf")] for row in rows]


def _foils(output: Output, choice: Choice, tops: list[list[int]]) -> list[list[int | None]]:
    """The foil of each entry of the lists; None: the output takes none."""
    if not output.contrastive:
        return [[None] * len(top) for top in tops]
    foils: list[list[int | None]] = [[] for _ in tops]
    for position in range(max(map(len, tops), default=0)):
        targets = np.array([top[position] if position < len(top) else 0 for top in tops], dtype=np.int64)
        for row, foil in enumerate(output.foils(choice, targets).tolist()):
            if position < len(tops[row]):
                foils[row].append(foil)
    return foils


def _grouped(
    output: Output, top: list[int], foils: list[int | None]
) -> Iterator[tuple[int, tuple[int, ...], int | None]]:
    """Position, targets and foil of a user's cases."""
    if output.joint:
        if top:
            yield 1, tuple(top), None
        return
    for position, (target, foil) in enumerate(zip(top, foils, strict=True), start=1):
        yield position, (target,), foil


def save_cases(run: Run, cases: Sequence[Case], rules: Rules) -> pl.DataFrame:
    """cases.parquet: which cases, by external ids; what was written. `item` and `item_name` are labels where a case has
    several targets, `items` are their ids."""
    catalogue = run.dataset.catalogue
    n_players = _players_of(run, cases, rules.players)
    names = [[catalogue.item_names[i] for i in c.targets] for c in cases]
    frame = pl.DataFrame(
        {
            "case": [c.index for c in cases],
            "part": [c.part for c in cases],
            "user": [c.user_id for c in cases],
            "item": [c.item_id for c in cases],
            "items": [list(c.item_ids) for c in cases],
            "item_name": [", ".join(of_case) for of_case in names],
            "foil": [None if c.foil is None else catalogue.item_ids[c.foil] for c in cases],
            "foil_name": [None if c.foil is None else catalogue.item_names[c.foil] for c in cases],
            "group": [c.group for c in cases],
            "few": [c.few for c in cases],
            "position": [c.position for c in cases],
            "n_players": n_players,
        },
        schema=_SCHEMA,
    )
    with whole_file(run.store.path(CASES)) as temporary:
        frame.write_parquet(temporary)
    return frame


_SCHEMA: dict[str, Any] = {
    "case": pl.Int64,
    "part": pl.String,
    "user": pl.String,
    "item": pl.String,
    "items": pl.List(pl.String),
    "item_name": pl.String,
    "foil": pl.String,
    "foil_name": pl.String,
    "group": pl.String,
    "few": pl.Boolean,
    "position": pl.Int64,
    "n_players": pl.Int64,
}


def _players_of(run: Run, cases: Sequence[Case], players: Players) -> list[int]:
    if not cases:
        return []
    table = run.dataset.histories(run.dataset.period(cases[0].part)[0])
    return players.count(table, run.dataset.catalogue)[[c.user for c in cases]].tolist()


def load_cases(run: Run) -> list[Case]:
    """The cases of the run's own directory.

    Raises:
        RunError: it has none, or they are not of this data.
    """
    path, frame = run.store.path(CASES), SavedRun(run.store.directory).table(CASES)
    if frame is None:
        raise RunError(f"{path} is missing: run the stage explain first, or give from_run=<a run that has it>")
    if missing := [name for name in _SCHEMA if name not in frame.columns]:
        raise RunError(f"{path} lacks {', '.join(missing)}: another version of xrec wrote it; explain again")
    users = {v: i for i, v in enumerate(run.dataset.catalogue.user_ids)}
    items = {v: i for i, v in enumerate(run.dataset.catalogue.item_ids)}
    cases = []
    for row in frame.sort("case").iter_rows(named=True):
        named = [*row["items"], *([] if row["foil"] is None else [row["foil"]])]
        if row["user"] not in users or not row["items"] or any(item not in items for item in named):
            raise RunError(f"{path}: case {row['case']} is not of this data; explain again")
        cases.append(
            Case(
                row["case"], row["part"], users[row["user"]], tuple(items[i] for i in row["items"]), row["group"],
                row["position"], row["user"], tuple(row["items"]), row["few"],
                None if row["foil"] is None else items[row["foil"]],
            )
        )  # fmt: skip
    return cases


def case_chunks(run: Run, cases: Sequence[Case]) -> list[tuple[Case, ...]]:
    """Cases in the pieces that are explained and measured together."""
    if not cases:
        return []
    lengths = run.dataset.histories(run.dataset.period(cases[0].part)[0]).lengths()
    ranges = chunked(lengths[np.array([c.user for c in cases])], run.config.cases.chunk_size)
    return [tuple(cases[start:end]) for start, end in ranges]


def games_of(run: Run, model: Recommender, rules: Rules, chunks: Sequence[tuple[Case, ...]]) -> Iterator[ModelGame]:
    """One game per chunk of cases; made one at a time, since each holds tables over the catalogue."""
    if not chunks:
        return
    table = run.dataset.histories(run.dataset.period(chunks[0][0].part)[0])
    for chunk in chunks:
        release_memory()
        users: Ints = np.array([c.user for c in chunk])
        known = table.known(users, run.dataset.catalogue.n_items)
        repeat = np.array([c.group == "repeat" for c in chunk])
        candidates = torch.from_numpy(~known | repeat[:, None]).to(run.device)
        yield ModelGame(model, History.from_table(table, users, run.device), chunk, candidates, rules)
