"""The drop accounting: what every step leaves, so that rows in = rows kept + rows dropped, each with its reason."""

from __future__ import annotations

import numpy as np
import polars as pl

from xrec.data.errors import DataError
from xrec.data.schema import Step


class Tally:
    """Collects the steps of one build.

    Args:
        source: named in errors. steps: what the source itself counted. strict: a drop is an error.
    Raises:
        DataError: with `strict`, the source dropped rows.
    """

    def __init__(self, source: str, steps: list[Step], *, strict: bool) -> None:
        self.source, self.strict = source, strict
        self.steps: list[Step] = []
        for step in steps:
            self.add(step)

    @property
    def last(self) -> Step | None:
        return self.steps[-1] if self.steps else None

    def add(self, step: Step) -> None:
        """Take in a step as it is.

        Raises:
            DataError: with `strict`, the step dropped rows; a step with more rows than the one before it.
        """
        lost = self.last.rows - step.rows if self.last is not None else 0
        if lost < 0:
            raise DataError(
                f"{self.source}: the step {step.step!r} has {step.rows} rows, more than the {step.rows + lost} that "
                f"were left before it (a step must not add rows: {step.reason})"
            )
        if lost and self.strict and not step.merged:
            raise DataError(
                f"{self.source}: data.clean.strict is true, and the step {step.step!r} drops {lost} "
                f"event{'s' if lost != 1 else ''} ({step.reason}); mend the data, or set data.clean.strict: false"
            )
        self.steps.append(step)

    def count(self, events: pl.DataFrame, step: str, reason: str, *, merged: bool = False) -> pl.DataFrame:
        """`events` (columns user and item are codes), after their rows, users and items were counted."""
        last = self.last
        if last is not None and last.rows == events.height:
            users, items = last.users, last.items
        else:
            users, items = n_codes(events["user"]), n_codes(events["item"])
        self.add(Step(step, reason, events.height, users, items, merged))
        return events


def n_codes(codes: pl.Series) -> int:
    """Distinct values of a column of codes (0 .. n - 1, nulls not counted)."""
    codes = codes.drop_nulls()
    if not len(codes):
        return 0
    seen = np.zeros(int(codes.max()) + 1, dtype=bool)  # type: ignore[arg-type]
    seen[codes.to_numpy()] = True
    return int(seen.sum())
