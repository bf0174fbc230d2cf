"""Cards of single users: what they bought, what was recommended, and what of the one speaks for the other."""

from __future__ import annotations

import re
from typing import Any

import polars as pl

from xrec.rundir.explanations import ATTRIBUTIONS, EXPLANATIONS
from xrec.rundir.saved import SavedRun
from xrec.words import title_of

_N_HISTORY, _N_REASONS = 6, 6


def user_cards(run: SavedRun, n_users: int = 5) -> list[dict[str, Any]]:
    """Cards of the first users (by case number, so not picked for their looks) with explained cases.

    Per user, of the group 'new' and the test part where there are such: `recent` and `strong` history items, and
    `recommendations`, each with its name, its id (`item`) where the name does not say it, and its weightiest
    contributions. Bar widths are in percent of the largest one on the card.

    Args:
        run: its cases.parquet, explanations.parquet and attributions.parquet are read.

    Returns:
        Plain dictionaries for the template; [] when either file is missing or empty.

    Raises:
        RunError: a file is damaged.
    """
    cases, answers, attributions = (run.table(name) for name in ("cases.parquet", EXPLANATIONS, ATTRIBUTIONS))
    if cases is None or answers is None or attributions is None:
        return []
    chosen = _choose_cases(cases, n_users)
    rows = attributions.filter(pl.col("case").is_in(chosen["case"].to_list()))
    if rows.is_empty():
        return []
    explainer = _choose_explainer(answers)
    rows = rows.filter(pl.col("explainer") == explainer)
    rows = rows.filter(pl.col("draw") == 0).with_columns(_named("player_name", "player"))
    cards = []
    for user in chosen["user"].unique(maintain_order=True):
        of_user = chosen.filter(pl.col("user") == user)
        history = rows.filter(pl.col("case") == of_user["case"][0])
        recommendations = [
            _recommendation(case, rows.filter(pl.col("case") == case["case"])) for case in of_user.iter_rows(named=True)
        ]
        _scale_bars(recommendations)
        cards.append(
            {
                "user": user,
                "group": of_user["group"][0],
                "part": of_user["part"][0],
                "explainer": title_of(explainer),
                "n_history": int(history["n_items"].sum()),
                "n_players": history.height,
            }
            | {
                "recent": _history(history, ["age", "strength"], [False, True]),
                "strong": _history(history, ["strength", "age"], [True, False]),
            }
            | {"recommendations": recommendations}
        )
    return cards


def _choose_cases(cases: pl.DataFrame, n_users: int) -> pl.DataFrame:
    """The first cases of the first users, one part and one group, in order of position."""
    cases = cases.sort("case")
    for column, preferred in (("part", "test"), ("group", "new")):
        if preferred in cases[column].to_list():
            cases = cases.filter(pl.col(column) == preferred)
        elif cases.height:
            cases = cases.filter(pl.col(column) == cases[column].drop_nulls()[0])
    users = cases["user"].unique(maintain_order=True)[:n_users].to_list()
    return (
        cases.filter(pl.col("user").is_in(users))
        .sort(pl.col("case").min().over("user"), "position", "case")
        .with_columns(_named("item_name", "item"))
    )


def _choose_explainer(answers: pl.DataFrame) -> str:
    """Whose contributions a card shows: one that explains and whose values sum up, of these the cheapest."""
    ranked = (
        answers.group_by("explainer")
        .agg(pl.col("role", "signed", "complete").min(), pl.col("forwards").mean())
        .sort(pl.col("role") != "explainer", ~pl.col("complete"), ~pl.col("signed"), "forwards", "explainer")
    )
    return ranked["explainer"][0]


def _named(name: str, identity: str) -> pl.Expr:
    """A product without a name goes by its id."""
    return (
        pl.when(pl.col(name).fill_null("").str.strip_chars() == "")
        .then(pl.col(identity))
        .otherwise(pl.col(name))
        .alias(name)
    )


def _history(players: pl.DataFrame, by: list[str], descending: list[bool]) -> list[dict[str, Any]]:
    ordered = players.sort(*by, "player", descending=[*descending, False], nulls_last=True).head(_N_HISTORY)
    return ordered.select(pl.col("player_name").alias("name"), "age", "strength").to_dicts()


def _recommendation(case: dict[str, Any], players: pl.DataFrame) -> dict[str, Any]:
    """One recommendation: the weightiest contributions by size, and the sum of the others."""
    ordered = players.filter(pl.col("value").is_finite()).sort(
        pl.col("value").abs(), "player", descending=[True, False]
    )
    shown, rest = ordered.head(_N_REASONS), ordered.tail(max(0, ordered.height - _N_REASONS))
    columns = [pl.col("player_name").alias("name"), "value", "standard_error", "age", "strength"]
    return {
        "name": case["item_name"],
        "item": "" if _says(case["item_name"], case["item"]) else case["item"],
        "position": case["position"],
        "foil": case.get("foil_name") or case.get("foil"),
        "reasons": shown.select(columns).to_dicts(),
        "n_rest": rest.height,
        "rest": float(rest["value"].sum()),
    }


def _says(name: str, identity: str) -> bool:
    """Whether a name is the id, or ends with it as a word of its own."""
    return re.search(rf"(?:^|\W){re.escape(identity)}$", name) is not None


def _scale_bars(recommendations: list[dict[str, Any]]) -> None:
    """Give every reason its `width`, in percent of the largest contribution among these recommendations."""
    reasons = [reason for recommendation in recommendations for reason in recommendation["reasons"]]
    largest = max((abs(reason["value"]) for reason in reasons), default=0.0)
    for reason in reasons:
        reason["width"] = round(100 * abs(reason["value"]) / largest, 1) if largest > 0 else 0.0
