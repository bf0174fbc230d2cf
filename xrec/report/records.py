"""Tables of what was written down rather than measured: a data card, and the front of a study."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl

from xrec.report.cells import mark_best, table_of
from xrec.report.metrics import title_of
from xrec.rundir.study import Study
from xrec.words import counted


def data_card_table(card: dict[str, Any]) -> pl.DataFrame:
    """What every cleaning step left, and how many rows it changed: nothing is dropped unseen.

    Returns:
        A table of `CELL_SCHEMA`; empty when the card has no steps.
    """
    cells, before = [], None
    for number, step in enumerate(card.get("steps") or [], start=1):
        row = {"row": f"{number}. {step.get('step', '')}"}
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
    """Every other entry of a data card, nested keys flattened, one block per top-level key.

    Returns:
        A table of `CELL_SCHEMA` with the single column 'Value'.
    """
    cells = []
    for key, value in card.items():
        if key in ("name", "steps"):
            continue
        nested = isinstance(value, dict | list)
        for path, leaf in _leaves(value):
            row = {
                "block": title_of(str(key)).capitalize() if nested else "",
                "row": path or str(key),
                "column": "Value",
            }
            cells.append(
                row
                | (
                    {"text": leaf}
                    if isinstance(leaf, str)
                    else {"value": leaf, "form": ",.10g" if abs(leaf) >= 10_000 else ".10g"}
                )
            )
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
                    "column": name,
                    "value": float(value),
                    "form": ".4f",
                    "better": better.get(directions.get(name, ""), ""),
                }
            )
        for name, value in (trial.get("params") or {}).items():
            cells.append(row | {"column": name, "text": f"{value:.4g}" if isinstance(value, float) else str(value)})
    caption = (
        f"Trials of study {study.name} that no other trial beats on all of {', '.join(study.objectives)}, out of "
        f"{counted(len(study.trials), 'finished trial')}; left out: "
        f"{counted(len(study.unfinished), 'trial')} without objectives."
    )
    return table_of(mark_best(cells), caption)


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted path, number or text) of everything within nested dictionaries and lists."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(entry, dict | list | str) for entry in value):
        for number, inner in enumerate(value, start=1):
            yield from _leaves(inner, f"{path}.{number}" if path else str(number))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path, value
    else:
        yield path, ", ".join(map(str, value)) if isinstance(value, list) else "–" if value is None else str(value)
