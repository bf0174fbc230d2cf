"""Which parts a run is measured on, and settings that ask for one that the split does not have."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from xrec.errors import RunError
from xrec.stages.run import Run
from xrec.words import listed

#: the setting that asks for a part -> another value, for a split without it
INSTEAD = {
    "ranking.parts": "ranking.parts=null ranks those that there are",
    "cases.part": "cases.part={there}",
    "objectives": "there are those of {there}",
}


def ranked_parts(run: Run) -> list[str]:
    """`ranking.parts`, or all parts that the split has."""
    asked = run.config.ranking.parts
    return list(run.dataset.parts) if asked is None else list(asked)


def check_parts(run: Run, todo: Collection[str]) -> None:
    """Raises: RunError, when a setting of the stages to do asks for a part that the split does not have."""
    there = listed(run.dataset.parts)
    for setting, part in _asked(run, todo):
        if part not in run.dataset.parts:
            raise RunError(
                f"{setting} asks for {part}, but split {run.dataset.card['split']['name']} has no {part} part (it has "
                f"{there}): {INSTEAD[setting].format(there=there)}, or give the data such a part"
            )


def _asked(run: Run, todo: Collection[str]) -> Iterator[tuple[str, str]]:
    if "rank" in todo:
        yield from (("ranking.parts", part) for part in ranked_parts(run))
    if "explain" in todo:
        yield "cases.part", run.config.cases.part
    yield from (("objectives", str(name).partition("_")[0]) for name in run.config.get("objectives") or ())
