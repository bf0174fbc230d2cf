"""Tables over several seeds: arms (runs of one config) by ranking metrics; fidelity stands in a file of its own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import polars as pl

from xrec.report.arm_cells import (
    Column,
    ahead_note,
    ahead_words,
    arms_words,
    difference_cells,
    interval_words,
    mean_cell,
    n_repetitions,
    spread_cell,
    spread_words,
    tested_words,
)
from xrec.report.cells import mark_best, one_data_set, only, table_of
from xrec.report.errors import ReportError
from xrec.report.fidelity import fidelity_groups, headline
from xrec.report.repeats import Contrast, Estimate, contrast, corrected, estimate
from xrec.report.seeds_fidelity import fidelity_between_arms, fidelity_over_seeds
from xrec.report.tables import group_words, ordered
from xrec.rundir.several import Several
from xrec.rundir.table import Results
from xrec.words import counted, listed, title_of

_GROUPS = ("all", "new", "repeat", "cold")
#: what closed forms differ by when they are computed again
_NOTHING = 1e-9


def seeds_tables(several: Several) -> dict[str, pl.DataFrame]:
    """Every table that is not empty, by name: ranking, then fidelity within and between arms by group of cases.

    Raises:
        ReportError: the runs ranked and explained nothing.
    """
    made = {"seeds_ranking": ranking_over_seeds(several)}
    for cases in fidelity_groups(several.results):
        # A group's name becomes a file's name; whatever it holds, the file stays where it belongs.
        name = "seeds_fidelity_" + re.sub(r"\W+", "-", cases.name)
        made[name] = fidelity_over_seeds(several, cases)
        made[f"{name}_between_arms"] = fidelity_between_arms(several, cases)
    made = {name: table for name, table in made.items() if table.height}
    if not made:
        names = listed(str(path) for arm in several.arms for path in arm.runs.values())
        raise ReportError(f"nothing was ranked or explained in {names}: run the stages rank, explain and fidelity")
    return made


def ranking_over_seeds(several: Several, metrics: Sequence[str] | None = None, part: str | None = None) -> pl.DataFrame:
    """Arms, and below them the baselines, by ranking metrics; five blocks per target group.

    Blocks: mean over seeds of means over users, with an interval over both (`crossed_mean`); standard deviation of the
    seeds' means; difference to the reference, paired by user and seed; its p (Wilcoxon over users, each user's
    differences averaged over seeds; Holm within a group over all arms and metrics of a family); seeds at which the arm
    is ahead. Baselines are the same in every arm and stand there once; where they are not, once per arm.

    Args:
        metrics: names to show in this order, at every cut-off; None takes the headline metrics.
        part: 'test' or 'validation'; None takes test where there is one.

    Returns:
        A table of `CELL_SCHEMA`; empty when nothing was ranked.

    Raises:
        ReportError: `part` does not occur.
    """
    names = list(metrics) if metrics is not None else headline(several.results)
    rows, groups, part = ranked_rows(several, names, part)
    if rows.is_empty():
        return table_of([], "")
    cells = [c for group in groups for c in _group_cells(several, rows.filter(pl.col("group") == group), group, names)]
    return table_of(mark_best(cells, {group_words(g) for g in groups}), _caption(several, rows, part))


def ranked_rows(
    several: Several, metrics: Sequence[str], part: str | None
) -> tuple[pl.DataFrame, list[str], str | None]:
    """Rows of these ranking metrics on one part, their target groups, and the part."""
    rows = several.results.frame.filter(pl.col("stage") == "rank")
    part = only(rows, "part", part, ("test", "validation"))
    rows = rows.filter(pl.col("part").eq_missing(part) & pl.col("metric").is_in(list(metrics)))
    return rows, ordered(rows, "group", _GROUPS), part


def ranking_estimate(rows: pl.DataFrame, model: str, column: Column) -> Estimate:
    """The mean of one model's rows of one group and column."""
    return estimate(rows, model, column.metric, column.k)


