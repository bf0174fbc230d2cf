"""The tables of a run for a tracker: the few numbers that runs are compared by, and tables as people know them."""

from __future__ import annotations

from typing import Any

import polars as pl

from xrec.report.render import cell_words
from xrec.report.run_tables import RunTables


def summaries(tables: RunTables) -> dict[str, float]:
    """`summary/ranking/<group>/<model>/ndcg@10` and `summary/fidelity/<group>/<explainer>/deletion`, every number of
    both tables, with the ends of their intervals under `.../low` and `.../high`."""
    found: dict[str, float] = {}
    fidelity = [("fidelity", tables.fidelity(cases)) for cases in tables.case_groups]
    for kind, table in [("ranking", tables.ranking), *fidelity]:
        for cell in table.iter_rows(named=True):
            key = f"summary/{kind}/{cell['group']}/{cell['name']}/{_metric(cell)}"
            values = {key: cell["value"], f"{key}/low": cell["low"], f"{key}/high": cell["high"]}
            found |= {name: value for name, value in values.items() if value is not None}
    return found


def _metric(cell: dict[str, Any]) -> str:
    """'ndcg@10', 'ndcg@10/difference'."""
    cutoff = "" if cell["k"] is None else f"@{cell['k']}"
    return f"{cell['metric']}{cutoff}" + ("" if cell["variant"] is None else f"/{cell['variant']}")


def wide(table: pl.DataFrame) -> tuple[list[str], list[list[Any]]]:
    """A tidy table as people see it: a row per model or explainer, a column per metric, its interval in two more.

    Returns:
        Column names and rows; a column holds numbers, or words where one of its cells does.
    """
    columns: list[str] = []
    rows: dict[tuple[str, str], dict[str, Any]] = {key: {} for key in table.select("block", "row").iter_rows()}
    for (name,), cells in table.partition_by("column", as_dict=True, maintain_order=True).items():
        in_words, with_interval = cells["text"].is_not_null().any(), cells["low"].is_not_null().any()
        columns += [name, f"{name}, low", f"{name}, high"] if with_interval else [name]
        for cell in cells.iter_rows(named=True):
            values = {name: cell_words(cell).main if in_words else cell["value"]}
            rows[cell["block"], cell["row"]] |= values | {f"{name}, {end}": cell[end] for end in ("low", "high")}
    return ["block", "row", *columns], [[*row, *map(values.get, columns)] for row, values in rows.items()]
