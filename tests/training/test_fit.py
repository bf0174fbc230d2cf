"""Training: same seed same bits, resume after an interruption, early stopping, explosions."""

from __future__ import annotations

import itertools
import math
import os
import signal
import subprocess
import sys
import textwrap
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.toys import MONITOR, WEIGHTS, fit_data, fitted_composed, histories, toy_composed, toy_settings, train
from xrec.losses.reconstruction import Bernoulli, Multinomial
from xrec.losses.weights import LossError
from xrec.models.composed import Composed
from xrec.models.history import History
from xrec.models.update import Update
from xrec.rundir.directory import RunDirectory
from xrec.rundir.saved import SavedRun
from xrec.training.checkpoint import load_checkpoint, weights_digest
from xrec.training.examples import Piece, Step, windows
from xrec.training.fit import Objective, _gradients, fit
from xrec.training.schedules import Staircase

#: for models without a BiGAN
WITHOUT_GAME = {n: w for n, w in WEIGHTS.items() if n not in ("adversarial", "item_reconstruction")}


def digest(toy, folder: Path, **changes) -> str:
    return weights_digest(train(toy, folder, **changes)[0])


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(toy, tmp_path):
    first, second, other = (digest(toy, tmp_path / str(i), seed=seed) for i, seed in enumerate((1, 1, 2)))
    assert first == second != other


def test_training_lowers_the_reconstruction_loss(toy, tmp_path):
    rows = []
    train(toy, tmp_path, log=rows.append, epochs=6)
    losses = [r["loss/raw/reconstruction"] for r in rows if "loss/raw/reconstruction" in r]
    assert sum(losses[-4:]) < 0.8 * sum(losses[:4])


def test_training_moves_every_part(toy, tmp_path):
    before = dict(toy_composed(toy, noise=0.0).named_parameters())
    after, _ = train(toy, tmp_path, validate=lambda model: {MONITOR: 0.0}, epochs=1)
    still = [n for n, p in after.named_parameters() if torch.equal(p, before[n]) and "kind_bias" not in n]
    assert still == []


def test_encoders_drop_and_draw_in_training_and_never_when_scoring(toy, tmp_path):
    model, drawn = toy_composed(toy, noise=0.0), []
    encode, features = model.component("user_encoder").encode, model.item_encoder.features

    def watched_encode(history, presence, generator=None):
        drawn.append(("encode", generator is not None))
        return encode(history, presence, generator)

    def watched_features(generator=None):
        drawn.append(("features", generator is not None))
        return features(generator)

    model.component("user_encoder").encode, model.item_encoder.features = watched_encode, watched_features
    seen = []

    def validate(model):
        seen.append(set(drawn))
        drawn.clear()
        model.score(model.prepare(histories(toy, [0])))
        seen.append(set(drawn))
        return {MONITOR: 0.0}

    train(toy, tmp_path, model=model, validate=validate, epochs=1)
    assert seen == [{("encode", True), ("features", True)}, {("encode", False), ("features", False)}]


class InterruptedRunError(Exception):
    pass


def interrupt_at(step: int):
    def log(row):
        if row["step"] == step:
            raise InterruptedRunError

    return log


@pytest.mark.parametrize("step", [1, 6, 9, 13])
@pytest.mark.parametrize("better", [1.0, -1.0], ids=["improving", "worsening"])
def test_an_interrupted_run_ends_with_the_bits_of_an_undisturbed_one(toy, tmp_path, step, better):
    def validate(model):
        return {MONITOR: better * float(model.component("prior").bias.detach().abs().sum())}

    run = partial(train, toy, validate=validate, epochs=4, learning_rate_schedule=Staircase(0.7, 4))
    with pytest.raises(InterruptedRunError):
        run(tmp_path / "a", log=interrupt_at(step))
    resumed, summary = run(tmp_path / "a")
    undisturbed, expected = run(tmp_path / "b")
    assert weights_digest(resumed) == weights_digest(undisturbed)
    assert summary == expected


