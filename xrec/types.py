"""Frozen types that cross package borders. numpy only: no torch, no polars, nothing else of xrec.

Times are counted in *periods* (weeks on Complete Journey). A *moment* is the first period that is being predicted;
a history at moment t holds periods < t only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

#: Half-lives, in periods, of the decayed event weights that every history carries.
HALF_LIVES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)


@dataclass(frozen=True)
class Field:
    """One attribute of n entities, as weighted levels: entity i has `levels[codes[i, j]]` to the share `weights[i, j]`.

    kind: 'categorical' (one or several values), 'text' (hashed words) or 'numeric'.
    codes, weights [n, m]: places that are not needed hold code 0 and weight 0. The weights of a row sum to 1 for
    categories and texts. A numeric field has the levels "(missing)" and "value"; a row holds either the first with
    weight 1, or the second with the scaled number as its weight.
    Missing values have the level "(missing)", code 0, of their own; rare categories are pooled in "(rare)", code 1.
    """

    name: str
    kind: str
    levels: Sequence[str]
    codes: Codes
    weights: Floats


@dataclass(frozen=True)
class Catalogue:
    """What is known about items (and users) apart from who bought what. Row i describes internal id i."""

    item_ids: Sequence[str]
    item_names: Sequence[str]
    item_fields: tuple[Field, ...]
    user_ids: Sequence[str]
    user_fields: tuple[Field, ...] = ()
    event_kinds: tuple[str, ...] = ("interaction",)
    cold: Codes = field(default_factory=lambda: np.zeros(0, dtype=np.int32))  # items that training must not touch

    @property
    def n_items(self) -> int:
        return len(self.item_ids)

    @property
    def n_users(self) -> int:
        return len(self.user_ids)


@dataclass(frozen=True)
class HistoryTable:
    """The histories of all users at one moment, as compressed rows.

    Row u holds entries `indptr[u]:indptr[u + 1]`, one per distinct item, sorted by item. Channels, each [nnz]:
    `item`; `age` periods since the last event (>= 1); `first_age` periods since the first; `strength` summed event
    weight; `n_periods` distinct periods with an event; `kind` of the last event; `positive` 1 where the user has an
    event of a kind that is to be predicted, else 0 (only seen, not bought); `decayed` [nnz, len(HALF_LIVES)] event
    weights halved every half-life.
    """

    moment: int
    indptr: Ints
    item: Ints
    age: Floats
    first_age: Floats
    strength: Floats
    n_periods: Floats
    kind: Ints
    positive: Floats
    decayed: Floats

    @property
    def n_users(self) -> int:
        return len(self.indptr) - 1

    def known(self, users: Ints, n_items: int) -> Bools:
        """[B, I] which items have an event of a kind that is to be predicted: what is no new item."""
        return membership(self.indptr, self.item, users, n_items, self.positive > 0)

    def lengths(self) -> Ints:
        """[n_users] number of distinct items in each history."""
        return np.diff(self.indptr)

    def user(self) -> Ints:
        """[nnz] whose history each entry is of."""
        return np.repeat(np.arange(self.n_users), self.lengths())


@dataclass(frozen=True)
class TargetTable:
    """The distinct items of each user's events in periods [start, end], as compressed rows sorted by item."""

    start: int
    end: int
    indptr: Ints
    item: Ints

    def row(self, user: int) -> Ints:
        return self.item[self.indptr[user] : self.indptr[user + 1]]


def membership(indptr: Ints, item: Ints, rows: Ints, n_items: int, among: Bools | None = None) -> Bools:
    """[B, I] which items the compressed rows hold; `among` [nnz]: only these entries count."""
    lengths = indptr[rows + 1] - indptr[rows]
    row = np.repeat(np.arange(len(rows)), lengths)
    offset = np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    result = np.zeros((len(rows), n_items), dtype=bool)
    entry = np.repeat(indptr[rows], lengths) + offset
    result[row, item[entry]] = True if among is None else among[entry]
    return result


class Dataset(Protocol):
    """Split interactions, as models and stages see them (`xrec.data.interactions.SplitInteractions`)."""

    @property
    def catalogue(self) -> Catalogue: ...
    @property
    def own_periods(self) -> bool:
        """Whether periods count each user's own events, and are no calendar."""
        ...

    @property
    def train_end(self) -> int:
        """The last period that parameters may be fitted on."""
        ...

    def period(self, part: str) -> tuple[int, int]:
        """(first, last) period of 'validation' or 'test'."""
        ...

    def histories(self, moment: int) -> HistoryTable: ...
    def targets(self, start: int, end: int) -> TargetTable: ...
    def others_until(self, moment: int) -> int:
        """The moment before which events of other users count, at `moment`: itself, or, where users are held out as a
        whole, the end of training at the latest."""
        ...

    def item_statistics(self, moment: int) -> Floats:
        """[n_items, n_statistics] what every item looks like just before `moment` (popularity by recency, ...)."""
        ...

    @property
    def fingerprint(self) -> str:
        """sha256 over the data and everything that shaped it."""
        ...


