"""One explanation, as a person in a notebook looks at it: values, a table, a drawing, and a check against the model."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import polars as pl

from xrec.errors import SettingError
from xrec.games.model_game import ModelGame
from xrec.report.explanation import bars, waterfall
from xrec.report.plot import figure_bytes
from xrec.types import Attribution, Bools, Case, Doubles, Outcome
from xrec.words import did_you_mean, listed, sentence, title_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Kind = Literal["bars", "waterfall"]


def at_least_one(what: str, n: object) -> None:
    """Raises: SettingError, when n is no whole number of at least 1."""
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise SettingError(f"{what}: n must be a whole number of at least 1, got {n!r}")


@dataclass(frozen=True, repr=False)
class Explanation:
    """Why a model recommends an item to somebody, as values of P players: what of the history speaks for it.

    game: of this case alone; asks the model what it says of any part of the history. attributions: one, or as many as
    a random explainer draws; what is shown is the first. model: its name. whom, item_name, foil_name: for people.
    seed: of ties and draws.
    """

    game: ModelGame
    attributions: tuple[Attribution, ...]
    model: str
    whom: str
    item_name: str
    foil_name: str | None
    seed: int

    @property
    def attribution(self) -> Attribution:
        """The first draw, for one case."""
        return self.attributions[0]

    @property
    def case(self) -> Case:
        """Who, what, and at which position of the list it stands."""
        return self.game.cases[0]

    @property
    def explainer(self) -> str:
        return self.attribution.explainer

    @property
    def user(self) -> str:
        return self.case.user_id

    @property
    def item(self) -> str:
        """External id; of several items a label."""
        return self.case.item_id

    @property
    def position(self) -> int:
        """Rank of the (first) item among the candidates, from 1."""
        return self.case.position

    @property
    def values(self) -> Doubles:
        """[P] larger means more supportive of the item; of a signed explainer, negative values oppose it."""
        return self.attribution.values[0]

    @property
    def standard_errors(self) -> Doubles | None:
        """[P] of sampling; None: exact, or not estimated."""
        errors = self.attribution.standard_error
        return None if errors is None else errors[0]

    @property
    def selected(self) -> Bools | None:
        """[P] the set that the explainer chose; None: it answers with values only."""
        chosen = self.attribution.selected
        return None if chosen is None else chosen[0]

    @property
    def outcome(self) -> Outcome | None:
        """What came of the search for that set, such as 'smallest' or 'not_found'; None: there was no search."""
        outcomes = self.attribution.outcome
        return None if outcomes is None else outcomes[0]

    @property
    def player_ids(self) -> tuple[str, ...]:
        return self.game.player_ids[0]

    @property
    def player_names(self) -> tuple[str, ...]:
        """For people; a player without a name goes by its id."""
        return tuple(
            name.strip() or player for name, player in zip(self.game.players.names[0], self.player_ids, strict=True)
        )

    @property
    def f_x(self) -> float:
        """The explained number for the whole history."""
        return float(self.attribution.f_x[0])

    @property
    def f_empty(self) -> float:
        """The explained number when no player is there."""
        return float(self.attribution.f_empty[0])

    @property
    def n_forwards(self) -> int:
        """Masked copies of the history that were scored for these values."""
        return int(self.attribution.n_forwards[0])

    def table(self) -> pl.DataFrame:
        """A row per player, most supportive first: player (id), name, value, standard_error and selected (null where
        there are none), n_items of the history that it stands for, age of the youngest of them in periods."""
        players, history = self.game.players, self.game.history
        errors, chosen = self.standard_errors, self.selected
        columns: dict[str, Any] = {
            "player": self.player_ids,
            "name": self.player_names,
            "value": self.values,
            "standard_error": [None] * len(self.values) if errors is None else errors,
            "selected": [None] * len(self.values) if chosen is None else chosen,
            "n_items": players.pooled(history.presence)[0].long().tolist(),
            "age": players.least(history.age)[0].tolist(),
        }
        schema = {"standard_error": pl.Float64, "selected": pl.Boolean}
        frame = pl.DataFrame(columns, schema_overrides=schema).with_columns(pl.col("standard_error").fill_nan(None))
        return frame.sort("value", descending=True, maintain_order=True)

    def plot(self, kind: Kind = "bars", n: int = 10) -> Figure:
        """A figure of the n weightiest players, the others summed up. Save it with `figure.savefig("why.pdf")`.

        Args:
            kind: 'bars', signed and horizontal; 'waterfall', from f(empty) to f(x): what the values do not add up to is
                a bar of its own.
        Raises:
            SettingError: another kind, or n below 1.
        """
        if kind not in (kinds := get_args(Kind)):
            raise SettingError(f"plot: kind is {kind!r}, takes {listed(kinds)}{did_you_mean(kind, kinds)}")
        at_least_one("plot", n)
        named = [(name, float(value)) for name, value in zip(self.player_names, self.values, strict=True)]
        if kind == "waterfall":
            return waterfall(named, (self.f_empty, self.f_x), self.title, self._quantity, n)
        errors = None if self.standard_errors is None else self.standard_errors.tolist()
        return bars(named, errors, self.title, self._quantity, n)

    def check(self, n: int = 5) -> pl.DataFrame:
        """What the values predict, against what the model says when players really go.

        The n most supportive players, each alone (`predicted` is its value, `real` is f(x) - f(x without it), `rank`
        where the item stands then) and together with those above it (`..._together`). A value of an explainer that
        promises a sum is a share of the whole effect, not the effect of one removal: where items replace each other the
        two differ, and the together columns tell by how much. Of several items `rank` is that of the first.

        Raises:
            SettingError: n below 1.
        """
        at_least_one("check", n)
        order = np.argsort(-self.values, kind="stable")[:n]
        alone = np.ones((len(order), len(self.values)), dtype=bool)
        alone[np.arange(len(order)), order] = False
        masks = np.concatenate([alone, np.logical_and.accumulate(alone, axis=0)])[None]
        lost = self.f_x - self.game.values(masks)[0]
        ranks = self.game.ranks(masks)[0, :, 0]
        first, second = slice(None, len(order)), slice(len(order), None)
        return pl.DataFrame(
            {
                "player": [self.player_ids[i] for i in order],
                "name": [self.player_names[i] for i in order],
                "predicted": self.values[order],
                "real": lost[first],
                "rank": ranks[first],
                "predicted_together": np.cumsum(self.values[order]),
                "real_together": lost[second],
                "rank_together": ranks[second],
            }
        )

    @property
    def title(self) -> str:
        """What is explained, in words."""
        instead = "" if self.foil_name is None else f" and not {self.foil_name}"
        return f"Why {self.item_name}{instead} for {self.whom}? {sentence(title_of(self.explainer))}"

    @property
    def _quantity(self) -> str:
        """The explained number in words."""
        about = self.game.about
        return f"{title_of(about.output)}, absent: {title_of(about.masker)}"

    def __repr__(self) -> str:
        best = self.table().head(3).select("name", "value").rows()
        reasons = ", ".join(f"{name} {value:+.3g}" for name, value in best)
        return f"<{self.title}: f(x) {self.f_x:.4g}, f(empty) {self.f_empty:.4g}; {reasons}, ...>"

    def _repr_html_(self) -> str:
        """What a notebook shows: the bars, and the table."""
        pictures = (
            f'<img alt="{escape(self.title)}, {kind}" width="560" style="max-width: 100%" '
            f'src="data:image/png;base64,{base64.b64encode(figure_bytes(self.plot(kind), "png")).decode()}">'
            for kind in get_args(Kind)
        )
        return f"<div>{'<br>'.join(pictures)}{self.table().head(10)._repr_html_()}</div>"
