"""Anyone's recommender: a function from histories, as lists of item ids, to scores."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xrec.errors import SettingError
from xrec.models.history import History
from xrec.models.recommender import Capabilities, Context, Recommender
from xrec.types import Catalogue, Ints

#: scores(histories: list[list[str]]) -> array [n, n_items]; or scores(histories, item_ids), the ids of the columns
Scores = Callable[..., Any]


class External(Recommender):
    """A recommender that is a function. A history is a list of item ids, oldest first (by an item's last event; of
    equal ages the one that was there first, then by id); an empty one is legal and gives what nobody in particular
    would be recommended. A masked copy is a shorter history. Equal ones are scored once a call of `score`.

    Presence is there or not: nothing shortens a history by a fraction of an item, so fractional presence is refused.

    Args:
        function: `scores(histories) -> [n, n_items]` with columns in the order of the catalogue; one that has an
            argument `item_ids` is also given that order. Anything that numpy makes an array of numbers of.
        scores: its name, for errors; the import path, in a config.
        batch_size: histories of one call.
    """

    capabilities = Capabilities()

    def __init__(
        self, catalogue: Catalogue, function: Scores, scores: str | None = None, batch_size: int = 1024
    ) -> None:
        super().__init__()
        made_of = getattr(function, "func", function)  # a config gives a partial
        if not callable(function) or inspect.isclass(made_of):
            what = f"the class {made_of.__name__}" if inspect.isclass(made_of) else type(function).__name__
            raise SettingError(
                f"external: scores is {what}, takes a function: "
                "scores(histories: list[list[str]]) -> array [n, n_items]"
            )
        if batch_size < 1:
            raise SettingError(f"external: batch_size must be at least 1, got {batch_size}")
        self.n_items = catalogue.n_items
        self.item_ids = tuple(catalogue.item_ids)
        self.function, self.batch_size = function, batch_size
        self.called = scores or getattr(function, "__name__", type(function).__name__)
        self._takes_ids = _has_argument(function, "item_ids")
        #: histories that the function has scored so far
        self.n_scored = 0

    def prepare(self, history: History) -> Context:
        """Items [B, L] oldest first, and the places they have in the history."""
        history_columns = (t.cpu().numpy() for t in (history.presence, history.age, history.first_age, history.item))
        there, age, first, item = history_columns
        order = np.lexsort((item, -first, -age, there == 0))  # padding last
        place = torch.from_numpy(order).to(history.item.device)
        return Context(history, tables={"place": place, "item": history.item.gather(1, place)})

    def score(self, context: Context, presence: Tensor | None = None, targets: Tensor | None = None) -> Tensor:
        present = context.presence(presence)
        if bool(((present != 0) & (present != 1)).any()):
            raise SettingError(
                f"model {self.called}: presence must be 0 or 1, since a masked history is a shorter list of items; "
                "take a masker and an explainer that remove items as a whole (masker=zero or sampled_user)"
            )
        n_histories, n_copies, _ = present.shape
        place = context.tables["place"].unsqueeze(1).expand_as(present)
        item = context.tables["item"].unsqueeze(1)
        copies = torch.where(present.gather(2, place) > 0, item, -1).flatten(0, 1).cpu().numpy()
        distinct, which = np.unique(copies, axis=0, return_inverse=True)
        columns = None if targets is None else np.repeat(targets.cpu().numpy(), n_copies, axis=0)
        scores = self._scored(distinct, which.reshape(-1), columns)
        return torch.from_numpy(scores).to(present.device).unflatten(0, (n_histories, n_copies))

    def _scored(self, distinct: Ints, which: Ints, columns: Ints | None) -> np.ndarray:
        """[n, T] scores of the copies `which` [n] of distinct histories [k, L], at columns [n, T] (None: all)."""
        by_history = np.argsort(which, kind="stable")
        pieces = []
        for first in range(0, len(distinct), self.batch_size):
            start, end = np.searchsorted(which[by_history], (first, first + self.batch_size))
            rows = by_history[start:end]
            found = self._call(distinct[first : first + self.batch_size])
            mine = found[which[rows] - first]
            pieces.append(mine if columns is None else np.take_along_axis(mine, columns[rows], axis=1))
        scores = np.concatenate(pieces)
        result = np.empty_like(scores)
        result[by_history] = scores
        return result

    def _named(self, rows: Ints) -> list[list[str]]:
        """Lists of their own, for the function may do with them what it likes."""
        return [[self.item_ids[code] for code in row[row >= 0].tolist()] for row in rows]

    def _call(self, rows: Ints) -> np.ndarray:
        """[n, n_items] what the function says of histories [n, L], -1 where nothing is; checked."""
        self.n_scored += len(rows)
        arguments = (self._named(rows), list(self.item_ids)) if self._takes_ids else (self._named(rows),)
        try:
            found = self.function(*arguments)
        except Exception as error:
            raise SettingError(f"model {self.called} failed {_about(self._named(rows))}: {_said(error)}") from error
        scores = _as_array(found, self.called)
        if scores.shape != (len(rows), self.n_items):
            raise SettingError(
                f"model {self.called} gave scores of shape {scores.shape} {_about(self._named(rows))}, expected "
                f"{(len(rows), self.n_items)}: histories, items in the order of item_ids"
            )
        if (bad := ~np.isfinite(scores)).any():
            row, column = np.argwhere(bad)[0]
            raise SettingError(
                f"model {self.called} gave {scores[row, column]} as the score of {self.item_ids[column]!r} "
                f"{_about(self._named(rows[row : row + 1]))}. Where there is no score, give the lowest one; do not "
                "hide items of the history: xrec leaves them out itself where they are no candidates"
            )
        return scores


def _has_argument(function: Scores, name: str) -> bool:
    try:
        return name in inspect.signature(function).parameters
    except (TypeError, ValueError):  # written in C: it takes histories
        return False


def _as_array(found: Any, called: str) -> np.ndarray:
    """Whatever was given as a float array of its own precision."""
    if found is None:
        raise SettingError(f"model {called} gave None: is a return missing?")
    try:
        if hasattr(found, "toarray"):  # scipy's sparse matrices
            found = found.toarray()
        if isinstance(found, Tensor):
            found = (found.to_dense() if found.layout != torch.strided else found).detach().cpu()
            found = found.float() if found.dtype in (torch.bfloat16, torch.float16) else found
        array = np.asarray(np.ma.filled(found, np.nan) if np.ma.isMaskedArray(found) else found)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"its values are of type {array.dtype}")
        array = array if array.dtype.kind == "f" else array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise SettingError(f"model {called} gave no array of numbers but {type(found).__name__} ({error})") from error
    return np.ascontiguousarray(array, dtype=array.dtype if array.dtype.itemsize in (4, 8) else np.float32)


def _about(histories: Sequence[list[str]]) -> str:
    shown = f"{histories[0][:5]}{' and more' if len(histories[0]) > 5 else ''}"
    empty = "; an empty history is legal, and gives what anyone would be recommended" if [] in histories else ""
    first = "for the history" if len(histories) == 1 else f"for {len(histories)} histories, the first"
    return f"{first} {shown}{empty}"


def _said(error: Exception) -> str:
    """What an error of somebody's function says, and where: its traceback is not printed."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {' '.join(str(error).split())} ({place.filename}, line {place.lineno})"
