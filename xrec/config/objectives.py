"""What a job can return to a sweep: names, and the result rows each is the mean of. From the config alone.

<part>_ndcg_at_10_<group>          for ranking.parts (null: both) and ranking.groups
<part>_removal_gain_<explainer>    for cases.part and the chosen explainers, on `new` cases
<part>_removal_gain                the same of permutation SHAP
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from xrec.words import did_you_mean, listed

CUTOFF = 10
#: the explainer whose removal gain is called `<part>_removal_gain`
MAIN_EXPLAINER = "permutation_shap"
#: what the others are compared with, so that it has no gain of its own; the second pass knows such a class by itself
_REFERENCE = "xrec.explain.controls.Random"
#: what `ranking.parts: null` ranks, where the split has them
PARTS = ("validation", "test")
_ANY = r"(validation|test)_(ndcg_at_10_\w+|removal_gain(_\w+)?)"


def objective_rows(config: Mapping[str, Any]) -> dict[str, dict[str, object]]:
    """Every objective that the settings of the stages name -> column: value of its rows. Whether the stages are chosen
    is not asked: rows may come from another run."""
    ranking, model = config["ranking"], str(config["model"]["name"])
    rows: dict[str, dict[str, object]] = {}
    if CUTOFF in ranking["ndcg"]:
        for part in PARTS if ranking["parts"] is None else ranking["parts"]:
            for group in ranking["groups"]:
                chosen = {"stage": "rank", "part": part, "group": group, "model": model, "component": None}
                rows[f"{part}_ndcg_at_{CUTOFF}_{group}"] = chosen | {"metric": "ndcg", "k": CUTOFF}
    part = str(config["cases"]["part"])
    for explainer, node in (config.get("explainer") or {}).items():
        if node["_target_"] == _REFERENCE:
            continue
        chosen = {"stage": "fidelity", "part": part, "group": "new", "few": False, "metric": "removal_gain"}
        rows[f"{part}_removal_gain_{explainer}"] = chosen | {"explainer": explainer}
    if f"{part}_removal_gain_{MAIN_EXPLAINER}" in rows:
        rows[f"{part}_removal_gain"] = rows[f"{part}_removal_gain_{MAIN_EXPLAINER}"]
    return rows


def objective_errors(config: Mapping[str, Any]) -> list[str]:
    """Objectives that no stage of this run will measure. Stands aside where a setting it reads is itself wrong."""
    asked = config.get("objectives")
    if not isinstance(asked, list) or config.get("resume") is not None:
        return []
    if config.get("from_run") is not None:  # its results are taken over, so any run's objectives may be there
        strange = [x for x in asked if not re.fullmatch(_ANY, str(x))]
        return [f"objectives: got {x!r}, takes names such as validation_ndcg_at_10_new" for x in strange]
    try:
        known = _measured(config)
    except (KeyError, TypeError):
        return []
    return [
        f"objectives[{i}]: got {name!r}, which this run does not measure{did_you_mean(name, known)} "
        f"(it measures {listed(known)})"
        for i, name in enumerate(asked)
        if name not in known
    ]


def _measured(config: Mapping[str, Any]) -> list[str]:
    ranking, cases, stages = config["ranking"], config["cases"], config["stages"]
    parts = list(PARTS) if ranking["parts"] is None else ranking["parts"]
    if not all(isinstance(x, list) for x in (parts, ranking["groups"], cases["groups"], stages)):
        raise TypeError("no list")
    chosen = set(stages)
    if "new" not in cases["groups"] or not config.get("fidelity"):
        chosen.discard("fidelity")
    return [name for name, where in objective_rows(config).items() if where["stage"] in chosen]
