"""The tables of one run, each computed once, whoever shows it: terminal, report and tracker."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import polars as pl

from xrec.report import tables
from xrec.report.fidelity import CaseGroup, fidelity_groups, fidelity_table, headline
from xrec.report.records import data_card_table, data_facts_table
from xrec.rundir.saved import SavedRun
from xrec.rundir.table import Results


def data_tables(card: dict[str, Any]) -> dict[str, pl.DataFrame]:
    """The tables of a data card, by name."""
    return {"data_cleaning": data_card_table(card), "data_facts": data_facts_table(card)}


class RunTables:
    """What a saved run's results allow; a table without rows is one that the run has nothing for."""

    def __init__(self, run: SavedRun) -> None:
        self.run = run
        self._fidelity: dict[CaseGroup, pl.DataFrame] = {}

    @property
    def results(self) -> Results:
        return self.run.results

    @cached_property
    def data(self) -> dict[str, pl.DataFrame]:
        """Cleaning, and facts, of the data card."""
        card = self.run.json("data_card.json")
        return data_tables(card) if isinstance(card, dict) else {}

    @cached_property
    def ranking(self) -> pl.DataFrame:
        """Every metric and cut-off."""
        return tables.ranking_table(self.results)

    @cached_property
    def components(self) -> pl.DataFrame:
        return tables.components_table(self.results)

    @cached_property
    def learned(self) -> pl.DataFrame:
        """What an adversarial item encoder learned."""
        return tables.learned_table(self.results)

    @cached_property
    def cost(self) -> pl.DataFrame:
        threads = self.run.config.get("threads")
        return tables.cost_table(self.results, threads if isinstance(threads, int) else None)

    @cached_property
    def case_groups(self) -> list[CaseGroup]:
        return fidelity_groups(self.results)

    def fidelity(self, cases: CaseGroup) -> pl.DataFrame:
        """The short table of a group of cases, with cost."""
        if cases not in self._fidelity:
            self._fidelity[cases] = fidelity_table(self.results, cases, headline(self.results))
        return self._fidelity[cases]

    def short(self, table: pl.DataFrame) -> list[str]:
        """The columns of a table that a terminal or a page shows: of a family of metrics the headline ones, all of a
        family that has none in the table."""
        columns = [(c, self.results.metric(m or "")) for c, m in table.select("column", "metric").iter_rows()]
        led = {metric.family for _, metric in columns if metric.headline}
        return list(dict.fromkeys(c for c, metric in columns if metric.headline or metric.family not in led))

    def all(self) -> Iterator[tuple[str, pl.DataFrame]]:
        """Every table that is not empty, by name; those of the data card first."""
        named = [*self.data.items(), ("ranking", self.ranking), ("components", self.components)]
        named.append(("item_encoder", self.learned))
        named += [(f"fidelity_{cases.name}", self.fidelity(cases)) for cases in self.case_groups]
        yield from ((name, table) for name, table in [*named, ("cost", self.cost)] if table.height)
