"""Fidelity over several seeds: explainers within each arm, and the same explainer between arms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

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
from xrec.report.cells import mark_best, one_data_set, table_of
from xrec.report.fidelity import BLOCKS, CaseGroup, Setting, fidelity_setting, headline, left_out_words
from xrec.report.repeats import Contrast, Estimate, contrast, corrected, estimate, shared_units
from xrec.rundir.several import Arm, Several
from xrec.rundir.table import Results
from xrec.words import counted, listed, title_of

#: the one metric of which the reference explainer has no rows: it is a difference to it
GAIN = "removal_gain"
_COLUMN = ["metric", "variant", "k", "step"]


class Measured(NamedTuple):
    """Rows of one arm in one setting, and what was left out there."""

    rows: pl.DataFrame
    setting: Setting
    left_out: str

    @property
    def setting_words(self) -> str:
        return f"players {self.setting.players}, masker {self.setting.masker}, output {self.setting.output}"


def fidelity_over_seeds(several: Several, cases: CaseGroup, metrics: Sequence[str] | None = None) -> pl.DataFrame:
    """Explainers by fidelity metrics for one group of cases, arm after arm.

    Blocks of an arm: mean over seeds of means over users with an interval over both, explainers, controls and oracles
    apart, marked where better (*) or worse (†) than the reference explainer (paired by case; Wilcoxon over users, each
    user's differences averaged over seeds; Holm within an arm and family of metrics); standard deviation of the seeds'
    means; seeds at which the explainer is ahead of the reference.

    Args:
        metrics: names to show in this order, at every cut-off and step; None takes the headline metrics.

    Returns:
        A table of `CELL_SCHEMA`, `p` and `difference` filled where tested; empty without such rows.

    Raises:
        ReportError: as `fidelity_setting`.
    """
    results = several.results
    names = list(metrics) if metrics is not None else headline(results)
    measured = measured_in(several, cases, names)
    cells = [cell for name, mine in measured.items() for cell in _arm_cells(several, name, mine.rows, names, cases)]
    if not cells:
        return table_of([], "")
    best = {_prefix(several, name) + BLOCKS["explainer"] for name in measured}
    text = f"{_about(several, measured, cases)} {interval_words(several)}, bold: best mean of an arm's explainers. "
    if any(cell.get("p") is not None for cell in cells):
        text += (
            f"* better than {title_of(results.reference or '')}, † worse ({tested_words(several)}; Holm-corrected over "
            f"an arm's explainers and the metrics of a family: p < .05, doubled p < .01).{ahead_note(several)} "
        )
    return table_of(mark_best(cells, best), f"{text}{_cases_words(measured)}.")


def fidelity_between_arms(several: Several, cases: CaseGroup, metrics: Sequence[str] | None = None) -> pl.DataFrame:
    """The same explainer in each arm minus in the reference arm, for one group of cases; normalised where a metric is.

    Models recommend different items, so what is paired is a user's mean over his cases at a seed. Blocks of an arm:
    difference with an interval over users and seeds; p (Wilcoxon over users, each user's differences averaged over
    seeds; Holm over all arms, explainers and metrics of a family); seeds ahead. Arms that share no case with the
    reference, or measured something else, are named in the caption and not tested.

    Returns:
        A table of `CELL_SCHEMA`; empty when there is nothing to compare.

    Raises:
        ReportError: as `fidelity_setting`.
    """
    results, reference = several.results, several.reference.name
    names = list(metrics) if metrics is not None else headline(results)
    measured = measured_in(several, cases, names)
    refused = {arm.name: why for arm in several.arms[1:] if (why := _refusal(measured, arm.name, reference))}
    tested = [arm for arm in several.arms[1:] if arm.name not in refused]
    cells = _between_cells(several, measured, [arm.name for arm in tested], names, cases)
    if not cells:
        return table_of([], "")
    text = (
        f"{_about(several, measured, cases)} Each arm minus {reference} for the same explainer, paired by user. "
        f"{interval_words(several)}; metrics are normalised where they can be, since the scores of two models have no "
        f"common scale. * better than in {reference}, † worse ({tested_words(several)}; Holm-corrected over arms, "
        f"explainers and the metrics of a family: p < .05, doubled p < .01).{ahead_note(several)} "
        f"{' '.join(_shared_words(several, measured, arm) for arm in tested)}"
    )
    return table_of(cells, text + "".join(f" Not tested: {arm} ({why})." for arm, why in refused.items()))


def measured_in(several: Several, cases: CaseGroup, names: Sequence[str]) -> dict[str, Measured]:
    """What the arms measured on a group of cases, each in the protocol's default setting or the first that it has."""
    measured = {}
    for arm in several.arms:
        of_arm = several.results.where((pl.col("arm") == arm.name) & pl.col("main"))
        rows, setting = fidelity_setting(of_arm, cases)
        of_users = pl.col("explainer").is_not_null() & pl.col("user").is_not_null()
        kept = rows.filter(of_users & pl.col("metric").is_in(list(names)))
        if kept.height:
            measured[arm.name] = Measured(kept, setting, left_out_words(rows))
    return measured


def fidelity_estimate(rows: pl.DataFrame, explainer: str, column: Column) -> Estimate:
    """The mean of one explainer's rows of one column."""
    return estimate(rows, explainer, *column[:4])


def _arm_cells(
    several: Several, arm: str, rows: pl.DataFrame, names: list[str], cases: CaseGroup
) -> list[dict[str, Any]]:
    """All cells of an arm, block after block."""
    results, prefix = several.results, _prefix(several, arm)
    rows = rows.filter(pl.col("variant").is_null())
    columns = _columns(results, rows, names)
    tests = _tests_within(results, rows, columns)
    spread, ahead = f"{prefix}{spread_words(several)}", prefix + ahead_words(several)
    means, spreads, leads = [], [], []
    for explainer, role in _by_mean(rows, columns):
        for column in columns:
            mine = _of(rows, explainer, column)
            if mine.is_empty():
                continue
            about = column.cell(results) | _whose(explainer, cases)
            test = tests.get((explainer, column))
            found = fidelity_estimate(mine, explainer, column)
            means.append(mean_cell(about | {"block": prefix + BLOCKS.get(role, role)}, found, test))
            spreads += spread_cell(about | {"block": spread}, found)
            if test is not None and test[0].ahead is not None and n_repetitions(several) > 1:
                leads.append(about | {"block": ahead, "value": float(test[0].ahead), "form": ".0f"})
    return [*means, *spreads, *leads]


def _whose(explainer: str, cases: CaseGroup) -> dict[str, str]:
    return {"row": title_of(explainer), "name": explainer, "group": cases.name}


def _prefix(several: Several, arm: str) -> str:
    """What stands before a block's heading; nothing where there is one arm only."""
    return f"{arm}: " if len(several.arms) > 1 else ""


def _by_mean(rows: pl.DataFrame, columns: list[Column]) -> list[tuple[str, str]]:
    """(explainer, role): roles apart, the best of the first column on top."""
    if not columns:
        return []
    lead = columns[0]
    first = rows.filter((pl.col("metric") == lead.metric) & pl.col("step").eq_missing(lead.step))
    means = dict(first.group_by("explainer").agg(pl.col("value").mean().round(12)).iter_rows())
    roles = {name: role or "explainer" for name, role in rows.select("explainer", "role").unique().iter_rows()}
    order = list(dict.fromkeys([*BLOCKS, *sorted(set(roles.values()))]))
    sign = -1 if lead.direction == "higher" else 1
    return sorted(roles.items(), key=lambda r: (order.index(r[1]), sign * means.get(r[0], sign * float("inf")), r[0]))


def _columns(results: Results, rows: pl.DataFrame, names: list[str]) -> list[Column]:
    present = rows.select(_COLUMN).unique().iter_rows()
    columns = [Column(*about, direction=results.metric(about[0]).direction or "") for about in present]
    return sorted(columns, key=lambda c: (names.index(c.metric), c.variant or "", c.step or 0, c.k or 0))


def _of(rows: pl.DataFrame, explainer: str, column: Column) -> pl.DataFrame:
    same = [pl.col(name).eq_missing(value) for name, value in zip(_COLUMN, column[:4], strict=True)]
    return rows.filter(pl.col("explainer") == explainer, *same)


def _tests_within(
    results: Results, rows: pl.DataFrame, columns: list[Column]
) -> dict[tuple[str, Column], tuple[Contrast, float]]:
    """(explainer, column) -> its contrast to the reference explainer over the same cases, and the corrected p."""
    reference = results.reference
    contrasts: dict[tuple[str, Column], Contrast] = {}
    for column in columns:
        chance = _of(rows, reference or "", column)
        for explainer in sorted(set(rows["explainer"]) - {reference}):
            mine = _of(rows, explainer, column)
            gain = column.metric == GAIN and chance.is_empty()
            other = mine.with_columns(value=pl.lit(0.0)) if gain else chance
            key = ("within", explainer, *column[:4])
            found = contrast(mine, other, ["user", "item"], column.direction, *key)
            if found is not None and reference is not None:
                contrasts[explainer, column] = found
    p = corrected(contrasts, {key: results.metric(key[1].metric).family for key in contrasts})
    return {key: (found, p[key]) for key, found in contrasts.items()}


def _between_cells(
    several: Several, measured: dict[str, Measured], tested: list[str], names: list[str], cases: CaseGroup
) -> list[dict[str, Any]]:
    """Differences, p and seeds ahead of the tested arms, block after block."""
    results, reference = several.results, several.reference.name
    contrasts: dict[tuple[str, str, Column], Contrast] = {}
    for arm in tested:
        sides = _comparable(measured[arm].rows, measured[reference].rows)
        columns = _columns(results, sides[1], names)
        for explainer, _ in _by_mean(sides[1], columns):
            for column in columns:
                key = ("between", explainer, *column[:4])
                mine, other = (_of(side, explainer, column) for side in sides)
                if (found := contrast(mine, other, ["user"], column.direction, *key)) is not None:
                    contrasts[arm, explainer, column] = found
    p = corrected(contrasts, {key: results.metric(key[2].metric).family for key in contrasts})
    cells = []
    for (arm, explainer, column), found in contrasts.items():
        blocks = {"difference": f"{arm} minus {reference}", "p": f"{arm}: p (Holm)"}
        if n_repetitions(several) > 1:
            blocks["ahead"] = f"{arm}: {ahead_words(several)}"
        about = column.cell(results) | _whose(explainer, cases)
        cells += difference_cells(about, blocks, found, p[arm, explainer, column])
    order = list(dict.fromkeys(cell["block"] for cell in cells))
    return sorted(cells, key=lambda cell: order.index(cell["block"]))


def _comparable(first: pl.DataFrame, second: pl.DataFrame) -> list[pl.DataFrame]:
    """Both sides, normalised in the metrics that both have so, plain in the others."""
    of_both = [set(side.filter(pl.col("variant") == "normalised")["metric"]) for side in (first, second)]
    normalised = pl.col("metric").is_in(sorted(of_both[0] & of_both[1]))
    return [side.filter(normalised == (pl.col("variant").is_not_null())) for side in (first, second)]


def _refusal(measured: dict[str, Measured], arm: str, reference: str) -> str | None:
    """Why an arm cannot be compared with the reference; None: it can."""
    if arm not in measured or reference not in measured:
        return f"{'it' if arm not in measured else reference} measured nothing on such cases"
    mine, other = measured[arm], measured[reference]
    for column in ("part", "masker", "players", "output"):
        own, asked = getattr(mine.setting, column), getattr(other.setting, column)
        if own != asked:
            return f"its {column} is {own} and not {asked}"
    if shared_units(mine.rows, other.rows, ["user", "item"])[0] == 0:
        return f"it shares no case with {reference}"
    return None


def _about(several: Several, measured: dict[str, Measured], cases: CaseGroup) -> str:
    first = next(iter(measured.values()))
    settings = {mine.setting_words for mine in measured.values()}
    words = first.setting_words
    if len(settings) > 1:
        words = "; ".join(f"{arm}: {mine.setting_words}" for arm, mine in measured.items())
    absent = [arm.name for arm in several.arms if arm.name not in measured]
    return (
        f"Fidelity on {cases.title} cases of the {first.setting.part} part of {one_data_set(first.rows)}; {words}. "
        f"{arms_words(several)}{f' Without such cases: {listed(absent)}.' if absent else ''}"
    )


def _cases_words(measured: dict[str, Measured]) -> str:
    """Users, cases and what was left out by arm; once where all arms agree."""
    words = {}
    for arm, mine in measured.items():
        users, cases = mine.rows["user"].n_unique(), mine.rows.select("repetition", "user", "item").n_unique()
        words[arm] = f"{counted(users, 'user')}, {counted(cases, 'case')}. {mine.left_out}"
    if len(set(words.values())) == 1:
        return next(iter(words.values()))
    return "; ".join(f"{arm}: {text}" for arm, text in words.items())


def _shared_words(several: Several, measured: dict[str, Measured], arm: Arm) -> str:
    reference = several.reference.name
    sides = measured[arm.name].rows, measured[reference].rows
    (users, all_users), (cases, all_cases) = (shared_units(*sides, unit) for unit in (["user"], ["user", "item"]))
    share = f"{cases / all_cases:.0%}"
    where = "" if several.apart(arm) or n_repetitions(several) == 1 else f", counted at each {several.unit}"
    return (
        f"{arm.name} and {reference} share {cases:,} of {counted(all_cases, 'case')} ({share}) and {users:,} of "
        f"{counted(all_users, 'user')}{where}."
    )