class Cache(Protocol):
    """Content-addressed arrays on disk (`xrec.data.cache.ArrayCache`)."""

    def array(self, name: str, key: dict[str, Any], build: Any) -> np.ndarray:
        """The array stored under (name, key), memory-mapped read-only; `build()` makes it when it is not there."""
        ...


class Progress(Protocol):
    """Wraps an iterable in a progress bar with time left."""

    def __call__(self, iterable: Any, *, total: int | None = None, description: str = "") -> Iterator[Any]: ...


@dataclass(frozen=True)
class Metric:
    """What a metric's numbers mean, declared once by what computes them and saved beside them.

    direction: which way is better; None: reported without a verdict. form: the format spec of a value. definition: one
    sentence for a glossary. family: metrics of one family stand in one table. headline: shown in short tables.
    """

    name: str
    label: str
    direction: Literal["higher", "lower"] | None = None
    form: str = ".4g"
    definition: str = ""
    family: str = ""
    headline: bool = False


#: what an explainer is: an explanation of the model; one that knows nothing of the model; one that looked at the
#: fidelity metric to choose its answer
Role = Literal["explainer", "control", "oracle"]


#: what came of the search for a set whose removal does what was asked, checked by a forward: a set that is proved to
#: be as small as any; a set; none was found, and removing all players does not do it either; none was found; there is
#: proved to be none; nothing had to be removed
Outcome = Literal["smallest", "found", "stays", "not_found", "impossible", "already"]


@dataclass(frozen=True)
class Case:
    """One recommendation to be explained: why the target stood at `position` of the list of `user`; or several of them
    as one (then `position` is that of the first).

    Internal ids, with the external ones beside them; `group` is 'new' (targets not in the history) or 'repeat'; `few`:
    the history has so few players that it is reported apart; `foil`: the item that the target is held against, where
    the output has one. `index` numbers the cases of a run and never changes; random numbers are keyed by the external
    ids.
    """

    index: int
    part: str
    user: int
    targets: tuple[int, ...]
    group: str
    position: int
    user_id: str
    item_ids: tuple[str, ...]
    few: bool = False
    foil: int | None = None

    @property
    def target(self) -> int:
        """The first target."""
        return self.targets[0]

    @property
    def item_id(self) -> str:
        """The target's external id; of several targets a label, which nothing takes apart again."""
        return ", ".join(self.item_ids)


@dataclass(frozen=True)
class Attribution:
    """One explainer's answer for B cases over up to P players (rows padded with NaN beyond `n_players`).

    values [B, P]: larger means more supportive of the target (if `signed`, negative values oppose it).
    output, masker, players: names of the game's. f_x, f_empty [B]: the game's value of the whole history and of one
    without any player (which is for the masker to say). n_forwards [B]: masked copies scored;
    seconds [B]: wall time. standard_error [B, P] of sampling, or None. selected [B, P]: for explainers that answer
    with a set, outcome [B]: what came of the search for it; else None. `complete`: promises that values sum to f(x) -
    f(empty). `reference`: what every other explainer is tested against. `draw` numbers the draws of a random explainer.
    """

    explainer: str
    draw: int
    role: Role
    cases: tuple[Case, ...]
    player_ids: tuple[tuple[str, ...], ...]
    values: Doubles
    output: str
    masker: str
    players: str
    signed: bool
    complete: bool
    f_x: Doubles
    f_empty: Doubles
    n_forwards: Ints
    seconds: Doubles
    reference: bool = False
    standard_error: Doubles | None = None
    selected: Bools | None = None
    outcome: tuple[Outcome, ...] | None = None

    @property
    def n_players(self) -> Ints:
        return np.array([len(p) for p in self.player_ids], dtype=np.int64)


@dataclass(frozen=True)
class TopN:
    """Recommendation lists: items [U, N] internal ids (best first, -1 beyond the candidates) and their scores [U,
    N]."""

    users: Ints
    items: Ints
    scores: Floats
    group: str = field(default="all")
