"""What holds for every adversarial item encoder: who moves whom, with every loss, and who is never an example."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests.models.item_encoder.attributed import generator, planted_catalogue, rich_catalogue
from tests.toys import fit_data, toy_composed, train
from xrec.losses.adversarial import LSGAN, WGANGP, ArticleGAN, Hinge, Minimax, Nonsaturating
from xrec.models.item_encoder.aae import AAE
from xrec.models.item_encoder.bigan import BiGAN
from xrec.models.item_encoder.conditional_gan import ConditionalGAN
from xrec.models.item_encoder.discriminator import Discriminator, SpectralLinear
from xrec.models.item_encoder.gan import GAN
from xrec.stages.fit import LEARNED

#: with what the players are, and what of the ranker's loss is for them where asked
ENCODERS = {
    BiGAN: ({"encoder", "generator"}, {"encoder"}),
    AAE: ({"encoder", "generator"}, {"encoder"}),
    ConditionalGAN: ({"generator"}, {"generator"}),
    GAN: ({"generator"}, set()),
}
LOSSES = [Minimax(), Nonsaturating(), LSGAN(), Hinge(), WGANGP(), ArticleGAN()]
every_encoder = pytest.mark.parametrize("kind", ENCODERS, ids=lambda kind: kind.__name__)


@pytest.fixture
def make(toy):
    def make(kind: type[Any], catalogue=None, adversarial=None, **settings: Any) -> Any:
        torch.manual_seed(0)
        sizes: dict[str, Any] = {"hidden_size": 8, "batch_size": 16, "pretraining_steps": 3}
        sizes |= {"noise_size": 4, "n_draws": 5} if kind is ConditionalGAN else {"latent_size": 4}
        return kind(catalogue or toy.catalogue, 8, adversarial or Nonsaturating(), **(sizes | settings))

    return make


def reached(model: torch.nn.Module) -> set[str]:
    """The parts of a model that have a gradient other than 0."""
    return {n.split(".")[0] for n, p in model.named_parameters() if p.grad is not None and p.grad.any()}


COMMON = {"learned_accuracy", "learned_mmd", "learned_coverage"}
COMMON |= {"probe_popularity", "probe_popularity_components", "probe_factors"}
OWN = {
    BiGAN: {"learned_round_trip"},
    AAE: {"learned_round_trip"},
    ConditionalGAN: {"learned_spread", "learned_alignment"},
    GAN: set(),
}


@every_encoder
def test_what_was_learned_has_the_declared_names_and_is_what_the_monitors_say(make, toy, tmp_path, kind):
    encoder = make(kind)
    data = fit_data(toy, tmp_path)
    encoder.fit(data)
    found, monitors = encoder.learned(data), encoder.monitors()
    assert set(found) == COMMON | OWN[kind] <= {metric.name for metric in LEARNED}
    assert found["learned_accuracy"] == monitors["discriminator_accuracy"]
    for name in set(found) - {"learned_accuracy"}:
        if name.startswith("learned_"):
            assert found[name] == monitors[f"{encoder.name}_{name.removeprefix('learned_')}"]
    assert np.isfinite(list(found.values())).all()


@every_encoder
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_every_loss_moves_the_discriminator_in_its_step_and_the_players_in_theirs(make, toy, tmp_path, kind, loss):
    encoder = make(kind, rich_catalogue(toy.catalogue), loss)
    encoder.discriminator_loss(generator(), 0.2).backward()
    assert reached(encoder) == {"discriminator"}
    encoder.zero_grad()
    encoder.item_terms(generator(), {"adversarial"})["adversarial"].backward()
    adversaries = {"encoder"} if kind is AAE else ENCODERS[kind][0]
    assert reached(encoder) == adversaries | {"discriminator"}
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    encoder.fit(fit_data(toy, tmp_path))
    moved = {n.split(".")[0] for n, p in encoder.named_parameters() if not torch.equal(p, before[n])}
    own = {"free"} if kind is ConditionalGAN else set()
    assert moved == {"discriminator"} | ENCODERS[kind][0] | own
    assert all(torch.isfinite(p).all() and p.grad is None for p in encoder.parameters())
    assert all(math.isfinite(value) for value in encoder.monitors().values())


@every_encoder
def test_real_samples_have_a_say_in_the_players_loss_only_where_a_player_made_them(make, monkeypatch, kind):
    encoder, seen = make(kind), []
    forward = Discriminator.forward
    monkeypatch.setattr(Discriminator, "forward", lambda self, *x: seen.append(forward(self, *x)) or seen[-1])
    loss = encoder.item_terms(generator(), {"adversarial"})["adversarial"]
    assert len(seen) == (2 if kind is BiGAN else 1)
    torch.testing.assert_close(loss, Nonsaturating().generator_loss(seen[0] if kind is BiGAN else None, seen[-1]))


@pytest.mark.parametrize(("kind", "players"), [(k, players) for k, (players, _) in ENCODERS.items() if k is not GAN])
def test_reconstruction_moves_the_players_and_no_discriminator(make, kind, players):
    encoder = make(kind)
    encoder.item_terms(generator(), {"item_reconstruction"})["item_reconstruction"].backward()
    assert reached(encoder) == players


@every_encoder
@pytest.mark.parametrize("fine_tune", [False, True])
def test_the_ranker_s_loss_moves_what_is_its_own_and_a_player_when_asked(make, kind, fine_tune):
    if kind is GAN and fine_tune:
        return
    encoder = make(kind, **({} if kind is GAN else {"fine_tune": fine_tune}))
    encoder.features(generator()).square().sum().backward()
    own = {"free"} if kind is ConditionalGAN else {"free", "projection"}
    assert reached(encoder) == own | (ENCODERS[kind][1] if fine_tune else set())


@every_encoder
def test_only_wanted_terms_are_given_and_those_that_are_promised(make, kind):
    encoder = make(kind)
    for wanted in (set(), {"adversarial"}, {"item_reconstruction"}, set(encoder.term_names)):
        given = encoder.item_terms(generator(), wanted | {"kl"})
        assert set(given) == wanted & set(encoder.term_names)


@every_encoder
def test_the_same_generator_gives_the_same_encoder(make, toy, tmp_path, kind):
    states = []
    for seed in (3, 3, 4):
        encoder = make(kind)
        torch.manual_seed(len(states))  # nothing is drawn of the global one
        encoder.fit(fit_data(toy, tmp_path, seed=seed))
        states.append(encoder.state_dict())
    one, two, other = states
    assert all(torch.equal(value, two[name]) for name, value in one.items())
    assert not all(torch.equal(value, other[name]) for name, value in one.items())


@every_encoder
def test_a_saved_encoder_says_the_same(make, toy, tmp_path, kind):
    encoder = make(kind)
    encoder.fit(fit_data(toy, tmp_path))
    again = make(kind)
    again.load_state_dict(encoder.state_dict())
    assert torch.equal(again.features(), encoder.features()) and again.monitors() == encoder.monitors()


@every_encoder
def test_features_do_not_flicker_and_free_rows_are_dropped_in_training(make, toy, tmp_path, kind):
    encoder = make(kind, free_dropout=0.5)
    encoder.fit(fit_data(toy, tmp_path))
    features = encoder.features().detach()
    assert torch.equal(encoder.features(), features)
    attributes = features - encoder.free.table.weight.detach()
    dropped = encoder.features(generator()).detach()
    gone = torch.isclose(dropped, attributes, atol=1e-6).all(1)
    assert 5 <= gone.sum() <= 25
    torch.testing.assert_close((dropped - attributes)[~gone], 2 * encoder.free.table.weight.detach()[~gone])


@every_encoder
def test_cold_items_are_no_example_and_have_the_feature_of_their_attributes_alone(make, toy, tmp_path, kind):
    """A cold item with the attributes of a warm one has its feature, but for the warm one's row."""
    fields = tuple(
        replace(
            f,
            codes=np.where(np.arange(len(f.codes))[:, None] == 1, f.codes[[2]], f.codes),
            weights=np.where(np.arange(len(f.codes))[:, None] == 1, f.weights[[2]], f.weights),
        )
        for f in toy.catalogue.item_fields
    )
    cold = np.array([1, 4], dtype=np.int32)
    encoder = make(kind, replace(toy.catalogue, cold=cold, item_fields=fields), batch_size=400)
    encoder.fit(fit_data(toy, tmp_path))
    assert not set(encoder._drawn_items(generator()).tolist()) & {1, 4}
    features = encoder.features()
    torch.testing.assert_close(features[1], features[2] - encoder.free.table.weight[2])
    assert not torch.isclose(features[1], features[4]).all() and features[[1, 4]].any(1).all()


