"""EASE as a function of somebody else's, in numpy: what `xrec.external` and `model=external` are handed in tests."""

from __future__ import annotations

import numpy as np

#: item-to-item weights [I, I], and the ids of rows and columns; a test puts them here
WEIGHTS = np.zeros((0, 0))
IDS: list[str] = []


def weights(histories: list[list[str]], ids: list[str], regularization: float) -> np.ndarray:
    """B of Steck (WWW 2019): -P / diag(P) with P = (X'X + lambda I)^-1, zero on the diagonal."""
    x = binary(histories, ids)
    inverse = np.linalg.inv(x.T @ x + regularization * np.eye(len(ids)))
    found = -inverse / np.diag(inverse)
    np.fill_diagonal(found, 0)
    return found


def binary(histories: list[list[str]], ids: list[str]) -> np.ndarray:
    place = {item: column for column, item in enumerate(ids)}
    x = np.zeros((len(histories), len(ids)))
    for row, history in enumerate(histories):
        x[row, [place[item] for item in history]] = 1
    return x


def scores(histories: list[list[str]]) -> np.ndarray:
    return binary(histories, IDS) @ WEIGHTS


def scores_of(histories: list[list[str]], item_ids: list[str]) -> np.ndarray:
    """The same for columns in any order."""
    order = [IDS.index(item) for item in item_ids]
    return scores(histories)[:, order]


def popular(histories: list[list[str]], item_ids: list[str]) -> np.ndarray:
    """Of any ids and without a table: the items alike for everyone, but for a bonus to those with a neighbouring id."""
    wanted = np.array([int(i) for i in item_ids])
    own = -np.abs(wanted - wanted.mean())
    near = [[sum(abs(int(j) - i) == 1 for j in history) for i in wanted] for history in histories]
    return own + np.array(near)
