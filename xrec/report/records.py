"""Tables of what was written down rather than measured: a data card, and the front of a study."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl

from xrec.report.cells import mark_best, table_of
from xrec.rundir.study import Study
from xrec.words import counted, sentence, title_of


def data_card_table(card: dict[str, Any]) -> pl.DataFrame:
    """What every cleaning step left, and how many rows it changed: nothing is dropped unseen.

    Returns:
        A table of `CELL_SCHEMA`; empty when the card has no steps.
    """
    cells, before = [], None
    for number, step in enumerate(card.get("steps") or [], start=1):
        row = {"row": f"{number}. {title_of(str(step.get('step', '')))}"}
        cells.append(row | {"column": "Why", "text": str(step.get("reason", ""))})
        n_rows = step.get("rows")
        change = n_rows - before if n_rows is not None and before is not None else None
        numbers = {"Rows": n_rows, "Change": change, "Users": step.get("users"), "Items": step.get("items")}
        for name, value in numbers.items():
            cells.append(row | {"column": name, "value": value, "form": "+,.0f" if name == "Change" else ",.0f"})
        before = n_rows
    name = card.get("name", "the data")
    return table_of(
        cells, f"How {name} was cleaned: rows, users and items left after each step; change against the step before."
    )


def data_facts_table(card: dict[str, Any]) -> pl.DataFrame:
    """Every other entry of a data card in words, a block per key that holds several.

    Returns:
        A table of `CELL_SCHEMA` with the single column 'Value'.
    """
    cells = []
    for key, value in card.items():
        if key in ("name", "steps"):
            continue
        for path, leaf in _leaves(value, (str(key),)):
            *block, row = map(_entry_words, path)
            shown = {"text": leaf} if isinstance(leaf, str) else {"value": leaf, "form": _form(leaf)}
            cells.append({"block": sentence(", ".join(block)), "row": row, "column": "Value", **shown})
    return table_of(cells, f"Sizes and splits of {card.get('name', 'the data')}.")


def front_table(study: Study) -> pl.DataFrame:
    """The front of a study: a row per trial on it, its objectives and parameters.

    Returns:
        A table of `CELL_SCHEMA`.
    """
    directions = dict(zip(study.objectives, study.directions, strict=True))
    better = {"maximize": "higher", "minimize": "lower"}
    cells = []
    for trial in sorted(study.front, key=lambda trial: trial["number"]):
        row = {"row": f"trial {trial['number']}"}
        for name, value in trial["values"].items():
            cells.append(
                row
                | {
                    "column": title_of(name),
                    "value": float(value),
                    "form": ".4f",
                    "better": better.get(directions.get(name, ""), ""),
                }
            )
        for name, value in (trial.get("params") or {}).items():
            number = isinstance(value, int | float) and not isinstance(value, bool)
            cells.append(row | {"column": name} | ({"value": value, "form": ".4g"} if number else {"text": str(value)}))
    objectives = ", ".join(map(title_of, study.objectives))
    caption = (
        f"Trials of study {study.name} that no other trial beats on all of {objectives}, out of "
        f"{counted(len(study.trials), 'finished trial')}; left out: "
        f"{counted(len(study.unfinished), 'trial')} without objectives."
    )
    return table_of(mark_best(cells), caption)


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """(keys that lead there, number or text) of everything within nested dictionaries and lists."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, (*path, str(key)))
    elif isinstance(value, list) and any(isinstance(entry, dict | list | str) for entry in value):
        for number, inner in enumerate(value, start=1):
            yield from _leaves(inner, (*path, str(number)))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path, value
    else:
        yield path, ", ".join(map(str, value)) if isinstance(value, list) else "–" if value is None else str(value)


def _entry_words(key: str) -> str:
    """A key of a data card for people: 'n_training_events' are training events."""
    return title_of(key.removeprefix("n_"))


def _form(value: float) -> str:
    """Counts whole, shares with four digits, other measures with one."""
    if isinstance(value, int):
        return ",.0f"
    return ".4f" if abs(value) <= 1 else ",.1f"
