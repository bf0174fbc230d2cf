"""Several runs read together, in arms: which runs belong together, what cannot be compared, what is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import polars as pl

from xrec.errors import RunError
from xrec.plan import CONFIG
from xrec.rundir.arms import (
    REPEATED,
    Flat,
    Repetition,
    arm_names,
    canonical,
    differing,
    repetition_of,
    repetition_order,
    settings_of,
    split_data,
)
from xrec.rundir.record import RECORD
from xrec.rundir.saved import SavedRun, require_directory
from xrec.rundir.study import is_study, runs_in
from xrec.rundir.table import SCHEMA, Results
from xrec.words import did_you_mean, listed

#: columns beside those of the results: whose row it is, and whether it is about the model under study
COLUMNS = {**SCHEMA, "arm": pl.String, "repetition": pl.Int64, "main": pl.Boolean}


@dataclass(frozen=True)
class Arm:
    """Runs of one config, by repetition (sorted)."""

    name: str
    runs: Mapping[Repetition, Path]


@dataclass(frozen=True)
class Several:
    """Runs in arms, the reference first.

    unfinished: runs that were left out -> the stages they lack, none where nothing was begun. differing: settings in
    which the arms differ, of a part that was chosen otherwise the part only.
    """

    arms: tuple[Arm, ...]
    unfinished: Mapping[Path, Sequence[str]]
    differing: tuple[str, ...] = ()

    @property
    def reference(self) -> Arm:
        """The arm that the others are tested against."""
        return self.arms[0]

    @cached_property
    def repetitions(self) -> list[Repetition]:
        """Those of all arms, sorted; rows name them by their place in here."""
        return sorted({r for arm in self.arms for r in arm.runs}, key=repetition_order)

    def repetition_words(self, arm: Arm) -> list[str]:
        """The repetitions of an arm, in words."""
        return [r.words(self.repetitions) for r in arm.runs]

    def apart(self, arm: Arm) -> bool:
        """Whether an arm has no repetition in common with the reference."""
        return not set(arm.runs) & set(self.reference.runs)

    @property
    def unit(self) -> str:
        """What arms were repeated over: 'seed', or 'repetition' where splits were drawn again as well."""
        return "repetition" if len({r[1:] for r in self.repetitions}) > 1 else "seed"

    @cached_property
    def results(self) -> Results:
        """Rows of ranking and fidelity of all runs, whole models, metrics plain and normalised, with `COLUMNS`.

        Raises:
            RunError: a file of a run is damaged.
        """
        frames, metrics, reference = [], {}, None
        for arm in self.arms:
            for repetition, path in arm.runs.items():
                run = SavedRun(path)
                frames.append(_rows(run, arm.name, self.repetitions.index(repetition)))
                metrics |= {name: m for name, m in run.results.metrics.items() if name not in metrics}
                reference = reference or run.results.reference
        return Results(pl.concat(frames), metrics, reference)

    def left_out_words(self) -> list[str]:
        """A line for each unfinished run: what it lacks, and what to do."""
        return [f"{path} is left out: {_unfinished_words(path, stages)}" for path, stages in self.unfinished.items()]

    def with_reference(self, name: str | None) -> Several:
        """The same with another arm first.

        Raises:
            RunError: no arm is called so.
        """
        if name is None:
            return self
        names = [arm.name for arm in self.arms]
        if name not in names:
            raise RunError(f"no arm is called {name!r}{did_you_mean(name, names)} (arms: {listed(names)})")
        return replace(self, arms=tuple(sorted(self.arms, key=lambda arm: arm.name != name)))


def _rows(run: SavedRun, arm: str, repetition: int) -> pl.DataFrame:
    of_stage = pl.col("stage").is_in(["rank", "fidelity"]) & pl.col("component").is_null()
    main = pl.col("model") == str((run.config.get("model") or {}).get("name"))
    kept = pl.col("variant").is_null() | (pl.col("variant") == "normalised")
    frame = run.results.frame.filter(of_stage & kept)
    return frame.with_columns(arm=pl.lit(arm), repetition=pl.lit(repetition, pl.Int64), main=main).select(list(COLUMNS))


def is_multirun(directory: Path) -> bool:
    """Whether the directory holds numbered runs, and is neither a run nor a study itself."""
    alone = (directory / CONFIG).is_file() or is_study(directory)
    return not alone and any((run / name).is_file() for run in runs_in(directory) for name in (CONFIG, RECORD))


def read_several(directories: Sequence[Path], labels: Sequence[str] | None = None) -> Several:
    """Group runs into arms, in the order in which they are given.

    Args:
        directories: run directories; a multirun stands for its runs.
        labels: names of the arms; one per arm in their order, or one per run, and runs of one label are an arm.

    Raises:
        RunError: a directory holds no run, a run is damaged, none is finished; runs differ in data, split or ranked
            users; two runs are the same repetition of the same arm; labels do not fit.
    """
    given = [run for directory in directories for run in _runs(directory)]
    runs, unfinished = _finished(given)
    settings = [split_data(settings_of(run.config)) for run in runs]
    _refuse_other_data(runs, [data for data, _ in settings])
    own = [other for _, other in settings]
    members = _members(own, None if labels is None or len(labels) != len(given) else _kept(labels, given, runs))
    kinds = [own[numbers[0]] for numbers in members.values()]
    names = _names(list(members), kinds, labels, runs, len(given))
    arms = [_arm(name, [runs[i] for i in numbers]) for name, numbers in zip(names, members.values(), strict=True)]
    several = Several(tuple(arms), unfinished, tuple(differing(kinds)))
    _refuse_other_users(several)
    return several


def _runs(directory: Path) -> list[Path]:
    """The runs that a directory stands for."""
    require_directory(directory)
    if is_study(directory):
        raise RunError(f"{directory} is a study, whose trials differ by design: give run directories, or a multirun")
    if (directory / CONFIG).is_file():
        return [directory]
    if not (found := runs_in(directory)):
        raise RunError(f"{directory} holds no run (no config.yaml) and is no multirun (no numbered runs in it)")
    return found


def _finished(directories: Sequence[Path]) -> tuple[list[SavedRun], dict[Path, list[str]]]:
    """The finished runs, whole; and the others, with the stages they lack.

    Raises: RunError, when a run is damaged or none is finished.
    """
    runs: list[SavedRun] = []
    unfinished: dict[Path, list[str]] = {}
    for directory in directories:
        run = SavedRun(directory)
        wanted = run.config.get("stages")
        lacking = [stage for stage in wanted or () if stage not in run.stages]
        if lacking or wanted is None:
            unfinished[directory] = lacking
        else:
            run.check()
            runs.append(run)
    if not runs:
        words = [f"{path} {_unfinished_words(path, stages)}" for path, stages in unfinished.items()]
        raise RunError(f"no run is finished: {'; '.join(words)}")
    return runs, unfinished


def _unfinished_words(path: Path, stages: Sequence[str]) -> str:
    if not stages:
        return "no run was begun there"
    return f"it has not finished {listed(stages)} (`python experiments/run.py resume={path}` does)"


def _refuse_other_data(runs: Sequence[SavedRun], data: Sequence[Flat]) -> None:
    """Raises: RunError, when two runs are not of the same data and split, seeds and folds of the split apart."""
    for run, own in zip(runs, data, strict=True):
        if paths := differing([data[0], own]):
            shown = [_change(path, data[0], own) for path in paths]
            raise RunError(
                f"{runs[0].directory} and {run.directory} cannot be compared: they differ in {listed(shown)}; give "
                "runs of one data set and one split"
            )
    for one, other in combinations(runs, 2):
        same_draw = repetition_of(one.config)[1:] == repetition_of(other.config)[1:]
        if same_draw and one.record.data_sha256 != other.record.data_sha256:
            raise RunError(
                f"{one.directory} and {other.directory} cannot be compared: the same settings read other data "
                f"(sha256 {str(one.record.data_sha256)[:12]}, {str(other.record.data_sha256)[:12]}); give runs of the "
                "same files, read by the same version of xrec"
            )


def _change(path: str, first: Flat, second: Flat) -> str:
    leaf = path in first and path in second
    return f"{path} ({first[path]}, {second[path]})" if leaf else path


def _kept(labels: Sequence[str], given: Sequence[Path], runs: Sequence[SavedRun]) -> list[str]:
    """The labels of the finished runs."""
    finished = {run.directory for run in runs}
    return [label for label, path in zip(labels, given, strict=True) if path in finished]


def _members(settings: Sequence[Flat], labels: Sequence[str] | None) -> dict[str, list[int]]:
    """What an arm is told by -> places of its runs: their settings, or the labels of the runs where there are any.

    Raises: RunError, when runs of one label have other settings.
    """
    members: dict[str, list[int]] = {}
    for place, own in enumerate(settings):
        members.setdefault(canonical(own) if labels is None else labels[place], []).append(place)
    for label, places in members.items() if labels is not None else ():
        if paths := differing([settings[place] for place in places]):
            raise RunError(f"label {label!r} stands for runs that differ in {listed(paths)}; give them other labels")
    return members


def _names(
    keys: Sequence[str], kinds: Sequence[Flat], labels: Sequence[str] | None, runs: Sequence[SavedRun], n_given: int
) -> list[str]:
    """Raises: RunError, when labels are neither one per run nor one per arm, or name two arms alike."""
    if labels is None:
        return arm_names(kinds) if len(kinds) > 1 else [str((runs[0].config.get("model") or {}).get("name"))]
    if len(labels) == n_given:
        return list(keys)
    if len(labels) != len(kinds) or len(set(labels)) < len(labels):
        raise RunError(
            f"labels: got {listed(labels)}; takes one of its own per arm ({len(kinds)}: "
            f"{'; '.join(arm_names(kinds)) if len(kinds) > 1 else 'all runs are one arm'}), or one per run ({n_given})"
        )
    return list(labels)


def _arm(name: str, runs: Sequence[SavedRun]) -> Arm:
    """Raises: RunError, when two runs are the same repetition."""
    members: dict[Repetition, Path] = {}
    for run in runs:
        repetition = repetition_of(run.config)
        if repetition in members:
            raise RunError(
                f"{members[repetition]} and {run.directory} are the same arm ({name}) with the same "
                f"{', '.join(REPEATED)}: give one of them, or two labels"
            )
        members[repetition] = run.directory
    return Arm(name, {r: members[r] for r in sorted(members, key=repetition_order)})


def _refuse_other_users(several: Several) -> None:
    """Raises: RunError, when runs of the same draw of the split were not ranked on the same users of a group."""
    rows = several.results.frame.filter(pl.col("main") & (pl.col("stage") == "rank") & pl.col("user").is_not_null())
    of_group = rows.group_by("part", "group", "arm", "repetition").agg(pl.col("user").unique())
    paths = {arm.name: arm.runs for arm in several.arms}
    seen: dict[tuple[Any, ...], tuple[Path, set[str]]] = {}
    for part, group, arm, place, users in of_group.sort("part", "group", "repetition", "arm").iter_rows():
        repetition = several.repetitions[place]
        path = paths[arm][repetition]
        first, expected = seen.setdefault((part, group, *repetition[1:]), (path, set(users)))
        if expected != set(users):
            raise RunError(
                f"{first} and {path} cannot be compared: they were not ranked on the same users ({group} targets of "
                f"{part}: {len(expected)} and {len(users)} users, {len(expected & set(users))} in both)"
            )
