"""The override grammar as a search space."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hypothesis import given, settings
from hypothesis import strategies as st

from xrec.sweep.grammar import read_space
from xrec.sweep.space import Choice, Numbers, Space, SweepError

optuna.logging.set_verbosity(optuna.logging.WARNING)

LAMBDA = "tag(zero,log,interval(1e-3,1.0))"


def only(text: str, key: str = "a.b") -> Numbers | Choice:
    space, _ = read_space({key: text})
    (parameter,) = space.parameters
    return parameter


def draws(space: Space, n: int, conditional: bool = True) -> list[dict[str, Any]]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    params = []
    for _ in range(n):
        trial = study.ask()
        space.draw(trial, conditional)
        params.append(trial.params)
    return params


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("interval(0,1)", Numbers("a.b", 0.0, 1.0)),
        ("tag(log,interval(1e-4,1))", Numbers("a.b", 1e-4, 1.0, log=True)),
        ("int(interval(1,9))", Numbers("a.b", 1, 9, integer=True)),
        ("tag(int,log,interval(1,64))", Numbers("a.b", 1, 64, integer=True, log=True)),
        (LAMBDA, Numbers("a.b", 1e-3, 1.0, log=True, zero=True)),
        ("range(1,4)", Numbers("a.b", 1, 3, step=1, integer=True)),  # the stop is excluded
        ("range(5)", Numbers("a.b", 0, 4, step=1, integer=True)),
        ("range(0,10,5)", Numbers("a.b", 0, 5, step=5, integer=True)),
        ("range(10,0,-5)", Numbers("a.b", 5, 10, step=5, integer=True)),
        ("range(0.0,1.0,0.25)", Numbers("a.b", 0.0, 0.75, step=0.25)),
        ("tag(log,range(1,9))", Numbers("a.b", 1, 8, integer=True, log=True)),
        ("choice(vae,recvae)", Choice("a.b", ("vae", "recvae"), ("vae", "recvae"))),
        ("2,2.5,false", Choice("a.b", (2, 2.5, False), ("2", "2.5", "False"))),
    ],
)
def test_the_grammar_is_read(text: str, expected: Numbers | Choice) -> None:
    assert only(text) == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("interval(1,0)", "empty interval"),
        ("interval(1,1)", "empty interval"),
        ("interval(0,inf)", "two finite ends"),
        ("tag(log,interval(0,1))", r"tag\(zero,log,interval"),
        ("tag(lgo,interval(1,2))", "did you mean 'log'"),
        ("intervall(0,1)", "did you mean 'interval'"),
        ("log(interval(1,2))", r"log is a tag: tag\(log"),
        ("tag(zero,tag(log,interval(1,2)))", "one tag"),
        ("int(tag(zero,range(1,4)))", "one tag"),
        ("tag(int,interval(0.5,3))", "whole ends"),
        ("tag(int,range(0.5,3,1))", "whole start"),
        ("range(3,1)", "empty range"),
        ("range(1,1)", "empty range"),
        ("range(1,5,0)", "step"),
        ("tag(log,range(0.5,3,1))", "whole numbers of step 1"),
        ("tag(log,range(0,3))", "starts above 0"),
        ("shuffle(range(1,5))", "shuffle"),
        ("shuffle(choice(1,2))", "shuffle"),
        ("tag(zero,choice(1,2))", "write the values themselves"),
        ("choice(1,2,1)", "twice"),
        ("choice(1,true)", "twice"),
        ("choice()", "a.b"),
        ("interval(0,1", "a.b"),
        ("0.5", "is one value"),
    ],
)
def test_what_the_grammar_cannot_say_is_refused_by_name(text: str, says: str) -> None:
    with pytest.raises(SweepError, match=says) as error:
        only(text)
    assert "a.b" in str(error.value)
    assert isinstance(error.value, ValueError)


def test_an_empty_space_is_refused() -> None:
    with pytest.raises(SweepError, match="empty"):
        read_space({}, ["training.epochs=1"])


def test_the_command_line_extends_replaces_and_fixes() -> None:
    space, fixed = read_space(
        {"a": "interval(0,1)", "b": "interval(0,1)"},
        ["a=interval(2,3)", "c=x,y", "b=0.5", "training.epochs=1", "+d=interval(0,1)", "model/attention=target"],
    )
    assert space.signature() == {"a": "2.0 to 3.0", "c": "choice x, y", "d": "0.0 to 1.0"}
    assert fixed == ["b=0.5", "training.epochs=1", "model/attention=target"]
    first = next(space.examples())
    assert space.overrides(first) == ["a=2.0", "c=x", "+d=0.0"]


@given(low=st.floats(1e-8, 1.0), factor=st.floats(1.1, 1e6), conditional=st.booleans())
@settings(max_examples=25, deadline=None)
def test_zero_or_log_is_exactly_zero_or_inside(low: float, factor: float, conditional: bool) -> None:
    high = low * factor
    space, _ = read_space({"a": f"tag(zero,log,interval({low!r},{high!r}))"})
    values = [space.values(p)["a"] for p in draws(space, 30, conditional)]
    assert 0.0 in values  # each with probability a half
    assert any(v != 0.0 for v in values)
    assert all(v == 0.0 or low <= v <= high for v in values if isinstance(v, float))
    assert all(isinstance(v, float) for v in values)


def test_log_values_are_spread_over_the_magnitudes() -> None:
    space, _ = read_space({"a": LAMBDA})
    values = [v for p in draws(space, 600) if isinstance(v := space.values(p)["a"], float) and v > 0]
    for low in (1e-3, 1e-2, 1e-1):  # a third of them in each decade
        assert sum(low <= v < 10 * low for v in values) / len(values) == pytest.approx(1 / 3, abs=0.08)


def test_the_value_of_a_switched_off_parameter_is_not_drawn_when_conditional() -> None:
    space, _ = read_space({"a": LAMBDA})
    assert {len(p) for p in draws(space, 20, conditional=True)} == {1, 2}
    assert {len(p) for p in draws(space, 20, conditional=False)} == {2}


@given(start=st.integers(-20, 20), n=st.integers(1, 12), step=st.integers(1, 7), tenths=st.booleans())
@settings(max_examples=60, deadline=None)
def test_points_of_a_range_are_its_values(start: int, n: int, step: int, tenths: bool) -> None:
    stop = start + n * step
    text = f"range({start / 10},{stop / 10},{step / 10})" if tenths else f"range({start},{stop},{step})"
    space, _ = read_space({"a": text})
    points = space.points()
    assert points is not None
    values = [space.values(p)["a"] for p in points]
    assert values == [(start + i * step) / 10 if tenths else start + i * step for i in range(n)]


def test_a_range_of_tenths_gives_clean_numbers() -> None:
    space, _ = read_space({"a": "range(0.1,1.0,0.1)"})
    assert {space.values(p)["a"] for p in draws(space, 80)} == {0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9}


text_options = st.lists(
    st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1, max_size=6),
    min_size=1,
    max_size=3,
    unique=True,
)


@given(options=text_options)
@settings(max_examples=60, deadline=None)
def test_text_survives_the_way_into_an_override_and_back(options: list[str]) -> None:
    quoted = [QuotedString(o, Quote.single).with_quotes() for o in options]
    space, _ = read_space({"a": f"choice({','.join(quoted)})"})
    for params, option in zip(space.examples(), options, strict=True):
        assert space.values(params) == {"a": option}
        (override,) = OverridesParser.create().parse_overrides(space.overrides(params))
        assert not override.is_sweep_override()
        assert override.value() == option


def test_text_with_a_comma_is_quoted_again() -> None:
    space, _ = read_space({"a": "choice('x,y',z)", "b": "choice([1,2],[3])"})
    assert [space.overrides(p) for p in space.examples()] == [
        ["a='x,y'", "b=[1,2]"],
        ["a=z", "b=[1,2]"],
        ["a='x,y'", "b=[3]"],
    ]


def test_points_of_a_finite_space_are_its_product() -> None:
    space, _ = read_space({"a": "choice(x,y)", "b": "tag(zero,range(1,3))"})
    points = space.points()
    assert points is not None
    values = [tuple(space.values(p).values()) for p in points]
    assert values == [("x", 0), ("x", 1), ("x", 2), ("y", 0), ("y", 1), ("y", 2)]
    assert read_space({"a": "choice(x,y)", "b": "interval(0,1)"})[0].points() is None


def test_a_half_drawn_trial_is_not_complete() -> None:
    space, _ = read_space({"a": LAMBDA, "b": "choice(1,2)"})
    assert not space.is_complete({"a.on": True, "b": 1})
    assert not space.is_complete({"a.on": False})
    assert space.is_complete({"a.on": False, "b": 1})


def test_points_can_be_enqueued() -> None:
    space, _ = read_space({"a": "tag(zero,range(0.1,0.5,0.1))", "b": "tag(int,interval(1,2))"})
    points = list(space.points() or ())
    study = optuna.create_study()
    for point in points:
        study.enqueue_trial(point)
    drawn = []
    for _ in points:
        trial = study.ask()
        space.draw(trial)
        drawn.append(space.values(trial.params))
    assert drawn == [space.values(p) for p in points]
    assert len(drawn) == 10
