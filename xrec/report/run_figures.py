"""The figures of one run, each drawn once, whoever shows it: report, tracker and paper."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING

import polars as pl

from xrec.report import figures
from xrec.report.fidelity import CaseGroup
from xrec.report.learning import learning_curves
from xrec.report.run_tables import RunTables

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class RunFigures:
    """What a saved run's results allow to draw; None is a figure that the run has nothing for."""

    def __init__(self, tables: RunTables) -> None:
        self.tables = tables
        self._drawn: dict[tuple[str, CaseGroup], Figure | None] = {}

    @cached_property
    def learning(self) -> Figure | None:
        """Losses and validation, the epoch that was kept marked."""
        fitted = self.tables.results.frame.filter((pl.col("stage") == "fit") & (pl.col("metric") == "best_epoch"))
        best = int(fitted["value"][0]) if fitted.height else None
        return learning_curves(self.tables.run.log, best)

    def forest(self, cases: CaseGroup) -> Figure | None:
        """Fidelity of the explainers over a group of cases."""
        if ("forest", cases) not in self._drawn:
            self._drawn["forest", cases] = figures.fidelity_forest(self.tables.results, cases)
        return self._drawn["forest", cases]

    def removal(self, cases: CaseGroup) -> Figure | None:
        """Deletion and insertion curves over a group of cases."""
        if ("removal", cases) not in self._drawn:
            self._drawn["removal", cases] = figures.removal_curves(self.tables.results, cases)
        return self._drawn["removal", cases]

    def all(self) -> Iterator[tuple[str, Figure | None]]:
        """Every figure by name; of the group 'new' where no cases were explained."""
        yield "learning_curves", self.learning
        for cases in self.tables.case_groups or [CaseGroup("new")]:
            yield f"fidelity_forest_{file_name(cases)}", self.forest(cases)
            yield f"removal_curves_{file_name(cases)}", self.removal(cases)


def file_name(cases: CaseGroup) -> str:
    """A group's name as part of a file's: whatever it holds, the file stays in its folder."""
    return re.sub(r"\W+", "-", cases.name)
