"""What a run says of attributions that should not be used as they are."""

from __future__ import annotations

import logging

import polars as pl
import pytest

from xrec.rundir.explanations import ANSWERS, PLAYERS
from xrec.rundir.table import Rows
from xrec.stages import explain


def frames() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Two cases of two players by an explainer that samples, one that is flat, and one that knows no errors."""
    values = {
        ("sampled", 0): [(3.0, 0.3), (4.0, 0.4)],  # 10 %
        ("sampled", 1): [(0.6, 0.0), (0.8, 0.5)],  # 50 %
        ("flat", 0): [(2.0, None), (2.0, None)],
        ("flat", 1): [(2.0, None), (2.5, None)],
        ("unknown", 0): [(1.0, None), (2.0, None)],
        ("unknown", 1): [(1.0, None)],  # of a single player: not flat
    }
    players = [
        {
            "case": case,
            "explainer": name,
            "draw": 0,
            "player": str(j),
            "value": v,
            "standard_error": e,
            "selected": None,
        }
        for (name, case), pairs in values.items()
        for j, (v, e) in enumerate(pairs)
    ]
    common = {"draw": 0, "role": "explainer", "players": "items", "masker": "zero", "output": "logit"}
    answers = [{"case": case, "explainer": name, **common} for name, case in values]
    answers = pl.DataFrame(answers, schema={name: kind for name, kind in ANSWERS.items() if name in answers[0]})
    cases = pl.DataFrame(
        {"case": [0, 1], "group": ["new", "new"], "few": [False, True], "user": ["u", "v"], "item": ["i", "j"]}
    )
    return pl.DataFrame(players, schema=PLAYERS), answers.join(cases, on="case")


def test_sampling_errors_missed_targets_and_flat_cases_are_rows_and_said_aloud(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rows = Rows(explain.METRICS, data="toy", stage="explain")
    targets = {"sampled": 0.2, "flat": None, "unknown": 0.1}
    with caplog.at_level(logging.WARNING):
        explain._add_flags(rows, *frames(), targets)
    found = {
        (row["metric"], row["explainer"], row["user"]): row["value"]
        for row in rows.frame().filter(pl.col("user").is_not_null()).iter_rows(named=True)
    }
    assert found == {
        ("sampling_error", "sampled", "u"): pytest.approx(0.1),
        ("sampling_error", "sampled", "v"): pytest.approx(0.5),
        ("target_missed", "sampled", "u"): 0.0,
        ("target_missed", "sampled", "v"): 1.0,
        ("target_missed", "unknown", "u"): 1.0,
        ("target_missed", "unknown", "v"): 1.0,
        ("flat", "sampled", "u"): 0.0,
        ("flat", "sampled", "v"): 0.0,
        ("flat", "flat", "u"): 1.0,
        ("flat", "flat", "v"): 0.0,
        ("flat", "unknown", "u"): 0.0,
    }
    assert "explainer flat: all players have the same value in 1 of 2 cases" in caplog.text
    assert "explainer sampled: the budget was spent before the target error was reached in 1 of 2 cases" in caplog.text
    assert "explainer unknown: the budget was spent before the target error was reached in 2 of 2 cases" in caplog.text


def test_nothing_is_said_of_no_attribution() -> None:
    rows = Rows(explain.METRICS, data="toy", stage="explain")
    explain._add_flags(rows, pl.DataFrame(), pl.DataFrame(), {})
    assert not len(rows.frame())
