"""Tables of a run as tidy frames (`xrec.report.cells`), from the rows of results.parquet: ranking, components, cost.

The fidelity table and those of data cards and studies have files of their own and are offered here too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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
from xrec.report.fidelity import CaseGroup, of_family
from xrec.report.fidelity import fidelity_table as fidelity_table
from xrec.report.metrics import label
from xrec.report.records import data_card_table as data_card_table
from xrec.report.records import data_facts_table as data_facts_table
from xrec.report.records import front_table as front_table
from xrec.rundir.table import Results
from xrec.stats.bootstrap import bootstrap_mean, generator_for
from xrec.stats.paired import holm, wilcoxon_p
from xrec.words import counted, title_of

PRIMARY = ("ndcg", 10)
_PARTS = ("test", "validation", "train")
_GROUPS = ("all", "new", "repeat", "cold")
#: stands for no component left out while two sides are paired
_WHOLE = ""


def ranking_table(
    results: Results, metrics: Sequence[str] | None = None, part: str | None = None, main: str | None = None
) -> pl.DataFrame:
    """Models by ranking metrics, a block per target group: mean over users with its interval.

    The last two columns compare NDCG@10 of the main model with each baseline on the same users: mean paired
    difference (main minus baseline) with its interval, and Wilcoxon's p, Holm-corrected over the baselines of a group.

    Args:
        metrics: names to show in this order; None takes all there are.
        part: 'test' or 'validation'; None takes test where there is one.
        main: the model under study; None takes the one that was fitted or explained.

    Returns:
        A table of `CELL_SCHEMA`; empty when the run ranked nothing.

    Raises:
        ReportError: `part` or `main` does not occur, or data sets are mixed.
    """
    rows, part, main = _ranked(results, part, main)
    rows = rows.filter(pl.col("component").is_null())
    if rows.is_empty() or main is None:
        return table_of([], "")
    cells = []
    for group in ordered(rows, "group", _GROUPS):
        of_group = rows.filter(pl.col("group") == group)
        cells += _ranking_cells(results, of_group, metrics, group, main)
        cells += _comparison_cells(results, of_group, group, main)
    return table_of(mark_best(cells), _ranking_caption(rows, part, main))


def components_table(results: Results, part: str | None = None, main: str | None = None, k: int = 10) -> pl.DataFrame:
    """What each component of the model contributes.

    Columns: its share of the variance of the score over the top 100 (mean over users, by group of cases), and the
    NDCG@k lost when it is left out (whole minus without, paired over users) with interval and Holm-corrected p.

    Returns:
        A table of `CELL_SCHEMA`; empty when the run has neither ablations nor shares.

    Raises:
        ReportError: as `ranking_table`.
    """
    rows, part, main = _ranked(results, part, main)
    shares = results.frame.filter((pl.col("stage") == "explain") & (pl.col("metric") == "component_share"))
    if main is not None:
        shares = shares.filter(pl.col("model") == main)
    if part is not None and part in shares["part"].to_list():
        shares = shares.filter(pl.col("part") == part)
    rows = rows.filter((pl.col("metric") == PRIMARY[0]) & (pl.col("k") == k) & pl.col("model").eq_missing(main))
    cells = _share_cells(results, shares)
    for group in ordered(rows, "group", _GROUPS) if rows["component"].is_not_null().any() else []:
        cells += _lost_cells(results, rows.filter(pl.col("group") == group), main or "", group, k)
    if not cells:
        return table_of([], "")
    cells = _largest_first(cells)
    whole = rows.filter(pl.col("component").is_null())
    caption = (
        f"Components of {title_of(main or '')}, {part} part of {one_data_set(pl.concat([rows, shares]))}. "
        f"Lost: {_primary(results, k)} of the whole model minus the model scored without the component, not retrained, "
        f"paired over {_users_by_group(whole)}; mean {INTERVAL_NOTE}; p: Wilcoxon signed-rank, Holm-corrected over the "
        f"components within a group. Share: of the variance of the score over a case's top 100 "
        f"({sample_words(shares)}); components that work against each other make shares that do not sum to one. "
        f"{_absent_words(whole)}"
    )
    return table_of(cells, caption)


def learned_table(results: Results) -> pl.DataFrame:
    """What an adversarial item encoder learned: rows of stage fit; empty when the run has none."""
    rows = results.frame.filter(pl.col("stage") == "fit")
    names = [name for name in of_family(results, "learned") if name in rows["metric"].to_list()]
    cells = []
    for name in names:
        metric, values = results.metric(name), rows.filter(pl.col("metric") == name)["value"]
        shown = {"column": metric.label, "metric": name, "form": metric.form}
        cells.append(shown | {"row": "item encoder", "value": values.mean()})
    return table_of(cells, "What the item encoder's generator and discriminator learned; each is told in the glossary.")


def cost_table(results: Results, threads: int | None = None) -> pl.DataFrame:
    """Wall seconds, processor seconds and peak memory by stage, in the order the stages ran; a total below.

    Args:
        threads: the thread count of the run, for the caption (config.yaml knows it).

    Returns:
        A table of `CELL_SCHEMA`; empty when no cost was saved.
    """
    rows = results.frame.filter((pl.col("stage") == "cost") & pl.col("explainer").is_null() & pl.col("user").is_null())
    if rows.is_empty():
        return table_of([], "")
    stages = ordered(rows, "cost_of", ("fit", "rank", "explain", "fidelity", "report"))
    cells = []
    for name in results.order(rows["metric"].to_list()):
        metric = results.metric(name)
        shown = {"column": metric.label, "metric": name, "form": metric.form}
        of_metric = rows.filter(pl.col("metric") == name).sort("cost_of", "seed", "fold", "value", nulls_last=True)
        values = dict(of_metric.group_by("cost_of", maintain_order=True).agg(pl.col("value").mean()).iter_rows())
        cells += [shown | {"row": stage, "value": values[stage]} for stage in stages if stage in values]
        largest = name == "peak_memory_mb"  # of memory no sum: a stage starts with what the one before it left
        together = max(values.values()) if largest else sum(values.values())
        cells.append(shown | {"row": "largest" if largest else "total", "value": together})
    cells.sort(key=lambda cell: [*stages, "total", "largest"].index(cell["row"]))
    machine = f" on {counted(threads, 'thread')}" if threads is not None else ""
    return table_of(cells, f"Cost by stage of the run{machine}. Compare speeds within one run on one machine only.")


def main_model(results: Results, wanted: str | None = None) -> str | None:
    """The model a run is about: the one asked for, else the one that was fitted or explained; else the first by name of
    those that were ranked.

    Raises:
        ReportError: the model asked for does not occur.
    """
    # Baselines are ranked, and nothing else: every other row is about the model under study.
    own = sorted(results.frame.filter(pl.col("stage") != "rank")["model"].drop_nulls().unique().to_list())
    return only(results.frame, "model", wanted, tuple(own))


def _ranked(results: Results, part: str | None, main: str | None) -> tuple[pl.DataFrame, str | None, str | None]:
    """Rows of stage rank of one part, the part, and the main model."""
    rows = results.frame.filter(pl.col("stage") == "rank")
    one_data_set(rows)
    part = only(rows, "part", part, _PARTS)
    return rows.filter(pl.col("part").eq_missing(part)), part, main_model(results, main)


def ordered(rows: pl.DataFrame, column: str, first: Sequence[str]) -> list[str]:
    """Distinct values of a column: those of `first` in that order, then the others by name."""
    present = sorted(rows[column].drop_nulls().unique().to_list())
    return [name for name in first if name in present] + [name for name in present if name not in first]


def group_words(group: str) -> str:
    words = {
        "all": "All targets",
        "new": "New targets",
        "repeat": "Repeat targets",
        "cold": "Cold items, ranked among themselves",
    }
    return words.get(group, group)


def _primary(results: Results, k: int = PRIMARY[1]) -> str:
    return label(results.metric(PRIMARY[0]), k=k)


def _ranking_cells(
    results: Results, rows: pl.DataFrame, metrics: Sequence[str] | None, group: str, main: str
) -> list[dict[str, Any]]:
    """A cell per model and metric; the main model first, the others by the primary metric."""
    names, block = list(metrics or results.order(rows["metric"].to_list())), group_words(group)
    found = summarise(rows.filter(pl.col("metric").is_in(names)), ["model", "metric", "k"])
    found = found.rename({"model": "name"}).with_columns(pl.lit(group).alias("group"))
    primary = rows.filter((pl.col("metric") == PRIMARY[0]) & (pl.col("k") == PRIMARY[1]))
    primary = primary.sort("model", "user", "value")
    means = primary.group_by("model", maintain_order=True).agg(pl.col("value").mean())
    rank = {model: -value for model, value in means.iter_rows()}
    cells = []
    for cell in found.iter_rows(named=True):
        metric = results.metric(cell["metric"])
        cells.append(
            cell
            | {"block": block, "row": title_of(cell["name"]), "column": label(metric, k=cell["k"])}
            | {"better": metric.direction or "", "form": metric.form}
        )
    cells.sort(
        key=lambda c: (c["name"] != main, rank.get(c["name"], 0), c["name"], names.index(c["metric"]), c["k"] or 0)
    )
    return cells


def _comparison_cells(results: Results, rows: pl.DataFrame, group: str, main: str) -> list[dict[str, Any]]:
    """The paired difference of the main model to each baseline on the primary metric, and its corrected p."""
    rows = rows.filter((pl.col("metric") == PRIMARY[0]) & (pl.col("k") == PRIMARY[1]))
    others = [name for name in ordered(rows, "model", ()) if name != main]
    tests = {name: paired_differences(rows, "model", main, name, ["user"]) for name in others}
    columns = (f"{title_of(main)} minus this, {_primary(results)}", "p (Holm)")
    block = group_words(group)
    shared = {"block": block, "group": group, "metric": PRIMARY[0], "k": PRIMARY[1]}
    return _difference_cells(tests, columns, shared, ("ranking", block, main))


def _difference_cells(
    tests: dict[str, pl.DataFrame], columns: tuple[str, str], shared: dict[str, Any], key: tuple[str, ...]
) -> list[dict[str, Any]]:
    """Difference and p cells, a row per test, p corrected over all of them."""
    tests = {name: frame for name, frame in tests.items() if frame.height}
    corrected = holm([wilcoxon_p(frame["difference"].to_numpy()) for frame in tests.values()])
    cells = []
    for (name, frame), p in zip(tests.items(), corrected, strict=True):
        interval = bootstrap_mean(frame["difference"].to_numpy(), generator_for("difference", *key, name))
        low, high = (None, None) if frame.height == 1 else (float(interval.low), float(interval.high))
        mean = float(interval.mean)
        row = shared | {"row": title_of(name), "name": name, "difference": mean, "p": float(p)}
        row |= {"n_users": frame.height}
        cells.append(
            row | {"column": columns[0], "variant": "difference", "value": mean, "low": low, "high": high}
            | {"form": "+.4f"}
        )  # fmt: skip
        cells.append(row | {"column": columns[1], "variant": "p", "value": float(p), "form": "p"})
    return cells


def _lost_cells(results: Results, rows: pl.DataFrame, main: str, group: str, k: int) -> list[dict[str, Any]]:
    named = rows.with_columns(pl.col("component").fill_null(_WHOLE))
    names = [name for name in ordered(named, "component", ()) if name != _WHOLE]
    tests = {name: paired_differences(named, "component", _WHOLE, name, ["user"]) for name in names}
    columns = (f"{_primary(results, k)} lost, {group}", f"p (Holm), {group}")
    return _difference_cells(
        tests, columns, {"group": group, "metric": PRIMARY[0], "k": k}, ("parts", group, main, str(k))
    )


def _share_cells(results: Results, shares: pl.DataFrame) -> list[dict[str, Any]]:
    found = summarise(shares, ["component", "group", "few"]).rename({"component": "name"})
    cells = []
    for cell in found.iter_rows(named=True):
        metric = results.metric("component_share")
        cases = CaseGroup(cell["group"], bool(cell.pop("few")))
        about = {"row": title_of(cell["name"]), "column": f"{metric.label}, {cases.title}", "metric": metric.name}
        cells.append(cell | about | {"group": cases.name, "form": metric.form})
    return sorted(cells, key=lambda cell: cell["column"])


def _largest_first(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Columns as they are, their rows by what they have in the first one, then by name."""
    columns = list(dict.fromkeys(cell["column"] for cell in cells))
    first = {cell["name"]: -cell["value"] for cell in cells if cell["column"] == columns[0]}
    place = {name: (value, name) for name, value in first.items()}
    last = float("inf")
    return sorted(cells, key=lambda c: (columns.index(c["column"]), place.get(c["name"], (last, c["name"]))))


