"""Attributions on disk, everything they claim, and back again.

attributions.parquet has a row per case, explainer, draw and player; explanations.parquet a row per case, explainer and
draw: f(x), f(empty), cost, and what the explainer declares of itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from xrec.errors import RunError
from xrec.files import whole_file
from xrec.types import Attribution, Case

ATTRIBUTIONS = "attributions.parquet"
EXPLANATIONS = "explanations.parquet"

PLAYERS: dict[str, type[pl.DataType]] = {
    "case": pl.Int64,
    "explainer": pl.String,
    "draw": pl.Int64,
    "player": pl.String,
    "value": pl.Float64,
    "standard_error": pl.Float64,  # null: exact, or not estimated
    "selected": pl.Boolean,  # null: the explainer does not answer with a set
}
ANSWERS: dict[str, type[pl.DataType]] = {
    "case": pl.Int64,
    "explainer": pl.String,
    "draw": pl.Int64,
    "role": pl.String,
    "reference": pl.Boolean,
    "signed": pl.Boolean,
    "complete": pl.Boolean,
    "players": pl.String,
    "masker": pl.String,
    "output": pl.String,
    "n_players": pl.Int64,
    "f_x": pl.Float64,
    "f_empty": pl.Float64,
    "forwards": pl.Int64,
    "seconds": pl.Float64,
    "outcome": pl.String,  # of the search for a set; null: there was none
}
_DECLARED = ("role", "reference", "signed", "complete", "players", "masker", "output")


def player_rows(attribution: Attribution, **beside: Sequence[Any]) -> pl.DataFrame:
    """One row per case and player. beside: further columns, a value per row (names, ages, ...)."""
    n = attribution.n_players
    real = np.arange(attribution.values.shape[1]) < n[:, None]
    columns: dict[str, Any] = {
        "case": np.repeat([c.index for c in attribution.cases], n),
        "explainer": [attribution.explainer] * int(n.sum()),
        "draw": [attribution.draw] * int(n.sum()),
        "player": [p for ids in attribution.player_ids for p in ids],
        "value": attribution.values[real],
        "standard_error": _there(attribution.standard_error, real),
        "selected": _there(attribution.selected, real),
    }
    frame = pl.DataFrame(columns, schema=PLAYERS).with_columns(pl.col("standard_error").fill_nan(None))
    return frame.with_columns(pl.Series(name, values) for name, values in beside.items())


def _there(values: np.ndarray | None, real: np.ndarray) -> list[Any]:
    return [None] * int(real.sum()) if values is None else values[real].tolist()


def answer_rows(attribution: Attribution) -> pl.DataFrame:
    """One row per case."""
    n_cases = len(attribution.cases)
    columns: dict[str, Any] = {name: [getattr(attribution, name)] * n_cases for name in _DECLARED}
    columns |= {"explainer": [attribution.explainer] * n_cases, "draw": [attribution.draw] * n_cases}
    columns |= {
        "case": [c.index for c in attribution.cases],
        "n_players": attribution.n_players,
        "f_x": attribution.f_x,
        "f_empty": attribution.f_empty,
        "forwards": attribution.n_forwards,
        "seconds": attribution.seconds,
        "outcome": [None] * n_cases if attribution.outcome is None else attribution.outcome,
    }
    return pl.DataFrame({name: columns[name] for name in ANSWERS}, schema=ANSWERS)


def write_explanations(directory: Path, players: pl.DataFrame, answers: pl.DataFrame) -> list[str]:
    """Both files, sorted by nothing: in the order given. Returns their names."""
    for name, frame in ((ATTRIBUTIONS, players), (EXPLANATIONS, answers)):
        with whole_file(directory / name) as temporary:
            frame.write_parquet(temporary)
    return [ATTRIBUTIONS, EXPLANATIONS]


class Explanations:
    """The attributions of a run, as they were.

    Raises:
        RunError: the two files do not fit together.
    """

    def __init__(self, players: pl.DataFrame, answers: pl.DataFrame) -> None:
        if "outcome" not in answers.columns:  # a run from before there were any
            answers = answers.with_columns(outcome=pl.lit(None, pl.String))
        self.answers = answers.select(list(ANSWERS))
        self._players = dict(_pieces(players.select(list(PLAYERS)), "explainer", "draw", "case"))
        found = {key: piece.height for key, piece in self._players.items()}
        promised: Counter[tuple[Any, ...]] = Counter()
        for *key, n in answers.select("explainer", "draw", "case", "n_players").iter_rows():
            promised[tuple(key)] += n
        for key in [*promised, *found]:
            if found.get(key, 0) != promised[key]:
                explainer, draw, case = key
                raise RunError(
                    f"{ATTRIBUTIONS} and {EXPLANATIONS} do not fit together: case {case} of {explainer} (draw {draw}) "
                    f"has {found.get(key, 0)} players instead of {promised[key]}; explain again"
                )

    def names(self) -> list[str]:
        """The explainers, in the order they explained."""
        return self.answers["explainer"].unique(maintain_order=True).to_list()

    def draws(self, explainer: str) -> list[int]:
        """The numbers of an explainer's draws."""
        return sorted(self.answers.filter(pl.col("explainer") == explainer)["draw"].unique().to_list())

    def attribution(self, explainer: str, draw: int, cases: tuple[Case, ...]) -> Attribution:
        """One answer for these cases.

        Raises:
            RunError: a case was not explained.
        """
        answers = {
            row["case"]: row
            for row in self.answers.filter(
                (pl.col("explainer") == explainer)
                & (pl.col("draw") == draw)
                & pl.col("case").is_in([c.index for c in cases])
            ).iter_rows(named=True)
        }
        if missing := [c.index for c in cases if c.index not in answers]:
            raise RunError(
                f"{EXPLANATIONS}: {explainer} (draw {draw}) has no answer for cases {missing}; explain again"
            )
        rows = [answers[c.index] for c in cases]
        outcomes = tuple(r["outcome"] for r in rows)
        pieces = [self._players[(explainer, draw, c.index)] for c in cases]
        width = max(1, *(p.height for p in pieces))
        declared: Mapping[str, Any] = {name: rows[0][name] for name in _DECLARED}
        return Attribution(
            explainer=explainer,
            draw=draw,
            cases=cases,
            player_ids=tuple(tuple(p["player"].to_list()) for p in pieces),
            values=_padded([p["value"] for p in pieces], width, np.nan),
            f_x=np.array([r["f_x"] for r in rows]),
            f_empty=np.array([r["f_empty"] for r in rows]),
            n_forwards=np.array([r["forwards"] for r in rows], dtype=np.int64),
            seconds=np.array([r["seconds"] for r in rows]),
            standard_error=_optional([p["standard_error"] for p in pieces], width, np.nan),
            selected=_optional([p["selected"] for p in pieces], width, False),
            outcome=None if None in outcomes else outcomes,
            **declared,
        )


def _pieces(frame: pl.DataFrame, *keys: str) -> list[tuple[tuple[Any, ...], pl.DataFrame]]:
    return list(frame.partition_by(*keys, as_dict=True, maintain_order=True).items())


def _padded(columns: list[pl.Series], width: int, fill: Any) -> np.ndarray:
    kind = np.bool_ if fill is False else np.float64
    result = np.full((len(columns), width), fill, dtype=kind)
    for row, column in enumerate(columns):
        result[row, : len(column)] = column.fill_null(fill).to_numpy()
    return result


def _optional(columns: list[pl.Series], width: int, fill: Any) -> Any:
    """None where no row has a value."""
    return None if all(c.null_count() == len(c) for c in columns) else _padded(columns, width, fill)