@every_encoder
def test_the_discriminator_goes_first_and_the_noise_fades(make, toy, tmp_path, monkeypatch, kind):
    encoder, calls = make(kind, n_critic=2, pretraining_steps=4), []
    own, players = encoder.discriminator_loss, encoder._players_losses
    monkeypatch.setattr(encoder, "discriminator_loss", lambda g, noise: calls.append(("D", noise)) or own(g, noise))
    monkeypatch.setattr(encoder, "_players_losses", lambda g, noise: calls.append(("G", noise)) or players(g, noise))
    encoder.fit(fit_data(toy, tmp_path))
    assert [name for name, _ in calls] == ["D", "D", "G"] * 4
    assert [noise for name, noise in calls if name == "G"] == pytest.approx([0.2, 0.1375, 0.075, 0.0125])


@every_encoder
def test_noise_is_seen_by_the_discriminator_on_both_sides_and_by_nobody_else(make, kind):
    encoder = make(kind, planted_catalogue(), batch_size=500)
    if kind is ConditionalGAN:
        encoder.factors.copy_(torch.randn(600, 8, generator=generator(9)))
    quiet, loud = (encoder._shown(generator(1), noise) for noise in (0.0, 0.4))
    for one, two in ((quiet.real, loud.real), (quiet.fake, loud.fake)):
        changed = [not torch.equal(a, b) for a, b in zip(one, two, strict=True)]
        assert changed == ([False, True] if kind is ConditionalGAN else [True] * len(one))
    if quiet.reconstruction is not None:
        assert torch.equal(quiet.reconstruction(), loud.reconstruction())


