"""Cells and words that all tables over seeds share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from xrec.report.metrics import label
from xrec.report.repeats import Contrast, Estimate
from xrec.rundir.several import Arm, Several
from xrec.rundir.table import Results
from xrec.stats.bootstrap import LEVEL, N_RESAMPLES
from xrec.words import counted, listed


class Column(NamedTuple):
    """What a column of a table is about; `direction` is which way is better, or ''."""

    metric: str
    variant: str | None
    k: int | None
    step: float | None
    direction: str

    def cell(self, results: Results) -> dict[str, Any]:
        """What all cells of the column have in common."""
        metric = results.metric(self.metric)
        heading = label(metric, self.variant, self.k, self.step)
        about = {"metric": self.metric, "variant": self.variant, "k": self.k, "step": self.step}
        return about | {"column": heading, "better": self.direction, "form": metric.form}


def mean_cell(shared: Mapping[str, Any], found: Estimate, test: tuple[Contrast, float] | None = None) -> dict[str, Any]:
    """Mean with its interval; of a test the difference, the corrected p, and the mark, where mean and ranks agree."""
    cell = dict(shared) | {"value": found.value, "low": found.low, "high": found.high}
    cell |= {"n_users": found.n_users, "n_cases": found.n_cases}
    if test is None:
        return cell
    difference, p = test[0].estimate.value, test[1]
    return cell | {"difference": difference, "p": p, "mark": _mark(test[0], p, shared["better"])}


def _mark(found: Contrast, p: float, better: str) -> str:
    """'*' better or '†' worse, doubled below .01; nothing where a few large differences turn the mean another way than
    the ranks that were tested."""
    difference = found.estimate.value
    if p >= 0.05 or better not in ("higher", "lower") or difference * found.rank <= 0:
        return ""
    sign = "*" if (difference > 0) == (better == "higher") else "†"
    return sign * (2 if p < 0.01 else 1)


def spread_cell(shared: Mapping[str, Any], found: Estimate) -> list[dict[str, Any]]:
    """Standard deviation of the seeds' means; nothing for one seed."""
    return [] if found.spread is None else [dict(shared) | {"value": found.spread}]


def difference_cells(
    shared: Mapping[str, Any], blocks: Mapping[str, str], found: Contrast, p: float
) -> list[dict[str, Any]]:
    """Difference, corrected p and seeds ahead, each in its block of `blocks` (difference, p, ahead)."""
    test = {"difference": found.estimate.value, "p": p, "n_users": found.estimate.n_users}
    difference = mean_cell(shared, found.estimate, (found, p))
    difference |= {"block": blocks["difference"], "form": f"+{shared['form'].lstrip('+')}"}
    cells = [difference, {**shared, **test, "block": blocks["p"], "value": p, "form": "p"}]
    if found.ahead is not None and "ahead" in blocks:
        cells.append({**shared, "block": blocks["ahead"], "value": float(found.ahead), "form": ".0f"})
    return cells


def n_repetitions(several: Several) -> int:
    """The most repetitions that an arm has."""
    return max(len(arm.runs) for arm in several.arms)


def ahead_words(several: Several) -> str:
    return f"{several.unit}s ahead"


def spread_words(several: Several) -> str:
    return f"SD over {several.unit}s"


def arms_words(several: Several) -> str:
    """Which arms, at which seeds; what they differ in; which runs were left out."""
    text = _names_words(several)
    if several.differing:
        shown = several.differing[:8]
        more = f" and {counted(len(several.differing) - 8, 'more setting')}" if len(several.differing) > 8 else ""
        text += f" The arms differ in {listed(shown)}{more}."
    if apart := [arm.name for arm in several.arms if several.apart(arm)]:
        text += (
            f" No {several.unit} in common with {several.reference.name}: {listed(apart)}; tests pair the users' means "
            f"over {several.unit}s, and differences have no interval."
        )
    elif len({tuple(arm.runs) for arm in several.arms}) > 1:
        text += f" Arms are paired at the {several.unit}s that both have."
    if several.unfinished:
        names = listed(path.name for path in several.unfinished)
        text += f" Left out: {counted(len(several.unfinished), 'unfinished run')} ({names})."
    return text


def _names_words(several: Several) -> str:
    times = {arm.name: _repetitions(several, arm) for arm in several.arms}
    if len(set(times.values())) == 1:
        each = "each at " if len(times) > 1 else ""
        return f"{'Arms' if len(times) > 1 else 'Runs of'} {listed(times)}, {each}{times[several.reference.name]}."
    return f"Arms {'; '.join(f'{name} ({words})' for name, words in times.items())}."


def _repetitions(several: Several, arm: Arm) -> str:
    words = several.repetition_words(arm)
    if several.unit == "seed":
        numbers = [str(repetition.seed) for repetition in arm.runs]
        return f"seed{'s' if len(numbers) > 1 else ''} {listed(numbers)}"
    return f"{counted(len(words), 'repetition')}: {'; '.join(words)}"


def interval_words(several: Several) -> str:
    """How means and intervals came about."""
    if n_repetitions(several) == 1:
        return f"Mean over users [{LEVEL:.0%} percentile bootstrap interval, {N_RESAMPLES:,} resamples of users]"
    unit = several.unit
    return (
        f"Mean over {unit}s of means over users [{LEVEL:.0%} interval over users and {unit}s: {N_RESAMPLES:,} "
        f"bootstrap resamples of users, the {unit}s' share by Student's t]"
    )


def tested_words(several: Several) -> str:
    """What marks mean."""
    averaged = f", each user's differences averaged over the {several.unit}s" if n_repetitions(several) > 1 else ""
    return f"Wilcoxon signed-rank over users{averaged}; no mark where ranks and mean point to opposite sides"


def ahead_note(several: Several) -> str:
    """What the last blocks say that the tests do not."""
    if n_repetitions(several) == 1:
        return ""
    unit = several.unit
    return (
        f" The tests ask about other users at these {unit}s; what other {unit}s would do is told by the intervals, by "
        f"the SD of the {unit}s' means, and by the number of {unit}s ahead (of {n_repetitions(several)})."
    )
