"""Anyone's recommender, in Python: a function from histories to scores is recommended by, explained and measured."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
import torch

from xrec.data.fields import encode_fields
from xrec.data.interactions import SplitInteractions
from xrec.door.explaining import Explaining, Item, Who
from xrec.door.explanation import Explanation
from xrec.errors import SettingError
from xrec.explain.explainer import Explainer
from xrec.games.fitting import Fitting
from xrec.games.maskers import Masker
from xrec.games.model_game import Rules
from xrec.games.outputs import Output
from xrec.games.players import Players
from xrec.models.external import External, Scores
from xrec.models.history import History
from xrec.types import HALF_LIVES, Case, Catalogue, Ints
from xrec.words import counted

#: scores of one history that differ by more than this share of the spread, or of the history's effect, are different
_REPEATS = 1e-3
#: ones; less, and this share of the score itself, is rounding
_ROUNDING = 1e-6


def external(
    scores: Scores,
    item_ids: Sequence[Item],
    *,
    item_names: Mapping[Item, str] | Sequence[str] | None = None,
    fields: Mapping[str, Sequence[Any]] | None = None,
    histories: Sequence[Sequence[Item]] | None = None,
    name: str | None = None,
    seed: int = 0,
    batch_size: int = 1024,
) -> ExternalModel:
    """A recommender of your own, whatever it is made of.

    Args:
        scores: `scores(histories: list[list[str]]) -> array [n, n_items]`; a history lists ids, oldest first. Larger is
            better; columns in the order of `item_ids`. A history may be empty: what is given then is f(empty), which
            Shapley values start from, so let it be what anyone would get, on the scale of the other scores (the mean
            over users, or over histories of one item), not a constant beside them.
        item_ids: ids of the items, text or whole numbers; compared as text.
        item_names: for people: of the ids, or in their order.
        fields: item attributes in the order of `item_ids`, a value, a list of values or None each:
            `{"brand": ["ACME", None, ...]}`; `players="brand"` then explains by brands.
        histories: of other users, what the control `popularity`, the masker `sampled_user` and the foil `most_popular`
            are counted on.
        name: of the model, in frames and errors. seed: of sampling explainers and of ties. batch_size: histories of one
            call.
    Raises:
        SettingError: ids that are not distinct, or names, fields or histories that do not fit them.
    """
    n_users = 0 if histories is None else len(histories)
    if isinstance(item_ids, str) or not isinstance(item_ids, Iterable):
        raise SettingError(f"item_ids: got {item_ids!r}, takes the ids of the columns of scores")
    if histories is not None and not len(histories):
        raise SettingError("histories: got none; leave them out, or give those of other users")
    catalogue = _catalogue([_id(i, "item_ids") for i in item_ids], item_names, fields, n_users)
    return ExternalModel(External(catalogue, scores, name, batch_size), catalogue, seed, histories)


class ExternalModel(Explaining):
    """Anyone's recommender. Histories are lists of item ids, oldest first; an item may be there several times, and
    leaves with all of them."""

    def __init__(
        self, model: External, catalogue: Catalogue, seed: int, histories: Sequence[Sequence[Item]] | None
    ) -> None:
        super().__init__(model, catalogue, seed)
        self._function = model
        others = [[self._code(i, "histories") for i in self._of(h, "histories")] for h in histories or ()]
        self._others = (
            None if histories is None else _interactions(catalogue, [np.array(o, dtype=np.int64) for o in others])
        )

    @property
    def n_scored(self) -> int:
        """Histories that the function has scored so far: equal ones are scored once a batch."""
        return self._function.n_scored

    def recommend(self, history: Sequence[Item], n: int = 10, *, among: str = "new") -> pl.DataFrame:
        """The n best items: rank, item (id), name, score, known (whether it is in the history).

        Args:
            among: 'all' items, those that are 'new', or those 'known'.
        Raises:
            SettingError: an item of the history that is no item of the model; whatever the function does wrong.
        """
        return self._recommended(self._who(history, None), n, among)

    def explain(
        self,
        history: Sequence[Item],
        item: Item | Sequence[Item] | None = None,
        explainer: str | Explainer = "permutation_shap",
        players: str | Players | None = None,
        versus: Item | None = None,
        *,
        masker: str | Masker | None = None,
        output: str | Output | None = None,
        user: str | None = None,
        **options: Any,
    ) -> Explanation:
        """Why this item, for this history; see `LoadedRun.explain`. Explainers that look inside the model (attention,
        gradients, additive parts) are refused: nothing is known of it but its scores.

        Args:
            user: a name for whose history it is; random numbers are keyed by it.
        """
        asked = {"players": players, "masker": masker, "output": output}
        e = self._explained(self._who(history, user), item, explainer, versus, asked, options)
        self._check_repeatable(e)
        return e

    def __repr__(self) -> str:
        return f"<external model {self._function.called}: {counted(self.catalogue.n_items, 'item')}>"

    def _who(self, history: Sequence[Item], user: str | None) -> Who:
        ids = self._of(history, "history")
        codes = np.array([self._code(item, "history") for item in ids], dtype=np.int64)
        known = np.zeros((1, self.catalogue.n_items), dtype=bool)
        known[0, codes] = True
        key = f"history {hashlib.sha256(json.dumps(ids).encode()).hexdigest()[:8]}" if user is None else str(user)
        return Who(key, "this history" if user is None else str(user), _history(codes), known)

    @property
    def _called(self) -> str:
        return self._function.called

    @property
    def _whose(self) -> str:
        return f"model {self._called}, of which only scores are known,"

    def _check_repeatable(self, e: Explanation) -> None:
        """Raises: SettingError, when the function gives another score for the whole history than before, or for a part
        of it when that stands alone."""
        whole = e.game.whole()
        part = whole.copy()
        part[0, 0, 0] = False
        again, beside = e.game.values(np.concatenate([whole, part], axis=1), uncounted=2)[0].tolist()
        alone = float(e.game.values(part, uncounted=1)[0, 0])
        close = _REPEATS * max(float(e.game.spread()[0]), abs(e.f_x - e.f_empty)) + _ROUNDING * abs(e.f_x)
        for one, other in ((e.f_x, again), (beside, alone)):
            if abs(one - other) > close:
                raise SettingError(
                    f"model {self._called} gives one score and then another for the same history ({one:.6g}, "
                    f"{other:.6g}), so that no difference means anything; switch off its dropout or sampling, and what "
                    "makes a score depend on the histories beside it"
                )

    def _of(self, history: Sequence[Item], what: str) -> list[str]:
        if isinstance(history, str | set | frozenset | Mapping) or not isinstance(history, Iterable):
            raise SettingError(f"{what}: got {type(history).__name__} {history!r}, takes a list of ids, oldest first")
        return [_id(item, what) for item in history]

    def _fitting(self, rules: Rules | None, case: Case | None) -> Fitting:
        if self._others is None:
            raise SettingError(
                "this needs histories of other users to count on: give them as "
                "xrec.external(scores, item_ids, histories=[[...], ...])"
            )
        return Fitting(self._others, self.seed, torch.device("cpu"), _quiet)


def _id(given: Any, what: str) -> str:
    if isinstance(given, bool) or not isinstance(given, str | int | np.integer):
        raise SettingError(f"{what}: got {given!r} ({type(given).__name__}), takes text or whole numbers as ids")
    return str(given)


def _catalogue(
    ids: Sequence[str],
    item_names: Mapping[Item, str] | Sequence[str] | None,
    fields: Mapping[str, Sequence[Any]] | None,
    n_users: int,
) -> Catalogue:
    if not ids:
        raise SettingError("item_ids: got none, takes the ids of the columns of scores")
    if len(set(ids)) < len(ids):
        twice = next(i for n, i in enumerate(ids) if i in ids[:n])
        raise SettingError(f"item_ids: {twice!r} is there twice; every column of scores is another item")
    if isinstance(item_names, Mapping):
        named = {str(i): str(name) for i, name in item_names.items()}
        item_names = [named.get(i, i) for i in ids]
    for name, values in {**({"item_names": item_names} if item_names is not None else {}), **(fields or {})}.items():
        if len(values) != len(ids):
            raise SettingError(f"{name}: got {len(values)} values for {len(ids)} items; takes one each, in their order")
    if "item" in (fields or {}):
        raise SettingError("fields: 'item' is what the items themselves are called; give the field another name")
    columns = {name: _column(list(values)) for name, values in (fields or {}).items()}
    everywhere = np.ones(len(ids), dtype=bool)
    encoded = encode_fields(pl.DataFrame({"item": ids, **columns}), "item", pl.Series(ids), everywhere, 1)
    users = tuple(map(str, range(n_users)))
    return Catalogue(ids, ids if item_names is None else [str(n) for n in item_names], encoded, users)


def _column(values: list[Any]) -> pl.Series:
    """Numbers stay numbers, whatever else there is are categories: of one value an item, or of a list; None and nan are
    missing."""
    values = [None if isinstance(v, float | np.floating) and np.isnan(v) else v for v in values]
    if any(isinstance(v, list | tuple | set) for v in values):
        lists = [
            None if v is None else [str(x) for x in (v if isinstance(v, list | tuple | set) else [v])] for v in values
        ]
        return pl.Series([v if v is None else sorted(v) for v in lists], dtype=pl.List(pl.String))
    if all(v is None or (isinstance(v, int | float | np.number) and not isinstance(v, bool)) for v in values):
        return pl.Series(values, dtype=pl.Float64)
    return pl.Series([None if v is None else str(v) for v in values], dtype=pl.String)


def _history(codes: Ints) -> History:
    """Items as they stand, the last one of age 1; one that is there twice has two places."""
    n = max(1, len(codes))
    age = torch.arange(n, 0, -1, dtype=torch.float32).unsqueeze(0)
    there = torch.full((1, n), float(len(codes) > 0))
    item = torch.from_numpy(codes).unsqueeze(0) if len(codes) else torch.zeros((1, n), dtype=torch.int64)
    half = torch.tensor(HALF_LIVES)
    return History(
        item=item,
        age=age * there,
        first_age=age * there,
        strength=there,
        n_periods=there,
        kind=torch.zeros_like(item),
        positive=there,
        decayed=0.5 ** (age.unsqueeze(-1) / half) * there.unsqueeze(-1),
        presence=there,
        moment=n + 1,
    )


def _interactions(catalogue: Catalogue, histories: Sequence[Ints]) -> SplitInteractions:
    """The histories of other users as training data; periods count a user's own events."""
    end = max((len(codes) for codes in histories), default=0)
    user = np.repeat(np.arange(len(histories)), [len(codes) for codes in histories])
    item = np.concatenate([np.zeros(0, dtype=np.int64), *histories])
    time = np.concatenate([np.zeros(0, dtype=np.int64), *(np.arange(len(codes)) for codes in histories)])
    order = np.lexsort((time, item, user))
    one = np.ones(len(user), dtype=np.float32)
    return SplitInteractions(
        user[order], item[order], time[order], one, np.zeros(len(user), dtype=np.uint8), catalogue,
        train_end=end, parts={}, fingerprint="", card={},
    )  # fmt: skip


def _quiet(iterable: Any, *, total: int | None = None, description: str = "") -> Iterator[Any]:
    return iter(iterable)