@pytest.mark.parametrize("kind", [AAE, ConditionalGAN])
def test_noise_has_the_deviation_asked_for(make, kind):
    settings = {"deviation": 2.0} if kind is ConditionalGAN else {}
    encoder = make(kind, planted_catalogue(), batch_size=2000, **settings)
    quiet, loud = (encoder._shown(generator(1), noise) for noise in (0.0, 0.4))
    for one, two in ((quiet.real, loud.real), (quiet.fake, loud.fake)):
        scale = settings.get("deviation", 1.0)
        assert (two[-1] - one[-1]).std().item() == pytest.approx(0.4 * scale, rel=0.03)


@every_encoder
@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_in_a_run_the_game_goes_on_only_when_asked(make, toy, tmp_path, kind, weight):
    model = toy_composed(toy, item_encoder="embedding", noise=0.0)
    model.item_encoder, rows, states = make(kind), [], []
    model.term_names = (*model.term_names, *model.item_encoder.term_names)
    fit = model.item_encoder.fit

    def noted(data):
        fit(data)
        states.append({name: value.clone() for name, value in model.item_encoder.state_dict().items()})

    model.item_encoder.fit = noted
    weights = {"reconstruction": 1.0, "item_bias": 0.01, "own_item_bias": 0.01, "kl": 0.1}
    weights |= dict.fromkeys(model.item_encoder.term_names, weight)
    train(toy, tmp_path, model=model, weights=weights, log=rows.append)
    after = model.item_encoder.state_dict()
    moved = {name.split(".")[0] for name, value in states[0].items() if not torch.equal(value, after[name])}
    own = {"free"} if kind is ConditionalGAN else {"free", "projection"}
    assert moved == own | ({"discriminator"} | ENCODERS[kind][0] if weight else set())
    assert ("discriminator_loss" in rows[0]) == bool(weight)


