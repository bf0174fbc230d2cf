"""A saved run's model, in Python: it recommends to the users of its data, and says why."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from xrec import pipeline
from xrec.config.options import names
from xrec.data.cache import ArrayCache
from xrec.door.explaining import Explaining, Item, Part, Who
from xrec.door.explanation import Explanation
from xrec.errors import RunError, SettingError
from xrec.explain.explainer import Explainer
from xrec.games.fitting import Fitting
from xrec.games.maskers import Masker
from xrec.games.model_game import Rules
from xrec.games.outputs import Output
from xrec.games.players import Players
from xrec.models.history import History
from xrec.models.recommender import Recommender
from xrec.rundir.directory import RunDirectory
from xrec.rundir.saved import SavedRun, require_directory
from xrec.stages.cases import games_of_others
from xrec.stages.fit import load_model
from xrec.stages.learned import MASKER, learned_file
from xrec.stages.run import Run, progress
from xrec.tracking.tracker import NoTracker
from xrec.training.checkpoint import load_tensors
from xrec.types import Case, HistoryTable
from xrec.words import did_you_mean

log = logging.getLogger(__name__)


def load(run: str | Path, *, cache: str | Path | None = None, device: str = "cpu") -> LoadedRun:
    """The model of a saved run on its data. Nothing is trained; data that is no longer in the cache is read again from
    its source, with a word about it.

    Relative paths of the run's config are looked for in the working directory, then in the folders above the run.

    Args:
        run: a run directory, runs/<experiment>/<date_time>. cache: instead of the run's `paths.cache`.
    Raises:
        RunError: no run directory, a damaged one, or one without a fitted model. DataError: the data is gone.
        CheckpointError: the model does not match its record, or was fitted on other data.
    """
    try:
        where = torch.device(device)
    except RuntimeError as error:
        raise SettingError(f"device: got {device!r}, takes cpu, cuda, cuda:0 or mps") from error
    directory = require_directory(Path(run))
    config = pipeline.restore(directory)
    if "fit" not in SavedRun(directory).stages:
        raise RunError(f"{directory} holds no fitted model; finish it with experiments/run.py resume={directory}")
    for name in ("data", "paths"):
        config[name] = _found(OmegaConf.to_container(config[name], resolve=True), directory.resolve())
    arrays = _Telling(Path(cache) if cache is not None else Path(config.paths.cache))
    dataset = pipeline.read_data(config, arrays)
    current = Run(config, RunDirectory(directory), NoTracker(), dataset, arrays, where)
    return LoadedRun(current, load_model(current))


class LoadedRun(Explaining):
    """A saved run. Users and items go by their external ids, histories are those before the first period of a part."""

    def __init__(self, run: Run, model: Recommender) -> None:
        super().__init__(model, run.dataset.catalogue, run.seed, int(run.config.cases.mask_chunk))
        self.run = run
        plain = OmegaConf.to_container(run.config, resolve=True)
        assert isinstance(plain, dict)
        self._settings: dict[Any, Any] = plain
        self._users = {user: code for code, user in enumerate(self.catalogue.user_ids)}

    @property
    def directory(self) -> Path:
        return self.run.store.directory

    @property
    def config(self) -> DictConfig:
        """The run's resolved settings."""
        return self.run.config

    @property
    def users(self) -> Sequence[str]:
        """External ids, in the order of their codes."""
        return self.catalogue.user_ids

    @property
    def items(self) -> Sequence[str]:
        """External ids, in the order of their codes."""
        return self.catalogue.item_ids

    @property
    def explainers(self) -> list[str]:
        """Names that `explain` takes."""
        return names("explainer", self._own("explainer"))

    def history(self, user: str | int, part: str = "test") -> pl.DataFrame:
        """A row per item, latest first: item (id), name, age in periods, strength (summed event weight)."""
        table, code = self._table(part), self._user(user)
        entries = slice(int(table.indptr[code]), int(table.indptr[code + 1]))
        codes = table.item[entries].tolist()
        columns = {
            "item": [self.catalogue.item_ids[i] for i in codes],
            "name": [self._name(i) for i in codes],
            "age": table.age[entries],
            "strength": table.strength[entries],
        }
        frame = pl.DataFrame(columns, schema_overrides={"item": pl.String, "name": pl.String})
        return frame.sort("age", maintain_order=True)

    def recommend(self, user: str | int, n: int = 10, *, among: str = "all", part: str = "test") -> pl.DataFrame:
        """The n best items: rank, item (id), name, score, known (whether the user had it before).

        Args:
            among: 'all' items, those that are 'new' to the user, or those 'known'.
        Raises:
            SettingError: no such user or part.
        """
        return self._recommended(self._who(user, part), n, among)

    def explain(
        self,
        user: str | int,
        item: Item | Sequence[Item] | None = None,
        explainer: str | Explainer = "permutation_shap",
        players: str | Players | None = None,
        versus: Item | None = None,
        *,
        masker: str | Masker | None = None,
        output: str | Output | None = None,
        part: str = "test",
        **options: Any,
    ) -> Explanation:
        """Why this item, for this user. What is not asked for is as the run has it (items, zero and logit, mostly);
        a case that the run explained has the values that it saved, up to rounding.

        Args:
            item: an id; several are explained together, as a list; None: the best new item.
            explainer: a name of `conf/explainer`, with its options as keywords (`budget=2000`), or an object.
            players: a name of `conf/players` or of an item field (`"brand"`), or an object.
            versus: why not this other item: an id, 'next_ranked' or 'most_popular'.
            masker, output: names of `conf/masker` and `conf/output`, or objects.
        Raises:
            SettingError: no such user, item, field or option, or argument of one: names the valid ones; an explainer
                that needs what the model does not have.
        """
        asked = {"players": players, "masker": masker, "output": output}
        return self._explained(self._who(user, part), item, explainer, versus, asked, options)

    def __repr__(self) -> str:
        name = self.config.model.name
        return f"<run {self.directory}: {name}, {len(self.users):,} users, {len(self.items):,} items>"

    def _user(self, user: str | int) -> int:
        if str(user) not in self._users:
            raise SettingError(f"user: no user {str(user)!r} in the data{did_you_mean(str(user), self._users)}")
        return self._users[str(user)]

    def _table(self, part: str) -> HistoryTable:
        return self.run.dataset.histories(self.run.dataset.period(part)[0])

    def _who(self, user: str | int, part: str) -> Who:
        table, code = self._table(part), self._user(user)
        rows = np.array([code])
        known = table.known(rows, self.catalogue.n_items)
        history = History.from_table(table, rows, self.run.device)
        return Who(str(user), f"user {user}", history, known, code, part)

    @property
    def _called(self) -> str:
        return str(self.config.model.name)

    def _own(self, group: str) -> Mapping[str, Any] | None:
        return self._settings.get(group)

    def _fitting(self, rules: Rules | None, case: Case | None) -> Fitting:
        fitting = Fitting(self.run.dataset, self.seed, self.run.device, progress)
        if rules is None or case is None:
            return fitting
        games = functools.partial(games_of_others, self.run, self.model, rules, [case])
        return Fitting(self.run.dataset, self.seed, self.run.device, progress, games)

    def _state(self, part: Part, rules: Mapping[str, Part]) -> Mapping[str, Tensor] | None:
        """What the run saved, where all settings are the run's own."""
        own = self._own("explainer") or {}
        is_masker = isinstance(part.thing, Masker)
        mine = self._own("masker") if is_masker else own.get(part.name)
        same = part.node == mine and all(p.node == self._own(group) for group, p in rules.items())
        saved, file = SavedRun(self.directory), learned_file(MASKER if is_masker else f"explainer.{part.name}")
        return load_tensors(saved.require(file)) if same and saved.has(file) else None


class _Telling(ArrayCache):
    """A cache that says what it has to build anew."""

    def _build(self, target: Path, build: Any) -> Any:
        name = target.name.rpartition("-")[0]
        log.warning("%s is not in the cache %s: it is made again, from the source", name, self.root)
        return super()._build(target, build)


def _found(value: Any, run: Path) -> Any:
    """The same settings, with relative paths that are not there from the working directory, but from a folder above the
    run, as they are from there."""
    if isinstance(value, dict):
        return {key: _found(inner, run) for key, inner in value.items()}
    if not isinstance(value, str) or not value or Path(value).is_absolute() or Path(value).exists():
        return value
    return next((str(folder / value) for folder in run.parents if (folder / value).exists()), value)