def _group_cells(several: Several, rows: pl.DataFrame, group: str, names: list[str]) -> list[dict[str, Any]]:
    """All cells of a target group, block after block."""
    results, block = several.results, group_words(group)
    columns = _columns(results, rows, names)
    main = {arm.name: rows.filter(pl.col("main") & (pl.col("arm") == arm.name)) for arm in several.arms}
    tests = _tests(several, main, columns, group)
    means, spreads, compared = [], [], []
    for row, of_row in [*main.items(), *_baselines(rows, set(main)).items()]:
        for column in columns:
            mine = _of(of_row, column)
            if mine.is_empty():
                continue
            model = mine["model"][0]
            shared = column.cell(results) | {"row": row, "name": model, "group": group}
            found = ranking_estimate(mine, model, column)
            test = tests.get((row, column))
            means.append(mean_cell(shared | {"block": block}, found, test))
            if row in main or (found.spread or 0) > _NOTHING:
                spreads += spread_cell(shared | {"block": f"{block}, {spread_words(several)}"}, found)
            if test is not None:
                compared += difference_cells(shared, _blocks(several, block), *test)
    order = list(_blocks(several, block).values())
    return [*means, *spreads, *sorted(compared, key=lambda cell: order.index(cell["block"]))]


def _blocks(several: Several, block: str) -> dict[str, str]:
    reference = several.reference.name
    blocks = {"difference": f"{block}, minus {reference}", "p": f"{block}, p (Holm)"}
    return blocks | ({"ahead": f"{block}, {ahead_words(several)}"} if n_repetitions(several) > 1 else {})


def _columns(results: Results, rows: pl.DataFrame, names: list[str]) -> list[Column]:
    present = rows.select("metric", "k").unique()
    columns = [
        Column(metric, None, k, None, results.metric(metric).direction or "") for metric, k in present.iter_rows()
    ]
    return sorted(columns, key=lambda column: (names.index(column.metric), column.k or 0))


def _of(rows: pl.DataFrame, column: Column) -> pl.DataFrame:
    return rows.filter((pl.col("metric") == column.metric) & pl.col("k").eq_missing(column.k))


def _tests(
    several: Several, main: dict[str, pl.DataFrame], columns: list[Column], group: str
) -> dict[tuple[str, Column], tuple[Contrast, float]]:
    """(arm, column) -> its contrast to the reference, and the corrected p."""
    reference = several.reference.name
    contrasts: dict[tuple[str, Column], Contrast] = {}
    for name in (arm.name for arm in several.arms if arm.name != reference):
        for column in columns:
            mine, other = (_of(main[arm], column) for arm in (name, reference))
            found = contrast(mine, other, ["user"], column.direction, "ranking", group, column.metric, column.k)
            if found is not None:
                contrasts[name, column] = found
    families = {key: several.results.metric(key[1].metric).family for key in contrasts}
    p = corrected(contrasts, families)
    return {key: (found, p[key]) for key, found in contrasts.items()}


def _baselines(rows: pl.DataFrame, taken: set[str]) -> dict[str, pl.DataFrame]:
    """Name of a row, none of those taken -> rows of a baseline; one that differs between arms has a row per arm."""
    rows = rows.filter(~pl.col("main")).sort("arm")
    unit = ["repetition", "metric", "k", "user"]
    found = {}
    for (model,), mine in rows.partition_by("model", as_dict=True, maintain_order=True).items():
        name = title_of(model) if title_of(model) not in taken else f"{title_of(model)} (baseline)"
        apart = mine.group_by(unit).agg((pl.col("value").max() - pl.col("value").min()).alias("apart"))["apart"].max()
        if apart < _NOTHING:  # pyright: ignore[reportOperatorIssue]
            found[name] = mine
        else:
            arms = mine.partition_by("arm", as_dict=True, maintain_order=True)
            found |= {f"{name} ({arm})": of_arm for (arm,), of_arm in arms.items()}
    return found


def _caption(several: Several, rows: pl.DataFrame, part: str | None) -> str:
    main = rows.filter(pl.col("main"))
    users = main.filter(pl.col("user").is_not_null())
    groups = ordered(users, "group", _GROUPS)
    counts = [f"{counted(users.filter(pl.col('group') == g)['user'].n_unique(), 'user')} ({g})" for g in groups]
    absent = [arm.name for arm in several.arms if arm.name not in set(main["arm"])]
    text = (
        f"Ranking on the {part} part of {one_data_set(rows)}, full catalogue; {listed(counts)}. {arms_words(several)} "
    )
    text += f"{interval_words(several)}, bold: best mean of a group. "
    if len(several.arms) > 1:
        text += (
            f"* better than {several.reference.name}, † worse ({tested_words(several)}; Holm-corrected over the arms "
            f"and metrics of a group: p < .05, doubled p < .01).{ahead_note(several)} "
        )
    if absent:
        text += f"Not ranked on this part: {listed(absent)}. "
    models = ordered(rows.filter(~pl.col("main")), "model", ())
    return (text + (f"Baselines, not tested here: {listed(map(title_of, models))}." if models else "")).rstrip()