@every_encoder
def test_the_game_is_reported_under_the_encoder_s_name(make, kind):
    encoder = make(kind)
    found = encoder.monitors()
    own = {f"{encoder.name}_{what}" for what in ("mmd", "coverage", "modes_collapsed", "game_collapsed")}
    assert {"discriminator_accuracy", "discriminator_real", "discriminator_fake"} | own <= set(found)


@pytest.mark.parametrize(("loss", "accuracy"), [(Nonsaturating(), 0.5), (WGANGP(), 0.875)])
def test_accuracy_is_the_mean_of_both_sides_beyond_the_loss_s_boundary(make, monkeypatch, loss, accuracy):
    """Real ones have logit -1; of the fake ones three quarters -5, a quarter -.5: a critic's boundary is between."""
    fake = torch.full((1000,), -5.0)
    fake[::4] = -0.5
    values = iter((torch.full((1000,), -1.0), fake))
    monkeypatch.setattr(Discriminator, "forward", lambda self, x: next(values))
    found = make(GAN, planted_catalogue(1200), adversarial=loss).monitors()
    assert found["discriminator_accuracy"] == pytest.approx(accuracy)
    assert found["discriminator_real"] == -1 and found["discriminator_fake"] == pytest.approx(-3.875)
    assert found["gan_game_collapsed"] == 0


@every_encoder
def test_the_spectral_norm_is_a_choice(make, toy, tmp_path, kind):
    layers = {
        choice: {type(layer) for layer in make(kind, spectral_norm=choice).discriminator.children()}
        for choice in (True, False)
    }
    assert layers == {True: {SpectralLinear}, False: {torch.nn.Linear}}
    encoder = make(kind, adversarial=WGANGP(), spectral_norm=False)
    encoder.fit(fit_data(toy, tmp_path))
    assert all(torch.isfinite(p).all() for p in encoder.parameters())


def test_a_gradient_penalty_is_part_of_the_discriminator_s_loss(make):
    """Of the same draws: the loss with a penalty is that without, and the penalty's mean square."""
    losses = [
        make(BiGAN, adversarial=WGANGP(weight)).discriminator_loss(generator()).item() for weight in (0.0, 1.0, 3.0)
    ]
    assert losses[1] > losses[0]
    assert losses[2] - losses[0] == pytest.approx(3 * (losses[1] - losses[0]), rel=1e-4)


@every_encoder
def test_a_dataset_without_attributes_is_refused_with_a_way_out(make, toy, kind):
    way_out = f"item_encoder={kind.name} needs item attributes.*use model/item_encoder=embedding"
    with pytest.raises(ValueError, match=way_out):
        make(kind, replace(toy.catalogue, item_fields=()))


@every_encoder
def test_what_makes_no_sense_is_refused(make, kind):
    name = kind.name
    bad: list[tuple[str, float, str]] = [
        ("hidden_size", 0, "hidden_size must be at least 1, got 0"),
        ("batch_size", 0, "batch_size must be at least 1, got 0"),
        ("pretraining_steps", -1, "pretraining_steps must be at least 0, got -1"),
        ("n_critic", 0, "n_critic must be at least 1, got 0"),
        ("discriminator_learning_rate", 0.0, "discriminator_learning_rate must be above 0, got 0"),
        ("instance_noise", 1.0, "instance_noise must be in"),
        ("free_dropout", 1.0, "free_dropout must be in"),
    ]
    if kind is ConditionalGAN:
        bad += [
            ("noise_size", 0, "noise_size must be at least 1"),
            ("n_draws", 0, "n_draws must be at least 1"),
            ("deviation", 0.0, "deviation must be above 0"),
            ("power", -0.1, "power must be at least 0"),
        ]
    if kind is AAE:
        bad += [("decoder_learning_rate", 0.0, "decoder_learning_rate must be above 0")]
    for setting, value, message in bad:
        with pytest.raises(ValueError, match=f"{name}: {message}"):
            make(kind, **{setting: value})