def test_without_validation_all_epochs_are_trained_and_the_last_weights_stay(toy, tmp_path):
    """Also where validation would have stopped at once; and an interruption changes nothing."""
    run = partial(train, toy, epochs=4, patience=1)
    stopped, early = run(tmp_path / "validated", validate=lambda model: {MONITOR: 0.0})
    rows = []
    model, summary = run(tmp_path / "a", validate=None, log=rows.append)
    assert (early["epochs"], summary) == (2, {"epochs": 4, "steps": 2 * early["steps"], "collapsed": 0})
    assert not any(MONITOR in row for row in rows)
    assert sorted(p.name for p in (tmp_path / "a" / "checkpoint").iterdir()) == ["last"]
    kept = toy_composed(toy, noise=0.0)
    load_checkpoint(tmp_path / "a" / "checkpoint" / "last", kept, {}, torch.Generator())
    assert weights_digest(model) == weights_digest(kept) != weights_digest(stopped)
    assert not model.training
    with pytest.raises(InterruptedRunError):
        run(tmp_path / "b", validate=None, log=interrupt_at(9))
    assert weights_digest(run(tmp_path / "b", validate=None)[0]) == weights_digest(model)


def measured(rows: list[dict]) -> list[dict]:
    """What does not change from one time to the next."""
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def test_validation_is_logged_at_the_last_step_of_its_epoch(toy, tmp_path):
    """Every step is logged, so that the next epoch's first one would share a step that is one too large."""
    rows = []
    train(toy, tmp_path, log=rows.append, epochs=3)
    last = {row["epoch"]: row["step"] for row in rows if "loss/total" in row}
    assert {row["epoch"]: row["step"] for row in rows if MONITOR in row} == last
    assert sorted(last) == [1, 2, 3]
    assert [row["step"] for row in rows] == sorted(row["step"] for row in rows)


@pytest.mark.parametrize("where", ["middle of an epoch", "validation"])
def test_the_log_of_an_interrupted_run_is_that_of_an_undisturbed_one(toy, tmp_path, where):
    def interrupted(row):
        lines.append(row)
        if row["epoch"] == 2 and (where == "middle of an epoch" or MONITOR in row):
            raise InterruptedRunError

    undisturbed, lines = [], []
    train(toy, tmp_path / "a", log=undisturbed.append, epochs=3)
    with pytest.raises(InterruptedRunError):
        train(toy, tmp_path / "b", log=interrupted, epochs=3)
    with RunDirectory(tmp_path / "run") as run:
        for line in lines:
            run.log(line)
        run.trim_log(epochs=1)
        train(toy, tmp_path / "b", log=run.log, epochs=3)
        assert measured(SavedRun(run.directory).log) == measured(undisturbed)


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from tests.toys import toy_dataset, train

    def log(row):
        if row["epoch"] == 2 and "loss/total" in row:
            os.kill(os.getpid(), signal.SIGKILL)

    folder = Path(sys.argv[1])
    import torch
    torch.set_num_threads(1)
    train(toy_dataset(folder), folder, epochs=3, log=log)
