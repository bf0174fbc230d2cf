"""The stages of a run in their order, one record each. What they do is in `xrec.stages`; `xrec.pipeline` binds the two.
Imports nothing of xrec."""

from __future__ import annotations

from dataclasses import dataclass

#: the resolved settings of a run, in its directory; what makes a directory one
CONFIG = "config.yaml"
#: losses and validation, step by step
LOG = "metrics.jsonl"


@dataclass(frozen=True)
class Stage:
    """builds_on: the stages whose results it is made from. needs: the one of these that must be there, from this run or
    from a saved one. settings: what of the config belongs to it, and comes with its results from a saved run. nodes:
    what of the config is built for it without data. unfinished: files that it leaves for the next attempt to go on
    from. lighter: what makes it take less memory."""

    name: str
    lighter: str
    builds_on: tuple[str, ...] = ()
    needs: str | None = None
    settings: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    unfinished: tuple[str, ...] = ()


PLAN = (
    Stage(
        "fit",
        "lower training.batch_size, training.max_pairs or the sizes of the model",
        settings=("seed", "data", "split", "model", "loss", "training"),
        unfinished=(LOG, "checkpoint"),
    ),
    Stage("rank", "lower ranking.chunk_size, or leave baselines out", builds_on=("fit",), needs="fit"),
    Stage(
        "explain",
        "lower cases.chunk_size and cases.mask_chunk, or the budget of the explainers",
        builds_on=("fit",),
        needs="fit",
        settings=("cases", "masker", "players", "output"),
        nodes=("masker", "players", "output", "explainer"),
        unfinished=("shards", "learned"),
    ),
    Stage(
        "fidelity",
        "lower cases.chunk_size and cases.mask_chunk",
        builds_on=("fit", "explain"),
        needs="explain",
        nodes=("masker", "players", "output", "fidelity"),
    ),
    Stage(
        "report",
        "leave out report; the numbers are in results.parquet",
        builds_on=("fit", "rank", "explain", "fidelity"),
    ),
)
STAGES = tuple(stage.name for stage in PLAN)
#: those that a model comes from or is asked in; the report is made from what they saved
MEASURING = PLAN[:-1]
