"""The fidelity table: explainers by metrics for a group of cases; controls and oracles apart; tests against chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import polars as pl

from xrec.report.cells import (
    INTERVAL_NOTE,
    mark_best,
    one_data_set,
    only,
    paired_differences,
    sample_words,
    summarise,
    table_of,
)
from xrec.report.metrics import label
from xrec.rundir.table import Results
from xrec.stats.paired import holm, wilcoxon_p
from xrec.words import counted, title_of

#: block heading by role; a role that is not listed has a block of its own name
BLOCKS = {"explainer": "Explainers", "control": "Controls", "oracle": "Oracles (chose their answer by the metric)"}
#: What a paired difference pairs: the same case, of the same trained model.
CASE = ["user", "item", "seed", "split_seed", "fold"]
#: What tells the columns of the table apart.
COLUMN = ["metric", "variant", "k", "step"]
_DISCRETE = ("discrete", "discrete_normalised")


class CaseGroup(NamedTuple):
    """Cases that are reported together: 'new' or 'repeat', histories of few players apart."""

    group: str
    few: bool = False

    @property
    def title(self) -> str:
        return f"{self.group}, few players" if self.few else self.group

    @property
    def name(self) -> str:
        """As part of a file's name."""
        return f"{self.group}_few" if self.few else self.group


class Setting(NamedTuple):
    """What one fidelity table is about."""

    part: str | None
    model: str | None
    masker: str | None
    players: str | None
    output: str | None
    cases: CaseGroup

    @property
    def title(self) -> str:
        """Whose absence was measured, and on what."""
        players, masker, output = (title_of(name or "–") for name in (self.players, self.masker, self.output))
        return f"players {players}, masker {masker}, output {output}"


def fidelity_setting(results: Results, cases: CaseGroup, **wanted: str | None) -> tuple[pl.DataFrame, Setting]:
    """Rows of stage fidelity of one part, model, masker, kind of players, output and group, and which those are.

    None takes the protocol's default where it occurs (test, zero, items, logit), else the first one saved.

    Raises:
        ReportError: a value asked for does not occur, or data sets are mixed.
    """
    rows = results.frame.filter(_of(cases) & (pl.col("stage") == "fidelity"))
    one_data_set(rows)
    preferred = {
        "part": ("test", "validation"),
        "model": (),
        "masker": ("zero",),
        "players": ("items",),
        "output": ("logit",),
    }
    chosen: dict[str, str | None] = {}
    for column, names in preferred.items():
        value = wanted.get(column)
        chosen[column] = None if rows.is_empty() and value is None else only(rows, column, value, names)
        rows = rows.filter(pl.col(column).eq_missing(chosen[column]))
    return rows, Setting(**chosen, cases=cases)


def _of(cases: CaseGroup) -> pl.Expr:
    return (pl.col("group") == cases.group) & (pl.col("few").fill_null(False) == cases.few)


def fidelity_groups(results: Results) -> list[CaseGroup]:
    """Groups of cases that have fidelity rows, 'new' and 'repeat' first, those of few players behind their own."""
    rows = results.frame.filter((pl.col("stage") == "fidelity") & pl.col("group").is_not_null())
    present = {CaseGroup(group, bool(few)) for group, few in rows.select("group", "few").unique().iter_rows()}
    return sorted(present, key=lambda c: ({"new": 0, "repeat": 1}.get(c.group, 2), c.group, c.few))


def headline(results: Results) -> list[str]:
    """The metrics of the short table."""
    return [name for name, metric in results.metrics.items() if metric.headline]


def of_family(results: Results, family: str) -> list[str]:
    """The metrics of one family, in the order they were declared."""
    return [name for name, metric in results.metrics.items() if metric.family == family]


