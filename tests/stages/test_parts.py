"""Which parts are measured, and what is refused where a split has no validation."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from xrec.errors import RunError
from xrec.stages.cases import part_of_others
from xrec.stages.parts import check_parts, ranked_parts
from xrec.stages.run import Run

BOTH, ONE = {"validation": (3, 3), "test": (4, 4)}, {"test": (3, 3)}


class Config(dict):
    __getattr__ = dict.__getitem__


def run_of(there: dict[str, Any], ranked: list[str] | None = None, part: str = "test", objectives: tuple = ()) -> Run:
    config = Config(ranking=Config(parts=ranked), cases=Config(part=part), objectives=list(objectives))
    dataset = SimpleNamespace(parts=there, card={"split": {"name": "given"}})
    return cast(Run, SimpleNamespace(config=config, dataset=dataset))


def test_null_ranks_all_parts_that_there_are() -> None:
    assert ranked_parts(run_of(BOTH)) == ["validation", "test"]
    assert ranked_parts(run_of(ONE)) == ["test"]
    assert ranked_parts(run_of(BOTH, ["test"])) == ["test"]


@pytest.mark.parametrize("there", [BOTH, ONE])
def test_defaults_suit_every_split(there) -> None:
    check_parts(run_of(there, objectives=("test_ndcg_at_10_new",)), ["fit", "rank", "explain"])


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    (
        "rank",
        {"ranked": ["validation", "test"]},
        "ranking.parts asks for validation, {}: ranking.parts=null ranks those",
    ),
    ("explain", {"part": "validation"}, "cases.part asks for validation, {}: cases.part=test, or give the data such"),
    ("fit", {"objectives": ["validation_removal_gain"]}, "objectives asks for validation, {}: there are those of test"),
]


@pytest.mark.parametrize(("stage", "asked", "says"), REFUSED)
def test_asking_for_validation_where_there_is_none_is_refused(stage, asked, says) -> None:
    lacks = "but split given has no validation part (it has test)"
    with pytest.raises(RunError) as refused:
        check_parts(run_of(ONE, **asked), [stage])
    assert str(refused.value).startswith(says.format(lacks))
    check_parts(run_of(BOTH, **asked), [stage])
    if stage != "fit":
        check_parts(run_of(ONE, **asked), ["fit", "report"])  # the stage that asks is done


def test_what_learns_from_others_does_so_when_training_ends() -> None:
    assert [part_of_others(run_of(there)) for there in (BOTH, ONE)] == ["validation", "test"]
