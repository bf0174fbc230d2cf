"""Training windows and the monitored metric where none are given: by the split and by how far training reaches."""

from __future__ import annotations

import numpy as np

from xrec.data.interactions import SplitInteractions

#: where periods count a user's own events: those of conf/training/next_item.yaml, latest first
NEXT_ITEM = (-1, -2, -3, -5, -9)
#: of a calendar: windows so many horizons before the end of training, earliest first
CALENDAR = (4.0, 2.5, 1.0)


def derived_horizon(dataset: SplitInteractions, own_periods: bool) -> int:
    """1 where periods count a user's own events; else the length of the first part that is held out (validation), but
    at most half of the training periods, so that there is a history before a window.

    Args:
        own_periods: see `xrec.data.split.assigned.Split`.
    """
    if own_periods:
        return 1
    first, last = next(iter(dataset.parts.values()))
    n_training = dataset.train_end + 1 - int(dataset.time.min())
    return max(1, min(last - first + 1, n_training // 2))


def derived_windows(dataset: SplitInteractions, own_periods: bool, horizon: int) -> list[int]:
    """Of the usual windows those that have a user with a history before and a target in them; the latest one in any
    case, of which the training says what is wrong with it."""
    if own_periods:
        usual = sorted({w - horizon + 1 for w in NEXT_ITEM}, reverse=True)
        latest = usual[0]
    else:
        usual = sorted({-int(times * horizon + 0.5) for times in CALENDAR})
        latest = usual[-1]
    return [w for w in usual if w == latest or _has_example(dataset, w, horizon)]


def derived_monitor(repeats: bool) -> str:
    """Of all targets where users have items again in training, else of new ones."""
    return f"validation/ndcg_at_10/{'all' if repeats else 'new'}"


def _has_example(dataset: SplitInteractions, window: int, horizon: int) -> bool:
    moment = dataset.train_end + 1 + window
    if moment <= int(dataset.time.min()):
        return False
    targets = dataset.targets(moment, moment + horizon - 1)
    return bool(((dataset.histories(moment).lengths() > 0) & (np.diff(targets.indptr) > 0)).any())