def fidelity_table(
    results: Results,
    cases: CaseGroup,
    metrics: Sequence[str] | None = None,
    *,
    variants: Sequence[str | None] = (None,),
    cost: bool = True,
    **setting: str | None,
) -> pl.DataFrame:
    """Explainers by fidelity metrics over the cases of one group.

    Cells: mean over users (a user's cases averaged first) with its interval, and a mark for the paired Wilcoxon test
    against the reference (random) over shared cases, Holm-corrected over the explainers within each column: * better,
    † worse at .05, doubled at .01. Explainers that are no controls come first, best of the first column on top; then
    controls, oracles.

    Args:
        metrics: names to show in this order, at every cut-off and step there is; None takes all of them.
        variants: of the metrics; None is the plain one.
        cost: add forwards and milliseconds per case.
        setting: part, model, masker, players, output; see `fidelity_setting`.

    Returns:
        A table of `CELL_SCHEMA`, `p` and `difference` (to random) filled where tested; empty without such rows.

    Raises:
        ReportError: as `fidelity_setting`.
    """
    rows, chosen = fidelity_setting(results, cases, **setting)
    measured = rows.filter(
        pl.col("explainer").is_not_null()
        & pl.col("user").is_not_null()
        & pl.col("variant").is_in([v for v in variants if v is not None]).fill_null(None in variants)
    )
    names = list(metrics) if metrics is not None else results.order(measured["metric"].to_list())
    measured = measured.filter(pl.col("metric").is_in(names))
    if measured.is_empty():
        return table_of([], "")
    roles = dict(measured.select("explainer", "role").unique().sort("explainer", "role").iter_rows())
    found = summarise(measured, ["explainer", *COLUMN])
    found = found.rename({"explainer": "name"}).with_columns(pl.lit(cases.name).alias("group"))
    cells = _metric_cells(results, found, _tests(measured, results.reference), roles)
    order = [*names, *(_costs(results) if cost else ())]
    ranking = _ranking(cells, order, roles)
    if cost:
        cells += _cost_cells(results, chosen, roles)
    cells.sort(key=lambda cell: (ranking[cell["name"]], *_column_rank(cell, order)))
    mark_best(cells, {BLOCKS["explainer"]})
    tested = any(cell.get("p") is not None and cell["better"] for cell in cells)
    return table_of(cells, _caption(results, rows, measured, chosen, tested=tested))


def left_out_words(rows: pl.DataFrame) -> str:
    """What the counts `n_flagged` and `n_left_out` of a setting say."""
    counts = rows.filter(pl.col("metric").is_in(["n_flagged", "n_left_out"]))
    if counts.is_empty():
        return "Left out: not counted by this run"
    # Every explainer meets the same cases, so their counts repeat: the largest is the count.
    counts = counts.group_by("metric", "step", "seed", "fold").agg(pl.col("value").max())
    counts = counts.group_by("metric", "step").agg(pl.col("value").sum()).sort("metric", "step", nulls_last=False)
    counts = counts.filter(pl.col("value") > 0)
    if counts.is_empty():
        return "Left out: nothing"
    words = []
    for metric, step, value in counts.iter_rows():
        at = f" at removals of {counted(int(step), 'player')}" if step is not None else ""
        why = " from normalised figures (f(x) - f(empty) too small to normalise by)" if metric == "n_flagged" else ""
        words.append(f"{counted(int(value), 'case')}{at}{why}")
    return f"Left out: {'; '.join(words)}"


def _tests(measured: pl.DataFrame, reference: str | None) -> dict[tuple[Any, ...], tuple[float, float]]:
    """(explainer, *column) -> (mean paired difference to the reference, Holm-corrected p)."""
    # The gain is a difference to the reference by definition, so the reference has no rows of it.
    gained = measured.filter(pl.col("metric") == "removal_gain").unique([*COLUMN, *CASE], maintain_order=True)
    chance = gained.with_columns(pl.lit(reference, pl.String).alias("explainer"), pl.lit(0.0).alias("value"))
    pairs = paired_differences(pl.concat([measured, chance]), "explainer", None, reference or "", CASE, COLUMN)
    answers = {}
    for key, column in pairs.partition_by(COLUMN, as_dict=True).items():
        found = {
            name: frame["difference"].to_numpy()
            for (name,), frame in column.partition_by("explainer", as_dict=True).items()
        }
        corrected = holm([wilcoxon_p(differences) for differences in found.values()])
        for (name, differences), p in zip(found.items(), corrected, strict=True):
            answers[(name, *key)] = (float(differences.mean()), float(p))
    return answers