"""


def test_a_run_killed_with_sigkill_resumes_to_the_same_bits(toy, tmp_path):
    root = str(Path(__file__).resolve().parents[2])
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([*os.environ.get("PYTHONPATH", "").split(os.pathsep), root]),
    }
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path / "a")]
    killed = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert (tmp_path / "a" / "checkpoint" / "last").is_dir()
    assert digest(toy, tmp_path / "a", epochs=3) == digest(toy, tmp_path / "b", epochs=3)


def test_a_finished_run_is_not_trained_again(toy, tmp_path):
    first, rows = digest(toy, tmp_path), []
    assert digest(toy, tmp_path, log=rows.append) == first
    assert rows == []


def test_early_stopping_leaves_the_best_epoch_s_weights(toy, tmp_path):
    seen, values = [], iter([0.1, 0.5, 0.4, 0.3, 0.9])

    def validate(model):
        seen.append(weights_digest(model))
        return {MONITOR: next(values)}

    model, summary = train(toy, tmp_path, validate=validate, epochs=5, patience=2)
    assert (summary["epochs"], summary["best_epoch"], summary[MONITOR]) == (4, 2, 0.5)
    assert weights_digest(model) == seen[1] and len(set(seen)) == 4


def test_an_unknown_monitor_lists_what_is_measured(toy, tmp_path):
    with pytest.raises(ValueError, match="'nothing' is not measured; choose one of " + MONITOR):
        train(toy, tmp_path, monitor="nothing")


def test_a_validation_that_is_nan_is_not_silent(toy, tmp_path):
    with pytest.raises(ValueError, match="nan"):
        train(toy, tmp_path, validate=lambda model: {MONITOR: math.nan})


def test_a_nan_names_its_term_and_step(toy, tmp_path):
    with pytest.raises(LossError, match=r"'reconstruction' is nan at step 0 \(epoch 1\)"):
        train(toy, tmp_path, reconstruction=lambda scores, labels, weight: scores.sum(1) * math.nan)


def test_an_exploding_term_names_its_term_and_step(toy, tmp_path):
    with pytest.raises(LossError, match=r"\S*loss\S* is \S+ at step \d+, beyond training.max_loss=1000"):
        train(toy, tmp_path, learning_rate=1e3, max_loss=1e3, epochs=3)


def test_weights_that_do_not_match_the_model_are_refused(toy, tmp_path):
    with pytest.raises(LossError, match="loss.weights.adversarial has no term"):
        train(toy, tmp_path, model=toy_composed(toy, item_encoder="embedding"))


def test_a_weight_of_zero_switches_a_term_off_and_logs_it(toy, tmp_path):
    rows = []
    train(toy, tmp_path, weights={**WEIGHTS, "kl": 0.0, "adversarial": 0.0}, log=rows.append, epochs=1)
    assert rows[0]["loss/off/kl"] == rows[0]["loss/off/adversarial"] == 1.0
    assert not any("discriminator_loss" in row or "loss/raw/kl" in row for row in rows)


def test_an_annealed_weight_grows_from_zero(toy, tmp_path):
    rows = []
    train(toy, tmp_path, log=rows.append)
    shares = [r["loss/weighted/kl"] / (WEIGHTS["kl"] * r["loss/raw/kl"]) for r in rows if "loss/raw/kl" in r]
    assert shares[:6] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0, 1.0], rel=1e-5)


def test_a_learning_rate_scale_of_zero_freezes_its_group(toy, tmp_path):
    before = {n: p.clone() for n, p in toy_composed(toy, noise=0.0).named_parameters()}
    model, _ = train(toy, tmp_path, learning_rate_scale={"wide": 0.0}, epochs=1)
    changed = (n.split(".") for n, p in model.named_parameters() if not torch.equal(p, before[n]))
    moved = {place[1] if place[0] == "components" else place[0] for place in changed}
    assert moved == {"item_encoder", "attention", "user_encoder"}


def test_an_unknown_parameter_group_lists_the_groups(toy, tmp_path):
    with pytest.raises(ValueError, match="no parameter group .*'wid'.*groups are wide, neural$"):
        train(toy, tmp_path, learning_rate_scale={"wid": 0.0})


def test_windows_past_the_training_periods_are_refused_before_training(toy, tmp_path):
    settings, objective = toy_settings(windows=[8]), Objective(WEIGHTS, Bernoulli())
    with pytest.raises(ValueError, match="past the last training period 8"):
        fit(toy_composed(toy), fit_data(toy, tmp_path), settings, objective, tmp_path, dict, print)


def test_decay_multiplies_the_learning_rate_every_epoch(toy, tmp_path):
    seen = []

    def validate(model):
        seen.append(weights_digest(model))
        return {MONITOR: float(len(seen))}

    # without the BiGAN, whose norms are estimated at every step, whatever the rate
    model, weights = toy_composed(toy, item_encoder="embedding", noise=0.0), WITHOUT_GAME
    schedule = Staircase(0.0, 2)
    train(toy, tmp_path, model=model, weights=weights, validate=validate, epochs=2, learning_rate_schedule=schedule)
    assert seen[0] == seen[1]


class Shrinking(Composed):
    """With an update of its own: it pulls the prior's level to 0, and no other step moves it."""

    every, term = 1, None

    def updates(self):
        level = self.component("prior").level
        step = Update("shrink", [level], lambda g: level.square(), self.term, self.every, 0.5, torch.optim.SGD)
        return [*super().updates(), step]


