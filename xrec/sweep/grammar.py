"""Reads the search space: config path -> an expression of Hydra's override grammar.

    interval(a,b)               a number from a to b; `int(interval(1,9))` or `tag(int,interval(1,9))` a whole one
    range(a,b[,step])           a, a + step, ...; the stop is excluded, as everywhere in Hydra
    choice(x,y,z)  or  x,y,z    one of these (strings, numbers, booleans, config group options, glob(*))
    tag(log,...)                on a log scale: for intervals, and for whole-number ranges of step 1
    tag(zero,...)               exactly 0, or what the rest says: `tag(zero,log,interval(1e-3,1.0))`

`zero` is what lets a lambda be switched off in a sweep: a log scale never reaches 0. It is drawn define-by-run, as a
switch `<path>.on` and then, when on, the value `<path>` (always, for samplers that learn from nothing else: nsga2).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from hydra.core.override_parser.overrides_parser import OverridesParser, create_functions
from hydra.core.override_parser.types import (
    ChoiceSweep,
    IntervalSweep,
    Override,
    Quote,
    QuotedString,
    RangeSweep,
    Sweep,
)
from hydra.errors import HydraException

from xrec.sweep.space import TAGS, Choice, Numbers, Parameter, Space, SweepError, Value, decimal
from xrec.words import did_you_mean

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader

#: Text that an override need not quote; the words would be read as something else.
_PLAIN_TEXT = re.compile(r"[A-Za-z_][\w/.-]*")
_NOT_TEXT = ("true", "false", "null", "nan", "inf")


def read_space(
    space: Mapping[str, str], arguments: Sequence[str] = (), config_loader: ConfigLoader | None = None
) -> tuple[Space, list[str]]:
    """The space of the config and the command line together, and the overrides that every job gets as they are.

    A sweep on the command line adds a parameter or replaces it; a plain value for a parameter fixes it.
    Raises SweepError, naming the key, for whatever the grammar cannot say.
    """
    parser = OverridesParser.create(config_loader=config_loader)
    parameters: dict[str, Parameter] = {}
    for key, text in space.items():
        override = _parse(parser, key, str(text))
        if not override.is_sweep_override():
            raise SweepError(
                f"hydra.sweeper.space: {key}={text} is one value; write interval(), range() or choice(), "
                f"or give {key}={text} on the command line"
            )
        parameters[key.lstrip("+")] = read_parameter(override)
    fixed: dict[str, str] = {}
    for argument in arguments:
        (override,) = parser.parse_overrides([argument])
        key = override.get_key_element()
        parameters.pop(key.lstrip("+"), None)
        fixed.pop(key.lstrip("+"), None)
        if override.is_sweep_override():
            parameters[key.lstrip("+")] = read_parameter(override)
        else:
            fixed[key.lstrip("+")] = argument
    if not parameters:
        raise SweepError(
            "hydra.sweeper.space is empty: a sweep needs at least one parameter, as in model.x=interval(0,1)"
        )
    return Space(tuple(parameters.values())), list(fixed.values())


def read_parameter(override: Override) -> Parameter:
    """One parsed sweep override as a parameter. Raises SweepError naming the key."""
    key, sweep = override.get_key_element(), override.value()
    where = f"{key}={override.get_value_string()}"
    tags = _tags(sweep, where)
    if isinstance(sweep, IntervalSweep):
        return _interval(key, sweep, tags, where)
    if isinstance(sweep, RangeSweep):
        return _range(key, sweep, tags, where)
    if tags:
        raise SweepError(f"{where}: {', '.join(sorted(tags))} has no meaning for a choice; write the values themselves")
    return _choice(key, override, where)


def _parse(parser: OverridesParser, key: str, text: str) -> Override:
    try:
        (override,) = parser.parse_overrides([f"{key}={text}"])
    except HydraException as error:
        known = sorted(create_functions().functions)
        unknown = [f for f in re.findall(r"([A-Za-z_]\w*)\s*\(", text) if f not in known]
        if not unknown:
            raise SweepError(f"hydra.sweeper.space: {key}={text}: {str(error).splitlines()[0]}") from error
        name = unknown[0]
        hint = f"; {name} is a tag: tag({name},...)" if name in TAGS else did_you_mean(name, known)
        raise SweepError(
            f"hydra.sweeper.space: {key}={text}: unknown function {name!r}{hint} (known: {', '.join(known)})"
        ) from error
    return override


def _tags(sweep: object, where: str) -> set[str]:
    tags = sweep.tags if isinstance(sweep, Sweep) else set()
    for tag in sorted(tags):
        if tag not in TAGS:
            raise SweepError(f"{where}: unknown tag {tag!r}{did_you_mean(tag, TAGS)} (known: {', '.join(TAGS)})")
    # Hydra drops all but the outermost tags, and casts drop them from ranges: silently, so it is said here.
    if isinstance(sweep, IntervalSweep | RangeSweep) and "tag(" in where and (not tags or where.count("tag(") > 1):
        raise SweepError(
            f"{where}: tags are lost unless there is one tag(...) around everything, as in tag(zero,log,...)"
        )
    return tags


def _interval(key: str, sweep: IntervalSweep, tags: set[str], where: str) -> Numbers:
    low, high = sweep.start, sweep.end
    if low is None or high is None or not (abs(low) < float("inf") and abs(high) < float("inf")):
        raise SweepError(f"{where}: an interval has two finite ends")
    if low >= high:
        raise SweepError(f"{where}: empty interval; the first end has to be smaller than the second")
    integer = "int" in tags or isinstance(low, int)
    if integer and not (float(low).is_integer() and float(high).is_integer()):
        raise SweepError(f"{where}: an interval of whole numbers has whole ends")
    _refuse_log_from_zero(low, tags, where)
    return Numbers(key, low, high, integer=integer, log="log" in tags, zero="zero" in tags)


def _range(key: str, sweep: RangeSweep, tags: set[str], where: str) -> Numbers:
    if sweep.shuffle:
        raise SweepError(f"{where}: shuffle has no meaning here; the sampler decides about the order")
    start, stop, step = (decimal(x or 0) for x in (sweep.start, sweep.stop, sweep.step))
    if step == 0:
        raise SweepError(f"{where}: the step of a range cannot be 0")
    n = int((stop - start) / step)
    n += start + n * step != stop  # the stop is excluded
    if n < 1 or (stop - start) / step <= 0:
        raise SweepError(f"{where}: empty range (its stop is excluded)")
    low, high = sorted((start, start + (n - 1) * step))
    whole = all(x == x.to_integral_value() for x in (low, step))
    if "int" in tags and not whole:
        raise SweepError(f"{where}: a range of whole numbers has a whole start and step")
    integer = whole and ("int" in tags or all(isinstance(x, int) for x in (sweep.start, sweep.stop, sweep.step)))
    if "log" in tags and not (integer and abs(step) == 1):
        raise SweepError(f"{where}: a log scale goes with an interval, or with whole numbers of step 1")
    _refuse_log_from_zero(float(low), tags, where)
    log, zero = "log" in tags, "zero" in tags
    return Numbers(key, float(low), float(high), None if log else float(abs(step)), integer, log, zero)


def _choice(key: str, override: Override, where: str) -> Choice:
    if isinstance(sweep := override.value(), ChoiceSweep) and sweep.shuffle:
        raise SweepError(f"{where}: shuffle has no meaning here; the sampler decides about the order")
    elements = list(override.sweep_iterator())
    texts = tuple(_text(x) for x in elements)
    options = tuple(_option(x, t) for x, t in zip(elements, texts, strict=True))
    if not options:
        raise SweepError(f"{where}: there is nothing to choose from")
    for i, option in enumerate(options):
        if option in options[:i]:  # Optuna would not tell them apart
            raise SweepError(f"{where}: {texts[i]} is there twice")
    return Choice(key, options, texts)


def _text(element: object) -> str:
    """As an override writes it. Hydra forgets the quotes of what stands in choice(...), so they are put back."""
    if isinstance(element, list):
        return "[" + ",".join(map(_text, element)) + "]"
    if isinstance(element, dict):
        return "{" + ",".join(f"{k}:{_text(v)}" for k, v in element.items()) + "}"
    if element is None:
        return "null"
    if not isinstance(element, str | QuotedString):
        return str(element)
    text = element if isinstance(element, str) else element.text
    plain = _PLAIN_TEXT.fullmatch(text) and text.lower() not in _NOT_TEXT
    return text if plain else QuotedString(text, Quote.single).with_quotes()


def _option(element: object, text: str) -> Value:
    if isinstance(element, QuotedString):
        return element.text
    return element if isinstance(element, bool | int | float | str) else text


def _refuse_log_from_zero(low: float, tags: set[str], where: str) -> None:
    if "log" in tags and low <= 0:
        raise SweepError(
            f"{where}: a log scale starts above 0; for exactly 0 or a log scale write tag(zero,log,interval(1e-3,1.0))"
        )