def _metric_cells(
    results: Results, found: pl.DataFrame, tests: dict[tuple[Any, ...], tuple[float, float]], roles: dict[str, str]
) -> list[dict[str, Any]]:
    cells = []
    for cell in found.iter_rows(named=True):
        metric = results.metric(cell["metric"])
        column = [cell[name] for name in COLUMN]
        difference, p = tests.get((cell["name"], *column), (None, None))
        cells.append(
            cell
            | {"block": _block(roles[cell["name"]]), "row": title_of(cell["name"])}
            | {"column": label(metric, *column[1:]), "better": metric.direction or "", "form": metric.form}
            | {"difference": difference, "p": p, "mark": _mark(difference, p, metric.direction or "")}
        )
    return cells


def _block(role: str | None) -> str:
    return BLOCKS.get(role or "explainer", str(role))


def _mark(difference: float | None, p: float | None, better: str) -> str:
    """'*' or '†' by which side of random the explainer is on; metrics without a direction get none."""
    if difference is None or p is None or p >= 0.05 or difference == 0 or not better:
        return ""
    sign = "*" if (difference > 0) == (better == "higher") else "†"
    return sign * (2 if p < 0.01 else 1)


def _ranking(cells: list[dict[str, Any]], order: Sequence[str], roles: dict[str, str]) -> dict[str, tuple[Any, ...]]:
    """explainer -> sort key: its block, then its mean in the first column that has a direction."""
    lead = min(cells, key=lambda cell: (not cell["better"], *_column_rank(cell, order)))
    means = {cell["name"]: cell["value"] for cell in cells if cell["column"] == lead["column"]}
    sign = -1 if lead["better"] == "higher" else 1
    blocks = list(dict.fromkeys([*BLOCKS.values(), *map(_block, roles.values())]))
    return {
        name: (blocks.index(_block(role)), sign * means.get(name, sign * float("inf")), name)
        for name, role in roles.items()
    }


def _column_rank(cell: dict[str, Any], order: Sequence[str]) -> tuple[Any, ...]:
    return order.index(cell["metric"]), cell["variant"] or "", cell["step"] or 0, cell["k"] or 0


def _explanation_costs(results: Results) -> pl.DataFrame:
    return results.frame.filter((pl.col("stage") == "cost") & pl.col("explainer").is_not_null())


def _costs(results: Results) -> list[str]:
    return results.order(_explanation_costs(results)["metric"].to_list())


def _cost_cells(results: Results, chosen: Setting, roles: dict[str, str]) -> list[dict[str, Any]]:
    """Mean forwards and milliseconds per case of this setting's explanations."""
    rows = _explanation_costs(results).filter(_of(chosen.cases) & pl.col("explainer").is_in(sorted(roles)))
    for column, value in chosen._asdict().items():
        if column != "cases":
            rows = rows.filter(pl.col(column).eq_missing(value))
    rows = rows.sort("explainer", "metric", "user", "item", "value", nulls_last=True)
    found = rows.group_by(pl.col("explainer").alias("name"), "metric", maintain_order=True).agg(
        pl.col("value").mean(), pl.len().alias("n_cases")
    )
    cells = []
    for cell in found.iter_rows(named=True):
        metric = results.metric(cell["metric"])
        cells.append(
            cell
            | {"block": _block(roles[cell["name"]]), "row": title_of(cell["name"]), "group": chosen.cases.name}
            | {"variant": None, "k": None, "step": None}
            | {"column": metric.label, "better": metric.direction or "", "form": metric.form}
        )
    return cells


def _caption(results: Results, rows: pl.DataFrame, measured: pl.DataFrame, chosen: Setting, *, tested: bool) -> str:
    marks = (
        f"* better than {title_of(results.reference or '')}, † worse (paired Wilcoxon signed-rank, Holm-corrected over "
        "the explainers within a column and group: p < .05, doubled p < .01). "
        if tested
        else ""
    )
    return (
        f"Fidelity on {chosen.cases.title} cases of the {chosen.part} part of {one_data_set(rows)}; "
        f"model {title_of(chosen.model or '')}, {chosen.title}; {sample_words(measured)}. "
        f"Mean over users {INTERVAL_NOTE}, bold: best mean of the explainers. {marks}{left_out_words(rows)}."
    )
