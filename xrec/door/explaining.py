"""From words to games: what Python callers name (an explainer, players, an item) becomes a game of one case."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from xrec.config.options import built, names, node_of
from xrec.door.explanation import Explanation, at_least_one
from xrec.errors import SettingError
from xrec.explain.explainer import Explainer
from xrec.games.fitting import Fitting, Learner, training_users
from xrec.games.game import Game
from xrec.games.maskers import Masker
from xrec.games.model_game import ModelGame, Rules
from xrec.games.outputs import Choice, List, Margin, Output
from xrec.games.players import Field, Players
from xrec.models.history import History
from xrec.models.recommender import Recommender, checked_scores
from xrec.ranking.evaluate import best_rank, top_items
from xrec.types import Bools, Case, Catalogue, Ints
from xrec.words import did_you_mean, listed

AMONG = ("all", "new", "known")
#: what is taken where neither a run nor a caller says anything
DEFAULTS = {"players": "items", "masker": "zero", "output": "logit"}
Node = Mapping[str, Any]
Item = str | int


@dataclass(frozen=True)
class Who:
    """Somebody with a history. code: among the users of the data, -1 for a stranger. known [1, I]: items that are not
    new to them. Random numbers are keyed by `user` and `part`. called: for people."""

    user: str
    called: str
    history: History
    known: Bools
    code: int = -1
    part: str = "test"


@dataclass(frozen=True)
class Part:
    """An option that was chosen. node: what it was built from; None: the caller built it."""

    name: str
    node: Node | None
    thing: Any

    def key(self) -> object:
        return id(self.thing) if self.node is None else [self.name, self.node]


class Explaining(ABC):
    """What a saved run's model and anyone's recommender have in common: they recommend, and are explained."""

    def __init__(self, model: Recommender, catalogue: Catalogue, seed: int, mask_chunk: int = 256) -> None:
        self.model, self.catalogue, self.seed, self.mask_chunk = model, catalogue, seed, mask_chunk
        self._learned: dict[str, Learner] = {}
        self._codes = {item: code for code, item in enumerate(catalogue.item_ids)}

    @abstractmethod
    def _fitting(self, rules: Rules | None, case: Case | None) -> Fitting:
        """What learners are fitted on; with rules and a case also games like this one, of other users.

        Raises:
            SettingError: there is nothing to fit on.
        """

    def _own(self, group: str) -> Node | None:
        """What a saved run has chosen in a group; None: nothing."""
        return None

    def _state(self, part: Part, rules: Mapping[str, Part]) -> Mapping[str, Tensor] | None:
        """What this masker or explainer has learned before; None: it is to be fitted."""
        return None

    # recommending

    def _recommended(self, who: Who, n: int, among: str) -> pl.DataFrame:
        if among not in AMONG:
            raise SettingError(f"recommend: among is {among!r}, takes {listed(AMONG)}{did_you_mean(among, AMONG)}")
        at_least_one("recommend", n)
        allowed = {"all": np.ones_like(who.known), "new": ~who.known, "known": who.known}[among]
        codes, scores = _best(self._scores(who), allowed, n)
        columns = {
            "rank": range(1, len(codes) + 1),
            "item": [self.catalogue.item_ids[i] for i in codes],
            "name": [self._name(i) for i in codes],
            "score": scores,
            "known": who.known[0, codes].tolist(),
        }
        schema = {"rank": pl.Int64, "item": pl.String, "name": pl.String, "score": pl.Float64, "known": pl.Boolean}
        return pl.DataFrame(columns, schema=schema)

    def _scores(self, who: Who) -> Tensor:
        """[1, I]"""
        with torch.no_grad():
            return checked_scores(self.model, self.model.prepare(who.history))[:, 0]

    def _name(self, code: int) -> str:
        return self.catalogue.item_names[code] or self.catalogue.item_ids[code]

    # explaining

    def _explained(
        self,
        who: Who,
        item: Item | Sequence[Item] | None,
        explainer: str | Explainer,
        versus: Item | None,
        asked: Mapping[str, Any],
        options: Mapping[str, Any],
    ) -> Explanation:
        """asked: players, masker and output; None where the run, or else `DEFAULTS`, decides."""
        if not bool((who.history.presence > 0).any()):
            raise SettingError(f"explain: {who.called} has no items, so none of them can be a reason")
        chosen = self._explainer(explainer, options)
        parts = {
            "players": self._players(asked["players"]),
            "masker": self._part("masker", asked["masker"], Masker),
            "output": self._output(asked["output"], versus, several=_is_several(item)),
        }
        scores = self._scores(who)
        targets = self._targets(item, scores, who)
        case, candidates = self._case(who, targets, scores, parts["output"].thing)
        rules = self._rules(parts)
        chosen.thing.check(
            chosen.name, rules.capabilities(self.model), f"{self._whose} with output {rules.output.name}"
        )
        self._learn(parts["masker"], parts, None, None)
        self._learn(chosen, parts, rules, case)
        game = ModelGame(self.model, who.history, (case,), candidates, rules)
        draws = range(chosen.thing.n_draws)
        attributions = tuple(chosen.thing.attribute(game, self.seed, chosen.name, draw) for draw in draws)
        foil = None if case.foil is None else self._name(case.foil)
        named = ", ".join(map(self._name, targets))
        return Explanation(game, attributions, self._called, who.called, named, foil, self.seed)

    @property
    @abstractmethod
    def _called(self) -> str:
        """Name of the model in frames."""

    @property
    def _whose(self) -> str:
        """The model, in sentences about what it cannot do."""
        return f"model {self._called}"

    def _rules(self, parts: Mapping[str, Part]) -> Rules:
        return Rules(
            **{group: part.thing for group, part in parts.items()},
            catalogue=self.catalogue,
            seed=self.seed,
            mask_chunk=self.mask_chunk,
        )

    def _case(self, who: Who, targets: Ints, scores: Tensor, output: Output) -> tuple[Case, Tensor]:
        """The case, and its candidates [1, I]: what the user never had; the whole catalogue for what the user had."""
        repeat = bool(who.known[0, targets[0]])
        candidates = torch.from_numpy(~who.known | repeat).to(scores.device)
        foil = self._foil(output, targets, scores, candidates)
        first = torch.zeros_like(candidates)
        first[0, targets[0]] = True
        position = int(best_rank(scores.masked_fill(~candidates, -torch.inf), first))
        codes: tuple[int, ...] = tuple(targets.tolist())
        named = tuple(self.catalogue.item_ids[code] for code in codes)
        group = "repeat" if repeat else "new"
        return Case(0, who.part, who.code, codes, group, position, who.user, named, foil=foil), candidates

    def _foil(self, output: Output, targets: Ints, scores: Tensor, candidates: Tensor) -> int | None:
        if not output.contrastive:
            return None
        popular = np.zeros(len(self._codes), dtype=np.int64)
        if getattr(output, "foil", None) == "most_popular":
            popular = training_users(self._fitting(None, None).dataset)
        foil = int(output.foils(Choice(scores, candidates, self.catalogue, popular), targets[:1])[0])
        if foil < 0:
            what = getattr(output, "item", None) or getattr(output, "foil", output.name)
            raise SettingError(
                f"explain: {what!r} cannot be held against {self._name(int(targets[0]))!r}: it is the item itself, or "
                "it is known to the user while the item is new, so that it is no candidate; choose another item"
            )
        return foil

    def _targets(self, item: Item | Sequence[Item] | None, scores: Tensor, who: Who) -> Ints:
        """Codes of what is explained; None: the best new item, or the best of all where every item is known."""
        if item is None:
            allowed = who.known if who.known.all() else ~who.known
            return np.array(_best(scores, allowed, 1)[0], dtype=np.int64)
        given = list(item) if _is_several(item) else [item]  # type: ignore[arg-type]
        if not given:
            raise SettingError("explain: item is an empty list, takes an item or several")
        return np.array([self._code(one) for one in given], dtype=np.int64)

    def _code(self, item: Any, what: str = "item") -> int:
        if str(item) not in self._codes:
            raise SettingError(f"{what}: no item {str(item)!r} in the catalogue{did_you_mean(str(item), self._codes)}")
        return self._codes[str(item)]

    # options

    def _part(self, group: str, given: Any, kind: type) -> Part:
        """What a name of `conf/<group>` stands for, or an object that the caller made."""
        if given is None:
            node = self._own(group) or node_of(group, DEFAULTS[group])
            thing = built(group, node)
            return Part(thing.name, node, thing)
        if isinstance(given, kind):
            return Part(given.name, None, given)
        node = node_of(group, _word(group, given, kind))
        return Part(given, node, built(group, node))

    def _players(self, given: str | Players | None) -> Part:
        """An option of `conf/players`, or an item field of the data."""
        fields = [f.name for f in self.catalogue.item_fields if f.kind == "categorical"]
        if isinstance(given, str) and given in fields and given not in names("players"):
            return Part(given, {"field": given}, Field(given))
        numbers = [f.name for f in self.catalogue.item_fields if f.kind != "categorical"]
        if isinstance(given, str) and given in numbers and given not in names("players"):
            raise SettingError(f"players: {given!r} has no levels with names to group by; give its values as text")
        known = [*names("players"), *fields]
        if isinstance(given, str) and given not in known:
            raise SettingError(
                f"players: got {given!r}, takes {listed(names('players'))}, or an item field of the data "
                f"({listed(fields)}){did_you_mean(given, known)}"
            )
        return self._part("players", given, Players)

    def _output(self, given: str | Output | None, versus: Item | None, *, several: bool) -> Part:
        if versus is not None:
            if given is not None or several:
                raise SettingError(
                    "explain: versus explains why one item and not another; leave out output, name one item"
                )
            if str(versus) in self._codes:
                return Part("margin", {"item": str(versus)}, Margin("item", str(versus)))
            if versus not in Margin.FOILS[:2]:
                hint = did_you_mean(str(versus), [*Margin.FOILS[:2], *self._codes])
                raise SettingError(f"versus: got {versus!r}, takes an item, {listed(Margin.FOILS[:2])}{hint}")
            return Part("margin", {"foil": versus}, Margin(str(versus)))
        chosen = Part("list", {}, List()) if several and given is None else self._part("output", given, Output)
        if several and not chosen.thing.joint:
            raise SettingError(f"output {chosen.name} is of one item, got several; leave out output, or name one item")
        return chosen

    def _explainer(self, given: str | Explainer, options: Mapping[str, Any]) -> Part:
        if isinstance(given, Explainer):
            if options:
                raise SettingError(
                    f"explain: {listed(options)} would be lost: an explainer that is made has its options"
                )
            return Part(type(given).__name__, None, given)
        node = {**node_of("explainer", _word("explainer", given, Explainer), self._own("explainer")), **options}
        return Part(given, node, built(f"explainer.{given}", node))

    def _learn(self, part: Part, parts: Mapping[str, Part], rules: Rules | None, case: Case | None) -> None:
        """Fit a masker or an explainer, once for the same settings. One that was fitted on games of others is not used
        for those: it is fitted for every user it explains, so that what was explained before changes no number."""
        learner: Learner = part.thing
        if type(learner).fit is Learner.fit:
            return
        settings = [other.key() for other in parts.values()] if rules is not None else []
        key = json.dumps([part.key(), settings], sort_keys=True, default=str)
        own_key = f"{key} for {None if case is None else case.user}"
        known = self._learned.get(key) or self._learned.get(own_key)
        if known is None:
            used_games = self._fit(part, parts, rules, case)
            self._learned[own_key if used_games else key] = learner
        elif known is not learner:
            learner.load_state(known.state())

    def _fit(self, part: Part, parts: Mapping[str, Part], rules: Rules | None, case: Case | None) -> bool:
        """Whether it was fitted on games."""
        learner: Learner = part.thing
        if (state := self._state(part, parts if rules is not None else {})) is not None:
            learner.load_state(state)
            return False
        fitting, asked = self._fitting(rules, case), []

        def games(n: int) -> Iterator[Game]:
            asked.append(n)
            return fitting.games(n)

        if isinstance(learner, Masker):
            learner.check(fitting.dataset)
        learner.fit(replace(fitting, games=games))
        return bool(asked)


def _best(scores: Tensor, allowed: Bools, n: int) -> tuple[list[int], list[float]]:
    """Codes and scores of the n best of the allowed items, best first, of a single history."""
    hidden = torch.from_numpy(~allowed).to(scores.device)
    items, values = top_items(scores.masked_fill(hidden, -torch.inf), n)
    kept = torch.from_numpy(allowed).to(scores.device).gather(1, items)[0]
    return items[0][kept].tolist(), values[0][kept].double().tolist()


def _is_several(item: object) -> bool:
    return isinstance(item, Iterable) and not isinstance(item, str)


def _word(group: str, given: Any, kind: type) -> str:
    if not isinstance(given, str):
        takes = f"a name of conf/{group} ({listed(names(group))}), or an object of {kind.__name__}"
        raise SettingError(f"{group}: got {type(given).__name__}, takes {takes}")
    return given
