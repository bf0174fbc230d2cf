"""The normalisers by the names that settings call them."""

from __future__ import annotations

from typing import Literal

from xrec.errors import SettingError
from xrec.models.attention.normalisers.normaliser import Normaliser
from xrec.models.attention.normalisers.sigmoid import Sigmoid
from xrec.models.attention.normalisers.softmax import Softmax
from xrec.models.attention.normalisers.sparse import Entmax15, Sparsemax
from xrec.words import listed

NormaliserName = Literal["sigmoid", "softmax", "sparsemax", "entmax15"]
NORMALISERS: dict[NormaliserName, type[Normaliser]] = {
    "sigmoid": Sigmoid,
    "softmax": Softmax,
    "sparsemax": Sparsemax,
    "entmax15": Entmax15,
}


def normaliser_of(name: NormaliserName) -> Normaliser:
    """The normaliser of this name.

    Raises:
        SettingError: there is none.
    """
    if name not in NORMALISERS:
        raise SettingError(f"model.components.attention.normaliser must be one of {listed(NORMALISERS)}; got {name!r}")
    return NORMALISERS[name]()