def _users_by_group(rows: pl.DataFrame) -> str:
    """'2,029 users (all), 2,002 users (new)'."""
    rows = rows.filter(pl.col("user").is_not_null())
    groups = ordered(rows, "group", _GROUPS)
    counts = {group: rows.filter(pl.col("group") == group)["user"].n_unique() for group in groups}
    return ", ".join(f"{counted(n, 'user')} ({group})" for group, n in counts.items()) or "no users"


def _ranking_caption(rows: pl.DataFrame, part: str | None, main: str) -> str:
    seeds = rows["seed"].drop_nulls().n_unique()
    return (
        f"Ranking on the {part} part of {one_data_set(rows)}, full catalogue, no sampled negatives; "
        f"{_users_by_group(rows)}{f', {seeds} training seeds averaged within users' if seeds > 1 else ''}. "
        f"Mean over users {INTERVAL_NOTE}, bold: best mean of a group; coverage, Gini and novelty are of the whole "
        f"model and have none. Last columns: {title_of(main)} minus the row's model, paired over users; "
        f"p: Wilcoxon signed-rank, Holm-corrected over the models within a group. {_absent_words(rows)}"
    )


def _absent_words(rows: pl.DataFrame) -> str:
    """Who is missing from the new targets."""
    users = {
        group: set(rows.filter(pl.col("group") == group)["user"].drop_nulls().to_list()) for group in ("all", "new")
    }
    absent = len(users["all"] - users["new"]) if users["new"] else 0
    return f"Left out: {counted(absent, 'user')} without a new target, from the new targets."
