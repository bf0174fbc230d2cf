"""Options of one's own, outside the package: each one file and one yaml, found through `hydra.searchpath` and allowed
by XREC_ALLOWED_TARGETS; composed, trained, explained, measured and shown by the real application."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from textwrap import dedent

import polars as pl
import pytest
import torch
from safetensors.torch import load_file

from tests.contracts.test_application import ROOT, hashes
from tests.small_journey import SMALL
from xrec.rundir.saved import SavedRun


@dataclass(frozen=True)
class Option:
    """yaml: its path under the folder of options, and what it holds. overrides: what chooses it. shown: patterns of
    what the report says of it. check: of a run that has it."""

    code: str
    yaml: tuple[str, str]
    overrides: tuple[str, ...]
    shown: tuple[str, ...]
    check: Callable[[SavedRun], None]


def _volume(run: SavedRun) -> None:
    rows = run.results.frame.filter((pl.col("explainer") == "volume") & (pl.col("stage") == "fidelity"))
    assert set(rows["role"]) == {"control"} and "deletion" in set(rows["metric"])
    saved = run.table("attributions.parquet")
    assert saved is not None
    mine = saved.filter(pl.col("explainer") == "volume")
    assert (mine["value"] == mine["strength"]).all()


def _largest_share(run: SavedRun) -> None:
    rows = run.results.frame.filter(pl.col("metric") == "largest_share")
    assert {"random", "volume"} <= set(rows["explainer"]) and set(rows["direction"]) == {"lower"}
    assert rows["value"].is_between(0, 1).all() and run.results.metric("largest_share").label == "Largest share"


def _logged(run: SavedRun, name: str) -> list[float]:
    lines = (run.directory / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [line[name] for line in map(json.loads, lines) if name in line]


def _freshness(run: SavedRun) -> None:
    rows = run.results.frame.filter(pl.col("component") == "freshness")
    assert {"rank", "explain"} <= set(rows["stage"])  # what it is worth, and its share of the score
    assert rows.filter(pl.col("metric") == "component_share")["value"].abs().max() > 0  # type: ignore[operator]
    sizes = _logged(run, "loss/raw/freshness_size")
    assert sizes and all(size > 0 for size in sizes)


def _anchor(run: SavedRun) -> None:
    losses = _logged(run, "anchor_loss")
    assert losses[0] == pytest.approx(9.0) and losses == sorted(losses, reverse=True) and losses[-1] < 1.0
    level = load_file(run.directory / "model.safetensors")["components.anchor.level"]
    assert 0 < 3.0 - float(level) < 1.0
    assert set(run.results.frame.filter(pl.col("component") == "anchor")["stage"]) >= {"rank"}


def _about(run: SavedRun, column: str, name: str) -> None:
    """A column of every row about explanations, of the saved ones, and of the report."""
    rows = run.results.frame.filter((pl.col("stage") == "fidelity") & pl.col("explainer").is_not_null())
    assert set(rows[column]) == {name}
    saved = run.table("explanations.parquet")
    assert saved is not None and set(saved[column]) == {name}


def _halves(run: SavedRun) -> None:
    _about(run, "players", "halves")
    saved = run.table("attributions.parquet")
    assert saved is not None and set(saved["player"]) == {"early", "late"}
    assert set(saved["player_name"]) == {"the older half", "the newer half"}
    assert saved["n_items"].min() >= 1  # type: ignore[operator]


def _faded(run: SavedRun) -> None:
    _about(run, "masker", "faded")
    saved = run.table("explanations.parquet")
    assert saved is not None and (saved["f_empty"] != saved["f_x"]).any()


def _odds(run: SavedRun) -> None:
    _about(run, "output", "odds")
    saved = run.table("explanations.parquet")
    assert saved is not None and saved["f_x"].min() > 0  # type: ignore[operator]


def _rehearsed(run: SavedRun) -> None:
    state = load_file(run.directory / "learned" / "explainer.rehearsed.safetensors")
    assert state["mean"].shape == (1,) and torch.isfinite(state["mean"]).all()
    saved = run.table("attributions.parquet")
    assert saved is not None
    mine = saved.filter(pl.col("explainer") == "rehearsed")
    assert mine["value"].to_numpy() == pytest.approx(float(state["mean"]))
    assert set(run.results.frame.filter(pl.col("explainer") == "rehearsed")["role"]) >= {"explainer"}


def _nearness(run: SavedRun) -> None:
    frame = run.results.frame
    assert set(frame.filter(pl.col("stage") != "rank")["model"]) == {"nearness"}
    assert {"nearness", "popularity"} <= set(frame.filter(pl.col("stage") == "rank")["model"])


OPTIONS = {
    "volume": Option(
        '''
        """Control: what there is most of matters most."""

        from xrec.explain.explainer import Explainer


        class Volume(Explainer):
            role = "control"

            def values(self, game, random):
                return game.players.pooled(game.history.strength).numpy()
        ''',
        ("explainer/volume.yaml", "# @package explainer.volume\n_target_: mine.volume.Volume\n"),
        ("explainer=[random,volume,leave_one_out]",),
        (r"Controls</th>((?!rowgroup).)*<th scope=\"row\">volume</th>",),
        _volume,
    ),
    "largest_share": Option(
        '''
        """How much of an explanation one player carries."""

        import numpy as np

        from xrec.fidelity.metric import FidelityMetric, Measured
        from xrec.types import Metric


        class LargestShare(FidelityMetric):
            metrics = (
                Metric("largest_share", "Largest share", "lower", ".3f", "Of |values|, by one player.", family="mine"),
            )

            def measure(self, removal):
                size = np.abs(np.nan_to_num(removal.attribution.values))
                return [Measured("largest_share", size.max(1) / np.maximum(size.sum(1), 1e-12))]
        ''',
        (
            "fidelity/largest_share.yaml",
            "# @package fidelity.largest_share\n_target_: mine.largest_share.LargestShare\n",
        ),
        ("fidelity=[score,largest_share]",),
        (
            r"Largest share\s<span title=\"lower is better\">",
            r"Of \|values\|, by one player\.\s<span class=\"muted\">Lower is better",
        ),
        _largest_share,
    ),
    "freshness": Option(
        '''
        """A component: what was bought lately is bought again."""

        import torch

        from xrec.models.component import Component
        from xrec.models.history import at_own_item
        from xrec.models.recommender import Capabilities


        class Freshness(Component):
            capabilities = Capabilities(gradients=True, fractional_presence=True, additive=True)
            linear = True
            term_names = ("freshness_size",)

            def __init__(self, catalogue, embedding_size, start: float = 0.5):
                super().__init__()
                self.n_items = catalogue.n_items
                self.weight = torch.nn.Parameter(torch.tensor(start))

            def score(self, context, presence=None, targets=None):
                return context.presence(presence) @ self.contributions(context, targets)

            def contributions(self, context, targets=None):
                own = self.weight / context.history.age.clamp_min(1) * context.history.presence
                return at_own_item(context.history.item, own, targets, self.n_items)

            def item_terms(self, generator, wanted):
                return {"freshness_size": self.weight.square()} if "freshness_size" in wanted else {}
        ''',
        (
            "model/wide/freshness.yaml",
            """\
            # @package _global_
            model:
              components:
                freshness: {_target_: mine.freshness.Freshness, _partial_: true, start: 0.7}
            loss: {weights: {freshness_size: 0.01}}
            """,
        ),
        ("model/wide=[prior,linear,freshness,anchor]",),
        ("freshness",),
        _freshness,
    ),
    "anchor": Option(
        '''
        """An update: a level that no loss term moves is pulled to 3 in steps of its own."""

        import torch

        from xrec.models.component import Component
        from xrec.models.update import Update


        class Anchor(Component):
            def __init__(self, catalogue, embedding_size):
                super().__init__()
                self.level = torch.nn.Parameter(torch.tensor(0.0))

            def score(self, context, presence=None, targets=None):
                return self.level.reshape(1, 1, 1)

            def updates(self):
                def loss(generator):
                    return (self.level - 3.0).square()

                return [Update("anchor", [self.level], loss, learning_rate_scale=20.0, optimiser=torch.optim.SGD)]
        ''',
        (
            "model/wide/anchor.yaml",
            "# @package model.components.anchor\n_target_: mine.anchor.Anchor\n_partial_: true\n",
        ),
        (),
        ("anchor",),
        _anchor,
    ),
    "halves": Option(
        '''
        """Players: the newer and the older half of a history, by ages."""

        from xrec.games.players import Players


        class Halves(Players):
            name = "halves"

            def codes(self, history, catalogue):
                n = history.presence.sum(1, keepdim=True)
                middle = (history.age * history.presence).sum(1, keepdim=True) / n.clamp_min(1)
                return (history.age <= middle).long()

            def label(self, code, catalogue):
                return (("early", "the older half"), ("late", "the newer half"))[code]
        ''',
        ("players/halves.yaml", "_target_: mine.halves.Halves\n"),
        ("players=halves", "cases.few_players=0"),
        ("halves", "the older half"),
        _halves,
    ),
    "faded": Option(
        '''
        """Masker: an absent item is still there to a share."""

        from xrec.games.maskers import Masker


        class Faded(Masker):
            name = "faded"
            requires = ("fractional_presence",)

            def __init__(self, left: float = 0.1):
                self.left = left

            def bind(self, history, cases, seed):
                return lambda present: (self.left + (1 - self.left) * present).unsqueeze(2)
        ''',
        ("masker/faded.yaml", "_target_: mine.faded.Faded\nleft: 0.2\n"),
        ("masker=faded",),
        ("faded",),
        _faded,
    ),
    "odds": Option(
        '''
        """Output: exp of the target's score."""

        import torch

        from xrec.games.outputs import Output, Reading


        class Odds(Output):
            name = "odds"

            def bind(self, cases, candidates):
                targets = torch.tensor([[case.target] for case in cases])
                return Reading(targets, lambda scores: scores.squeeze(-1).exp())
        ''',
        ("output/odds.yaml", "_target_: mine.odds.Odds\n"),
        ("output=odds", "explainer=[random,volume,leave_one_out]"),
        ("odds",),
        _odds,
    ),
    "rehearsed": Option(
        '''
        """An explainer that learns one number: the mean effect of the whole history of other users."""

        import numpy as np
        import torch

        from xrec.explain.explainer import Explainer


        class Rehearsed(Explainer):
            def fit(self, fitting):
                effects = [whole - empty for whole, empty in (game.ends() for game in fitting.games(4))]
                self.mean = torch.tensor([float(np.concatenate(effects).mean())])

            def state(self):
                return {"mean": self.mean}

            def load_state(self, state):
                self.mean = state["mean"]

            def values(self, game, random):
                return np.full((len(game), game.width), float(self.mean))
        ''',
        ("explainer/rehearsed.yaml", "# @package explainer.rehearsed\n_target_: mine.rehearsed.Rehearsed\n"),
        ("explainer=[random,rehearsed]",),
        (r"<th scope=\"row\">rehearsed</th>",),
        _rehearsed,
    ),
    "nearness": Option(
        '''
        """Items with neighbouring numbers go together."""

        import torch

        from xrec.models.recommender import Capabilities, Context, Recommender


        class Nearness(Recommender):
            capabilities = Capabilities(fractional_presence=True)

            def __init__(self, catalogue, reach: float = 1.0):
                super().__init__()
                self.n_items, self.reach = catalogue.n_items, reach

            def fit(self, data):
                pass

            def prepare(self, history):
                return Context(history)

            def score(self, context, presence=None, targets=None):
                item, present = context.history.item, context.presence(presence)
                wanted = torch.arange(self.n_items).expand(len(item), -1) if targets is None else targets
                distance = (item.unsqueeze(-1) - wanted.unsqueeze(1)).abs()
                return present @ (1 / (self.reach + distance))
        ''',
        (
            "model/nearness.yaml",
            "# @package _global_\nmodel:\n  name: nearness\n  _target_: mine.nearness.Nearness\n  reach: 2.0\n",
        ),
        ("model=nearness", "model.reach=1.5"),
        (r"<th scope=\"row\">nearness</th>", "nearness minus this"),
        _nearness,
    ),
}
#: options that go into one run
RUNS = {
    "options of the default model": ("volume", "largest_share", "freshness", "anchor"),
    "a game of its own": ("volume", "halves", "faded", "odds"),
    "one that learns": ("rehearsed",),
    "a model of its own": ("nearness", "volume", "largest_share"),
}
SWEEP = """\
# @package _global_
defaults:
  - override /hydra/sweeper: xrec
sweep:
  name: reaches
objectives: [validation_ndcg_at_10_all]
hydra:
  sweeper:
    n_trials: 2
    study_name: reaches
    sampler: {name: random}
    seed: 0
    objectives: ${objectives}
    directions: [maximize]
    space:
      model.reach: interval(0.5,4.0)
      explainer: choice([volume],[random,volume])
  sweep:
    dir: ${paths.runs}/reaches
    subdir: ${hydra.job.num}
"""


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package `mine` and the options `conf`."""
    folder = tmp_path_factory.mktemp("outside")
    options = {option.yaml[0]: dedent(option.yaml[1]) for option in OPTIONS.values()} | {"sweep/reaches.yaml": SWEEP}
    files = {f"mine/{name}.py": dedent(option.code).lstrip() for name, option in OPTIONS.items()}
    for name, text in (files | {f"conf/{path}": text for path, text in options.items()}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def execute(outside: Path, *arguments: str, allowed: str = "mine") -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(map(str, (ROOT, ROOT / "xrec/sweep/plugin", outside)))
    return subprocess.run(
        [sys.executable, str(ROOT / "experiments" / "run.py"), *arguments],
        cwd=outside,
        env=os.environ | {"PYTHONPATH": path, "XREC_ALLOWED_TARGETS": allowed, "WANDB_MODE": "offline"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def small(journey: Path, outside: Path, *overrides: str) -> list[str]:
    """Overrides of a small run with options of one's own."""
    sizes = [o for o in SMALL if not (o.startswith("model.") and "model=nearness" in overrides)]
    where = [f"data.source.path={journey}", f"paths.cache={outside / 'cache'}", f"paths.runs={outside / 'runs'}"]
    return ["hydra.searchpath=[conf]", *where, *sizes, *overrides]


@pytest.fixture(scope="module")
def finished(journey: Path, outside: Path) -> Callable[[str], Path]:
    """The run directory of a set of options; each is run once."""
    done: dict[str, Path] = {}

    def run(name: str) -> Path:
        if name not in done:
            directory = outside / name
            overrides = [o for option in RUNS[name] for o in OPTIONS[option].overrides]
            answer = execute(outside, *small(journey, outside, *overrides, f"hydra.run.dir='{directory}'"))
            assert answer.returncode == 0, answer.stderr
            done[name] = directory
        return done[name]

    return run


@pytest.mark.parametrize(("run", "option"), [(run, option) for run, options in RUNS.items() for option in options])
def test_an_option_of_ones_own_is_measured_and_shown(run: str, option: str, finished: Callable[[str], Path]) -> None:
    directory = finished(run)
    OPTIONS[option].check(SavedRun(directory))
    page = unescape((directory / "report.html").read_text(encoding="utf-8"))
    assert [words for words in OPTIONS[option].shown if not re.search(words, page, re.DOTALL)] == []


def test_it_is_resumed_without_its_options_but_not_without_leave(
    finished: Callable[[str], Path], outside: Path
) -> None:
    directory = finished("a model of its own")
    before = hashes(directory)
    (directory / "stages" / "fidelity.parquet").write_bytes(b"damaged")
    refused = execute(outside, f"resume='{directory}'", allowed="")
    assert refused.returncode == 1 and "XREC_ALLOWED_TARGETS allows more" in refused.stderr
    done = execute(outside, f"resume='{directory}'")
    assert done.returncode == 0, done.stderr
    assert hashes(directory) == before


def test_it_is_explained_again_from_the_saved_run(
    finished: Callable[[str], Path], journey: Path, outside: Path
) -> None:
    source, again = finished("a model of its own"), outside / "again"
    stages = ["stages=[explain,fidelity,report]", f"from_run='{source}'", "explainer=[random,volume]"]
    done = execute(
        outside, *small(journey, outside, "model=nearness", "model.reach=1.5", *stages, f"hydra.run.dir={again}")
    )
    assert done.returncode == 0, done.stderr
    assert SavedRun(again).config["model"]["_target_"] == "mine.nearness.Nearness"


@pytest.mark.slow
def test_multiruns_and_studies_find_them(journey: Path, outside: Path) -> None:
    jobs = ["-m", "explainer=[volume]", "model=nearness,popularity", "stages=[fit,rank]", "baselines=[]"]
    arguments = [a for a in small(journey, outside, "model=nearness", *jobs[1:]) if a != "model=nearness"]
    done = execute(outside, "-m", *arguments, f"hydra.sweep.dir={outside / 'both'}")
    assert done.returncode == 0, done.stderr
    models = [SavedRun(outside / "both" / str(job)).config["model"]["name"] for job in range(2)]
    assert models == ["nearness", "popularity"]
    study = ["model=nearness", "sweep=reaches", "stages=[fit,rank]", "baselines=[]"]
    done = execute(outside, "-m", *small(journey, outside, *study))
    assert done.returncode == 0, done.stderr
    reaches = {SavedRun(outside / "runs/reaches" / str(trial)).config["model"]["reach"] for trial in range(2)}
    assert len(reaches) == 2
