"""The fidelity table: explainers by metrics for a group of cases; controls and oracles apart; tests against random."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import polars as pl

from xrec.report.cells import (
    INTERVAL_NOTE,
    counted,
    mark_best,
    one_data_set,
    only,
    paired_differences,
    sample_words,
    summarise,
    table_of,
)
from xrec.report.metrics import REFERENCE, describe, kind_of, label, title_of
from xrec.stats.paired import holm, wilcoxon_p

#: The columns that fit a terminal or a page.
FIDELITY_SUMMARY = ("deletion", "insertion", "comprehensiveness", "sufficiency", "removal_gain")
FIDELITY_SCORES = (
    "deletion", "deletion_normalised", "insertion", "insertion_normalised", "comprehensiveness", "sufficiency",
    "removal_gain",
)  # fmt: skip
FIDELITY_RANKS = ("cdcg", "pos_at_k", "neg_at_k")
FIDELITY_PROPERTIES = ("completeness_error", "sparsity")
COSTS = ("forwards", "milliseconds")
#: Counted, not measured; or drawn as curves.
NOT_IN_TABLES = ("n_flagged", "n_left_out", "deletion_curve", "insertion_curve")
BLOCKS = {"explainer": "Explainers", "control": "Controls", "oracle": "Oracles (chose their answer by the metric)"}
#: What a paired difference pairs: the same case, of the same trained model.
CASE = ["user", "item", "seed", "fold"]


class Setting(NamedTuple):
    """What one fidelity table is about."""

    part: str | None
    model: str | None
    masker: str | None
    players: str | None
    output: str | None
    group: str


def fidelity_setting(
    results: pl.DataFrame,
    group: str,
    *,
    part: str | None = None,
    model: str | None = None,
    masker: str | None = None,
    players: str | None = None,
    output: str | None = None,
) -> tuple[pl.DataFrame, Setting]:
    """Rows of stage fidelity of one part, model, masker, kind of players, output and group, and which those are.

    None takes the protocol's default where it occurs (test, composed, zero, items, logit), else the first one saved.

    Raises:
        ReportError: a value asked for does not occur, or data sets are mixed.
    """
    rows = results.filter((pl.col("stage") == "fidelity") & (pl.col("group") == group))
    one_data_set(rows)
    wanted = {"part": part, "model": model, "masker": masker, "players": players, "output": output}
    preferred = {
        "part": ("test", "validation"),
        "model": ("composed",),
        "masker": ("zero",),
        "players": ("items",),
        "output": ("logit",),
    }
    chosen: dict[str, str | None] = {}
    for column, value in wanted.items():
        if rows.is_empty() and value is None:
            chosen[column] = None
            continue
        chosen[column] = only(rows, column, value, preferred[column])
        # Counts (n_flagged) may leave a column empty that does not apply to them.
        rows = rows.filter((pl.col(column) == chosen[column]) | pl.col(column).is_null())
    return rows, Setting(**chosen, group=group)


def fidelity_groups(results: pl.DataFrame) -> list[str]:
    """Groups of cases that have fidelity rows, 'new' and 'repeat' first."""
    present = results.filter(pl.col("stage") == "fidelity")["group"].drop_nulls().unique(maintain_order=True).to_list()
    return sorted(present, key=lambda group: {"new": 0, "repeat": 1}.get(group, 2))


def fidelity_table(
    results: pl.DataFrame,
    group: str = "new",
    metrics: Sequence[str] | None = FIDELITY_SUMMARY,
    *,
    cost: bool = True,
    **setting: str | None,
) -> pl.DataFrame:
    """Explainers by fidelity metrics over the cases of one group.

    Cells: mean over users (a user's cases averaged first) with its interval, and a mark for the paired Wilcoxon test
    against `random` over shared cases, Holm-corrected over the explainers within each column: * better, † worse at .05,
    doubled at .01. Explainers that are no controls come first, best of the first column on top; then controls, oracles.

    Args:
        metrics: names to show in this order, at every cut-off and step there is; None takes all of them.
        cost: add forwards and milliseconds per case.
        setting: part, model, masker, players, output; see `fidelity_setting`.

    Returns:
        A table of `CELL_SCHEMA`, `p` and `difference` (to random) filled where tested; empty without such rows.

    Raises:
        ReportError: as `fidelity_setting`.
    """
    rows, chosen = fidelity_setting(results, group, **setting)
    measured = rows.filter(
        ~pl.col("metric").is_in(NOT_IN_TABLES) & pl.col("explainer").is_not_null() & pl.col("user").is_not_null()
    )
    names = list(metrics) if metrics is not None else measured["metric"].unique(maintain_order=True).to_list()
    measured = measured.filter(pl.col("metric").is_in(names))
    if measured.is_empty():
        return table_of([], "")
    found = summarise(measured, ["explainer", "metric", "k", "step"])
    cells = _metric_cells(found, _tests(measured))
    ranking = _ranking(cells, names)
    if cost:
        cells += _cost_cells(results, chosen, set(ranking))
    cells.sort(key=lambda cell: (ranking[cell["explainer"]], *_column_rank(cell, names)))
    cells = mark_best([{k: v for k, v in cell.items() if k != "explainer"} for cell in cells], {BLOCKS["explainer"]})
    return table_of(
        cells,
        _caption(rows, measured, chosen, tested=any(cell.get("p") is not None and cell["better"] for cell in cells)),
    )


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
        at = f" at removals of {counted(int(step), 'item')}" if step is not None else ""
        why = " from normalised figures (f(x) - f(empty) too small to normalise by)" if metric == "n_flagged" else ""
        words.append(f"{counted(int(value), 'case')}{at}{why}")
    return f"Left out: {'; '.join(words)}"


def _tests(measured: pl.DataFrame) -> dict[tuple[Any, ...], tuple[float, float]]:
    """(explainer, metric, k, step) -> (mean paired difference to random, Holm-corrected p)."""
    answers = {}
    for key, column in measured.partition_by(["metric", "k", "step"], as_dict=True, maintain_order=True).items():
        names = sorted(set(column["explainer"].to_list()) - {REFERENCE})
        pairs = {name: _against_random(column, key[0], name) for name in names}
        pairs = {name: frame for name, frame in pairs.items() if frame.height}
        corrected = holm([wilcoxon_p(frame["difference"].to_numpy()) for frame in pairs.values()])
        for (name, frame), p in zip(pairs.items(), corrected, strict=True):
            answers[(name, *key)] = (float(frame["difference"].to_numpy().mean()), float(p))
    return answers


def _against_random(column: pl.DataFrame, metric: str, explainer: str) -> pl.DataFrame:
    if metric == "removal_gain" and REFERENCE not in column["explainer"].to_list():
        # The gain is a difference to random by definition, so random has no rows of it.
        column = pl.concat(
            [column, column.with_columns(pl.lit(REFERENCE).alias("explainer"), pl.lit(0.0).alias("value")).unique(CASE)]
        )
    return paired_differences(column, "explainer", explainer, REFERENCE, CASE)


def _metric_cells(found: pl.DataFrame, tests: dict[tuple[Any, ...], tuple[float, float]]) -> list[dict[str, Any]]:
    cells = []
    for cell in found.iter_rows(named=True):
        metric = describe(cell["metric"])
        difference, p = tests.get((cell["explainer"], cell["metric"], cell["k"], cell["step"]), (None, None))
        cells.append(
            cell
            | {"block": BLOCKS[kind_of(cell["explainer"])], "row": cell["explainer"]}
            | {"column": label(cell["metric"], cell["k"], cell["step"]), "better": metric.better, "form": metric.form}
            | {"difference": difference, "p": p, "mark": _mark(difference, p, metric.better)}
        )
    return cells


def _mark(difference: float | None, p: float | None, better: str) -> str:
    """'*' or '†' by which side of random the explainer is on; metrics without a direction get none."""
    if difference is None or p is None or p >= 0.05 or difference == 0 or not better:
        return ""
    sign = "*" if (difference > 0) == (better == "higher") else "†"
    return sign * (2 if p < 0.01 else 1)


def _ranking(cells: list[dict[str, Any]], names: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """explainer -> sort key: its block, then its mean in the first column that has a direction."""
    lead = min(cells, key=lambda cell: (not cell["better"], *_column_rank(cell, names)))
    means = {cell["explainer"]: cell["value"] for cell in cells if cell["column"] == lead["column"]}
    sign = -1 if lead["better"] == "higher" else 1
    blocks = list(BLOCKS)
    explainers = {cell["explainer"] for cell in cells}
    return {
        name: (blocks.index(kind_of(name)), sign * means.get(name, sign * float("inf")), name) for name in explainers
    }


def _column_rank(cell: dict[str, Any], names: Sequence[str]) -> tuple[Any, ...]:
    order = [*names, *COSTS]
    return order.index(cell["metric"]), cell["step"] or 0, cell["k"] or 0


def _cost_cells(results: pl.DataFrame, chosen: Setting, explainers: set[str]) -> list[dict[str, Any]]:
    """Mean forwards and milliseconds per case, of the rows that fit the setting as far as they say."""
    rows = results.filter(
        (pl.col("stage") == "cost") & pl.col("metric").is_in(COSTS) & pl.col("explainer").is_in(sorted(explainers))
    )
    for column, value in chosen._asdict().items():
        rows = rows.filter((pl.col(column) == value) | pl.col(column).is_null())
    found = (
        rows.group_by("explainer", "metric")
        .agg(pl.col("value").mean(), pl.len().alias("n_cases"))
        .sort("explainer", "metric")
    )
    return [
        cell
        | {"block": BLOCKS[kind_of(cell["explainer"])], "row": cell["explainer"], "k": None, "step": None}
        | {
            "column": describe(cell["metric"]).label,
            "better": describe(cell["metric"]).better,
            "form": describe(cell["metric"]).form,
        }
        for cell in found.iter_rows(named=True)
    ]


def _caption(rows: pl.DataFrame, measured: pl.DataFrame, chosen: Setting, *, tested: bool) -> str:
    marks = (
        "* better than random, † worse (paired Wilcoxon signed-rank, Holm-corrected over the explainers within a "
        "column and group: p < .05, doubled p < .01). "
        if tested
        else ""
    )
    return (
        f"Fidelity on {chosen.group} cases of the {chosen.part} part of {one_data_set(rows)}; "
        f"model {title_of(chosen.model or '')}, players {chosen.players}, masker {chosen.masker}, "
        f"output {chosen.output}; {sample_words(measured)}. Mean over users {INTERVAL_NOTE}, "
        f"bold: best mean of the explainers. {marks}{left_out_words(rows)}."
    )