def levels(toy, tmp_path, monkeypatch, **changes) -> list[float]:
    """The prior's level before each step and after the last."""
    model, found = toy_composed(toy, noise=0.0), []
    model.__class__ = Shrinking
    for name in ("every", "term"):
        monkeypatch.setattr(Shrinking, name, changes.pop(name, getattr(Shrinking, name)))
    shared = model.shared_tables
    monkeypatch.setattr(
        model, "shared_tables", lambda g: (found.append(model.component("prior").level.item()), shared(g))[1]
    )
    train(toy, tmp_path, model=model, epochs=1, learning_rate=0.1, **changes)
    return found


@pytest.mark.parametrize("every", [1, 3])
def test_an_update_is_a_step_of_its_own_with_its_own_optimiser_rate_and_rhythm(toy, tmp_path, monkeypatch, every):
    rows = []
    found = levels(toy, tmp_path, monkeypatch, every=every, log=rows.append)
    wanted = -6.0
    for step, level in enumerate(found[: len(rows) - 1]):  # seen after the update of the step
        if step % every == 0:
            wanted *= 1 - 2 * 0.1 * 0.5  # of SGD on the square
        assert level == pytest.approx(wanted, rel=1e-5)
    assert [row["step"] for row in rows if "shrink_loss" in row] == [s for s in range(len(rows) - 1) if s % every == 0]


def test_an_update_rests_while_its_term_has_no_weight(toy, tmp_path, monkeypatch):
    assert set(levels(toy, tmp_path, monkeypatch, term="kl", weights={**WEIGHTS, "kl": 0.0})) == {-6.0}


def test_two_updates_of_one_name_are_refused(toy, tmp_path, monkeypatch):
    model = toy_composed(toy)
    twice = model.updates() * 2
    monkeypatch.setattr(model, "updates", lambda: twice)
    with pytest.raises(ValueError, match="update 'discriminator' of the model: the name is taken"):
        train(toy, tmp_path, model=model)


def test_a_schedule_scales_every_rate(toy, tmp_path):
    before = dict(toy_composed(toy, item_encoder="embedding", noise=0.0).named_parameters())
    model, weights = toy_composed(toy, item_encoder="embedding", noise=0.0), WITHOUT_GAME
    schedule = lambda step, progress: 0.0  # noqa: E731
    after, _ = train(toy, tmp_path, model=model, weights=weights, learning_rate_schedule=schedule, epochs=1)
    assert all(torch.equal(p, before[n]) for n, p in after.named_parameters())


def test_progress_goes_from_zero_to_one_over_all_epochs(toy, tmp_path):
    seen = []
    train(toy, tmp_path, epochs=3, learning_rate_schedule=lambda *at: (seen.append(at), 1.0)[1])
    steps, shares = zip(*seen, strict=True)
    assert list(steps) == list(range(len(seen)))
    assert shares[0] == 0.0 and all(a < b < 1.0 for a, b in itertools.pairwise(shares))
    assert {1 / 3, 2 / 3} <= set(shares)


def half_gone(score, presence, labels, log_weight, generator):
    """What the scores of the targets lose when the first half of the history goes."""
    later = (torch.arange(presence.shape[1]) >= presence.shape[1] // 2) * presence
    return ((score(None) - score(later.unsqueeze(1))).squeeze(1) * labels).sum(1)


def size(score, presence, labels, log_weight, generator):
    return (score(None).squeeze(1).square() * torch.isfinite(log_weight)).mean(1)


def test_loss_terms_are_handed_the_model_s_score(toy, tmp_path):
    rows = []
    terms = {"half_gone": half_gone, "size": size}
    weights = {**WEIGHTS, "half_gone": 0.01, "size": 0.01}
    model, _ = train(toy, tmp_path / "with", score_terms=terms, weights=weights, log=rows.append)
    raw = [(row["loss/raw/half_gone"], row["loss/raw/size"]) for row in rows if "loss/raw/size" in row]
    assert all(size > 0 and lost != 0 for lost, size in raw)
    assert weights_digest(model) != weights_digest(train(toy, tmp_path / "without")[0])
    off = train(toy, tmp_path / "off", score_terms=terms, weights={**weights, "half_gone": 0.0, "size": 0.0})[0]
    assert weights_digest(off) == weights_digest(train(toy, tmp_path / "again")[0])


def test_a_masked_score_in_training_uses_weights_from_before_the_window(toy, tmp_path):
    model = fitted_composed(toy, tmp_path, user_encoder=False, item_encoder="embedding")
    history = History.from_table(toy.histories(7), [3, 4])
    context = model.training_context(history, torch.tensor([3, 4]), torch.Generator())
    targets = torch.tensor([[1, 2], [0, 5]])
    whole = model.score(context, None, targets)
    masked = model.score(context, torch.ones(2, 1, history.item.shape[1]), targets)
    torch.testing.assert_close(masked, whole, atol=2e-2, rtol=0)  # the window's table is kept in half precision


def test_a_term_without_a_weight_is_refused(toy, tmp_path):
    weights = {name: weight for name, weight in WEIGHTS.items() if name != "item_bias"}
    with pytest.raises(LossError, match="loss term 'item_bias' has no weight: add loss.weights.item_bias"):
        train(toy, tmp_path, weights=weights)


class _Plain(Composed):
    """Without noise: what is left depends on the examples alone."""

    def training_context(self, *arguments):
        context = super().training_context(*arguments)
        context.generator = None
        return context

    def terms(self, context, wanted):
        return {"kl": context.history.presence.sum(1)} if "kl" in wanted else {}


def gradients(toy, tmp_path, users: list[list[int]], weights: dict[str, float], copies: int = 1):
    """The gradient of a step whose users are cut into pieces, and what is logged of its terms."""
    model = fitted_composed(toy, tmp_path, item_encoder="embedding")
    model.__class__ = _Plain
    window = windows(toy, [7], 2)[0]
    step = Step([Piece(window, np.array(piece)) for piece in users * copies])
    objective, data = Objective(weights, Multinomial()), fit_data(toy, tmp_path)
    warm = np.arange(toy.catalogue.n_items)
    logged = _gradients(model, step, warm, np.array([1, 5, 9]), objective, weights, data)
    return logged, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("users", [[[0, 3], [4, 5, 7]], [[5], [7], [3], [0], [4]], [[4, 5, 7, 0], [3]]])
def test_a_weight_means_the_same_however_a_step_is_cut(toy, tmp_path, users):
    """Every user weighs 1, terms of items count once a step, and what a history is padded to changes nothing."""
    weights = {"reconstruction": 1.0, "item_bias": 0.3, "kl": 0.1}
    whole, wanted = gradients(toy, tmp_path, [[0, 3, 4, 5, 7]], weights)
    logged, found = gradients(toy, tmp_path, users, weights)
    assert logged == pytest.approx(whole, rel=1e-5)
    assert found.keys() == wanted.keys() and "item_encoder.table.weight" in found
    for name in wanted:
        torch.testing.assert_close(found[name], wanted[name], rtol=1e-4, atol=1e-6)


def test_a_weight_means_the_same_in_a_step_of_twice_the_users(toy, tmp_path):
    weights = {"reconstruction": 1.0, "item_bias": 0.3, "kl": 0.1}
    once, wanted = gradients(toy, tmp_path, [[0, 3, 4]], weights)
    twice, found = gradients(toy, tmp_path, [[0, 3, 4]], weights, copies=2)
    assert twice == pytest.approx(once, rel=1e-5)
    for name in wanted:
        torch.testing.assert_close(found[name], wanted[name], rtol=1e-4, atol=1e-6)


def test_training_on_profiles_with_repeat_features_is_refused(toy, tmp_path):
    with pytest.raises(ValueError, match="model.components.repeat cannot be trained on whole profiles: every target"):
        train(toy, tmp_path, examples="profile", n_negatives=None)


def test_a_profile_run_trains_and_says_so(toy, tmp_path, caplog):
    caplog.set_level("INFO", logger="xrec")
    weights = {name: weight for name, weight in WEIGHTS.items() if name != "own_item_bias"}
    model = toy_composed(toy, repeat=False)
    model, _ = train(toy, tmp_path, model=model, weights=weights, examples="profile", masked_share=0.5)
    assert "training on whole profiles" in caplog.text
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_a_posterior_that_says_nothing_is_named(toy, tmp_path, caplog):
    rows: list[dict] = []
    _, summary = train(toy, tmp_path, weights={**WEIGHTS, "kl": 1e4}, epochs=8, log=rows.append)
    assert summary["collapsed"] == 1 and "posterior collapsed: the mean KL is below .01 nats" in caplog.text
    assert [row["monitor/posterior_collapsed"] for row in rows if MONITOR in row][-1] == 1.0
