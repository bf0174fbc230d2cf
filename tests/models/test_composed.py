"""The exactness claims of the composed model, over its variants."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from tests.toys import fit_data, fitted_composed, histories, toy_composed
from xrec.models import composed
from xrec.models.baselines.ease import EASE
from xrec.models.closed_form import Ease
from xrec.models.components.fixed import Fixed
from xrec.models.components.repeat import pair_features
from xrec.models.composed import Composed
from xrec.models.history import CHANNELS, History, summed_at_items
from xrec.models.item_encoder.embedding import Embedding
from xrec.models.log_evidence import LogEvidence, log_mixture
from xrec.models.sparse import interactions

VARIANTS = {
    "sigmoid": {},
    "softmax": {"normaliser": "softmax"},
    "multi_head": {"attention": "multi_head", "normaliser": "softmax"},
    "mean": {"attention": "mean"},
    "additive, sparsemax": {"attention": "additive", "normaliser": "sparsemax"},
    "additive, sigmoid": {"attention": "additive"},
    "temporal, entmax15": {"attention": "temporal", "normaliser": "entmax15"},
    "no attention": {"attention": None},
    "no user encoder": {"user_encoder": False},
    "softmax, no user encoder": {"normaliser": "softmax", "user_encoder": False},
    "vae only": {"attention": None, "linear": False, "repeat": False},
    "self-attention": {"attention": "self_attention"},
    "prior only": {"attention": None, "linear": False, "repeat": False, "user_encoder": False},
    "embedding": {"item_encoder": "embedding"},
    "attributes": {"item_encoder": "attributes"},
    "affinity": {"affinity": True},
    "neighbours": {"neighbours": True},
    "mixture": {"combination": "mixture"},
    "mixture of everything": {"combination": "mixture", "affinity": True, "neighbours": True},
    "mixture and attention": {"combination": "mixture", "affinity": True, "user_encoder": False},
    "product": {"combination": "product", "affinity": True, "user_encoder": False},
    "product of everything": {"combination": "product", "affinity": True, "neighbours": True, "gain": 0.5},
    "gain": {"gain": 0.5},
    "mixture and gain": {"combination": "mixture", "affinity": True, "gain": 0.5},
    "fixed": {"ease": True},
    "fixed in a mixture": {"ease": True, "combination": "mixture"},
    "probabilities": {"ease": True, "combination": "probabilities", "linear": False, "flattening": 1.5},
    "probabilities, self-attention": {
        "ease": True,
        "combination": "probabilities",
        "linear": False,
        "repeat": False,
        "user_encoder": False,
        "attention": "self_attention",
        "flattening": 0.7,
    },
    "probabilities without logits": {
        "ease": True,
        "combination": "probabilities",
        "linear": False,
        "user_encoder": False,
        "attention": None,
    },
}
ADDITIVE = {
    "sigmoid": {"user_encoder": False},
    "softmax": {"user_encoder": False, "normaliser": "softmax"},
    "mean": {"user_encoder": False, "attention": "mean"},
    "additive attention": {"user_encoder": False, "attention": "additive"},
    "linear": {"user_encoder": False, "attention": None, "repeat": False},
    "repeat": {"user_encoder": False, "attention": None, "linear": False},
    "affinity": {"user_encoder": False, "attention": None, "affinity": True},
    "gain": {"user_encoder": False, "gain": 0.5},
    "fixed": {"user_encoder": False, "ease": True},
}
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(params=sorted(VARIANTS))
def model(request, toy, tmp_path):
    return fitted_composed(toy, tmp_path, **VARIANTS[request.param])


def masks(n: int, length: int, share: float = 0.5) -> torch.Tensor:
    return torch.rand(n, length, generator=torch.Generator().manual_seed(n)) < share


@torch.no_grad()
def test_masking_is_removing(model, toy):
    history = histories(toy, [3])
    keep = masks(6, history.item.shape[1])
    targets = torch.tensor([[0, 4, 4, 9]])
    context = model.prepare(history)
    presence = keep.float().unsqueeze(0)
    masked, some = model.score(context, presence)[0], model.score(context, presence, targets)[0]
    for row, kept in enumerate(keep):
        removed = model.prepare(history.without(kept))
        torch.testing.assert_close(masked[row], model.score(removed)[0, 0], rtol=1e-6, atol=2e-6)
        torch.testing.assert_close(some[row], model.score(removed, None, targets)[0, 0], rtol=1e-6, atol=2e-6)


@torch.no_grad()
def test_softmax_masking_is_removing_even_when_one_item_took_all_the_weight(toy, tmp_path):
    model = fitted_composed(toy, tmp_path, normaliser="softmax", user_encoder=False)
    model.component("attention").decay.fill_(20.0)
    history = histories(toy, [3])
    age = torch.full_like(history.age, 10.0)
    age[0, strongest := 2] = 1.0  # its logit is 34 above that of all others
    history = replace(history, age=age, first_age=age + 9)
    keep = torch.ones(history.item.shape[1])
    keep[strongest] = 0
    masked = model.score(model.prepare(history), keep.reshape(1, 1, -1))[0, 0]
    torch.testing.assert_close(masked, model.score(model.prepare(history.without(keep)))[0, 0], rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_the_score_of_targets_is_the_catalogue_s(model, toy):
    context, targets = model.prepare(histories(toy, [0, 3])), torch.tensor([[1, 2, 7], [0, 5, 5]])
    for presence in (None, torch.rand(2, 4, context.history.item.shape[1])):
        whole = model.score(context, presence)
        wanted = whole.gather(2, targets.unsqueeze(1).expand(-1, whole.shape[1], -1))
        torch.testing.assert_close(model.score(context, presence, targets), wanted, **CLOSE)


@torch.no_grad()
def test_parts_sum_to_the_score(model, toy):
    context = model.prepare(histories(toy, [0, 3]))
    for presence in (None, torch.rand(2, 4, context.history.item.shape[1])):
        parts = model.component_scores(context, presence)
        assert tuple(parts) == model.component_names
        torch.testing.assert_close(sum(parts.values()), model.score(context, presence), **CLOSE)
        for name, part in parts.items():
            rest = model.without(name).score(context, presence)
            torch.testing.assert_close(rest, model.score(context, presence) - part, **CLOSE)


@torch.no_grad()
def test_an_ablation_is_the_score_without_the_component(model, toy):
    context = model.prepare(histories(toy, [0, 3]))
    scores = model.ablations(context)
    if len(model.components) > 1:
        assert set(scores) >= {None, *(n for n, c in model.components.items() if c.in_mixture != "factor")}
    for name, found in scores.items():
        view = model if name is None else model.without(name)
        torch.testing.assert_close(found, view.score(context), **CLOSE)


@torch.no_grad()
def test_no_part_is_silent(model, toy):
    for name, part in model.component_scores(model.prepare(histories(toy, [0, 3]))).items():
        assert part.std() > 1e-3, name


@torch.no_grad()
def test_an_empty_history_gives_the_prior(model, toy):
    history = histories(toy, [3, 5])
    context = model.prepare(history)
    parts = model.component_scores(context, torch.zeros(2, 1, history.item.shape[1]))
    for name, part in parts.items():
        if name in model.logs and name != "mixture":
            torch.testing.assert_close(part, part[..., :1].expand_as(part))  # the usual odds, of every item
        elif name not in ("prior", "user_encoder", "mixture"):
            assert (part == 0).all(), name
    encoded = parts.get("user_encoder", parts.get("mixture", torch.zeros(1)))
    if "mixture" in parts:  # without evidence it is the logits, which only a user encoder has any of here
        names = ["user_encoder"] if "user_encoder" in model.components else []
        logits = model.only(*names).score(context, torch.zeros(2, 1, history.item.shape[1]))
        if model.combination == "probabilities":
            logits = (logits / model.flattening).log_softmax(-1)
        torch.testing.assert_close(encoded, logits, **CLOSE)
    prior = (
        parts["prior"] + encoded + sum(part for name, part in parts.items() if name in model.logs and name != "mixture")
    )
    torch.testing.assert_close(model.score(context, torch.zeros(2, 1, history.item.shape[1])), prior, **CLOSE)
    torch.testing.assert_close(prior[0], prior[1], **CLOSE)


@torch.no_grad()
def test_a_history_with_no_columns_gives_the_prior(model, toy):
    history = histories(toy, [3])
    nothing = history.without(torch.zeros(history.item.shape[1]))
    wanted = model.score(model.prepare(history), torch.zeros(1, 1, history.item.shape[1]))
    torch.testing.assert_close(model.score(model.prepare(nothing)), wanted, **CLOSE)


@torch.no_grad()
def test_padding_never_changes_a_score(model, toy):
    alone, together = model.prepare(histories(toy, [7])), model.prepare(histories(toy))
    length = alone.history.item.shape[1]
    torch.testing.assert_close(model.score(together)[7], model.score(alone)[0], **CLOSE)
    everything = torch.ones(len(together.history), 1, together.history.item.shape[1])
    torch.testing.assert_close(model.score(together, everything)[7], model.score(alone)[0], **CLOSE)
    if model.capabilities.additive:
        assert (model.contributions(together)[7, length:] == 0).all()


@torch.no_grad()
def test_the_order_of_history_items_changes_nothing(model, toy):
    history = histories(toy, [2])
    order = torch.randperm(history.item.shape[1], generator=torch.Generator().manual_seed(0))
    shuffled = replace(history, **{name: getattr(history, name)[:, order] for name in CHANNELS})
    torch.testing.assert_close(model.score(model.prepare(shuffled)), model.score(model.prepare(history)), **CLOSE)


def test_fractional_presence_is_differentiable_and_finite_down_to_zero(model, toy):
    context = model.prepare(histories(toy, [2]))
    length = context.history.item.shape[1]
    for value in (0.0, 0.3, 1.0):
        presence = torch.full((1, 1, length), value, requires_grad=True)
        score = model.score(context, presence, torch.tensor([[0, 5]]))
        assert torch.isfinite(score).all()
        if score.requires_grad and len(model.component_names) > 1:
            (gradient,) = torch.autograd.grad(score.sum(), presence)
            assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", ["sigmoid", "no attention", "vae only"])
def test_the_gradient_is_the_slope(toy, tmp_path, name):
    model = fitted_composed(toy, tmp_path, **VARIANTS[name]).double()
    history = histories(toy, [2])
    history = replace(history, **{c: getattr(history, c).double() for c in CHANNELS if c not in ("item", "kind")})
    model._statistics._tables = {history.moment: model._statistics.at(history.moment).double()}
    context = model.prepare(history)
    presence = torch.full((1, 1, history.item.shape[1]), 0.4, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p: model.score(context, p, torch.tensor([[0, 5]])), presence)


@pytest.mark.parametrize("variant", sorted(ADDITIVE))
@torch.no_grad()
def test_prior_and_contributions_sum_to_the_score(toy, tmp_path, variant):
    model = fitted_composed(toy, tmp_path, **ADDITIVE[variant])
    context, targets = model.prepare(histories(toy, [0, 3])), torch.tensor([[1, 2, 7], [0, 5, 5]])
    assert model.capabilities.additive
    for wanted in (None, targets):
        total = model.component_scores(context, None, wanted)["prior"].squeeze(1) + model.contributions(
            context, wanted
        ).sum(1)
        torch.testing.assert_close(total, model.score(context, None, wanted).squeeze(1), atol=1e-5, rtol=1e-6)


def deletion_error(model, toy) -> float:
    """Largest difference between an item's contribution and what deleting it takes from the score."""
    context = model.prepare(histories(toy, [3]))
    length = context.history.item.shape[1]
    effects = model.score(context)[0] - model.score(context, (1 - torch.eye(length)).unsqueeze(0))[0]
    return float((effects - model.contributions(context)[0]).abs().max())


@torch.no_grad()
def test_with_sigmoid_gates_a_contribution_is_the_deletion_effect(toy, tmp_path):
    assert deletion_error(fitted_composed(toy, tmp_path, user_encoder=False), toy) < 1e-5


@torch.no_grad()
def test_with_softmax_gates_a_contribution_is_no_deletion_effect(toy, tmp_path):
    assert deletion_error(fitted_composed(toy, tmp_path, user_encoder=False, normaliser="softmax"), toy) > 1e-3


@torch.no_grad()
def test_contributions_leave_out_parts_that_are_switched_off(toy, tmp_path):
    model = fitted_composed(toy, tmp_path, user_encoder=False)
    context = model.prepare(histories(toy, [3]))
    for name in ("linear", "repeat", "attention"):
        view = model.without(name)
        total = view.component_scores(context)["prior"].squeeze(1) + view.contributions(context).sum(1)
        torch.testing.assert_close(total, view.score(context).squeeze(1), **CLOSE)


EVIDENCE = {"combination": "mixture", "affinity": True, "attention": None, "user_encoder": False}


@torch.no_grad()
def test_a_mixture_adds_up_odds(toy, tmp_path):
    model = fitted_composed(toy, tmp_path, combination="mixture", affinity=True)
    model.component("affinity").log_weight.sub_(2.0)
    context = model.prepare(histories(toy, [0, 3]))
    parts = {name: c.score(context).double() for name, c in model.components.items()}
    log = model.logs["mixture"]
    for name in ("linear", "affinity"):
        parts[name] *= log.log_weight.exp()
    own = summed_at_items(context.history.item, context.history.presence, model.n_items).unsqueeze(1)
    factor = 1 + log.own * own
    assert log.own.abs() > 0.1
    inside = (parts["attention"] + parts["user_encoder"]).exp() + (parts["linear"] + parts["affinity"]).clamp_min(0)
    assert ((parts["linear"] + parts["affinity"]) < 0).any()  # both sides of the bound
    assert ((parts["linear"] + parts["affinity"]) > 0).any()
    wanted = parts["prior"] + parts["repeat"] + factor * inside.log()
    torch.testing.assert_close(model.score(context), wanted.float(), **CLOSE)
    assert model.component_names == ("prior", "repeat", "mixture")
    torch.testing.assert_close(model.only("mixture").score(context), (factor * inside.log()).float(), **CLOSE)
    torch.testing.assert_close(
        model.only("linear").score(context), (factor * parts["linear"].clamp_min(0).log1p()).float(), **CLOSE
    )
    without = inside - (parts["linear"] + parts["affinity"]).clamp_min(0) + parts["affinity"].clamp_min(0)
    wanted = parts["prior"] + parts["repeat"] + factor * without.log()
    torch.testing.assert_close(model.without("linear").score(context), wanted.float(), **CLOSE)


@torch.no_grad()
def test_a_mixture_of_evidence_is_additive_in_the_odds_of_new_items_where_it_is_above_0(toy, tmp_path):
    model = fitted_composed(toy, tmp_path, **EVIDENCE)
    with torch.no_grad():
        model.component("affinity").log_weight.fill_(-1.0)
    context = model.prepare(histories(toy, [3]))
    length = context.history.item.shape[1]
    evidence = model.component("linear").contributions(context) + model.component("affinity").contributions(context)
    presence = masks(16, length).float().unsqueeze(0)
    odds = (model.score(context, presence) - model.score(context, torch.zeros(1, 1, length))).exp()
    wanted = 1 + model.logs["mixture"].log_weight.exp() * (presence @ evidence)
    new = torch.ones(model.n_items, dtype=torch.bool).index_fill_(0, context.history.item[0], False)
    above = (wanted >= 1) & new
    assert above.sum() > 50 and (~above & new).sum() == (wanted[..., new] < 1).sum()
    torch.testing.assert_close(odds[above], wanted[above], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        odds[~above & new.expand_as(above)], torch.ones_like(odds[~above & new.expand_as(above)]), **CLOSE
    )


@torch.no_grad()
def test_as_probabilities_shares_of_the_catalogue_are_added_up(toy, tmp_path, monkeypatch):
    model = fitted_composed(toy, tmp_path, **VARIANTS["probabilities"])
    context = model.prepare(histories(toy, [0, 3]))
    presence = masks(12, context.history.item.shape[1]).float().reshape(2, 6, -1)
    parts = {name: c.score(context, presence).double() for name, c in model.components.items()}
    assert (parts["ease"] < 0).any() and (parts["ease"] > 0).any()
    share = ((parts["attention"] + parts["user_encoder"]) / 1.5).softmax(-1)
    wanted = parts["prior"] + parts["repeat"] + (share + parts["ease"].clamp_min(0)).log()
    torch.testing.assert_close(model.score(context, presence), wanted.float(), **CLOSE)
    assert model.component_names == ("prior", "repeat", "mixture")
    monkeypatch.setattr(composed, "_MAX_SCORES", 2 * 2 * model.n_items)  # two copies at once
    targets = torch.tensor([[1, 2, 7], [0, 5, 5]])
    some = wanted.gather(2, targets.unsqueeze(1).expand(-1, 6, -1)).float()
    torch.testing.assert_close(model.score(context, presence, targets), some, **CLOSE)


@torch.no_grad()
def test_training_leaves_out_what_is_fixed(toy, tmp_path):
    history, users, targets = histories(toy, [0, 3]), torch.tensor([0, 3]), torch.tensor([[1, 2, 7], [0, 5, 5]])
    for variant in ("fixed", "fixed in a mixture", "probabilities"):
        model = fitted_composed(toy, tmp_path, **VARIANTS[variant])
        scores = []
        for view in (model, model.without("ease")):
            context = view.training_context(history, users, torch.Generator().manual_seed(0), profile=True)
            scores.append(view.score(context, None, targets))
        assert torch.equal(*scores), variant
        assert not torch.allclose(*(v.score(v.prepare(history)) for v in (model, model.without("ease")))), variant


def test_what_has_nothing_to_learn_or_learns_in_the_wrong_place_is_refused(toy):
    with pytest.raises(ValueError, match="nothing of ease is trained"):
        Composed(toy.catalogue, 8, Embedding, {"ease": partial(Fixed, model=EASE)})
    with pytest.raises(ValueError, match="probabilities: takes evidence that is fitted apart.*components.linear is"):
        toy_composed(toy, combination="probabilities")
    with pytest.raises(ValueError, match="weight must be above 0, got 0"):
        Fixed(toy.catalogue, 8, EASE, weight=0.0)
    with pytest.raises(ValueError, match="flattening must be above 0, got -1"):
        toy_composed(toy, flattening=-1.0)


def test_a_mixture_says_what_it_cannot_do(toy, tmp_path):
    model = fitted_composed(toy, tmp_path, **EVIDENCE)
    assert not model.capabilities.additive and model.capabilities.components and model.capabilities.gradients
    context = model.prepare(histories(toy, [3]))
    with pytest.raises(TypeError, match="no additive parts"):
        model.contributions(context)
    rest = model.without("mixture")  # without evidence it is a sum again
    assert rest.capabilities.additive and rest.component_names == ("prior", "repeat")
    assert model.without("linear", "affinity").component_names == ("prior", "repeat")
    with pytest.raises(ValueError, match="no component 'mixtures'"):
        model.without("mixtures")


@torch.no_grad()
def test_a_product_has_a_log_of_each_component_s_evidence(toy, tmp_path):
    model = fitted_composed(toy, tmp_path, combination="product", affinity=True, user_encoder=False)
    context = model.prepare(histories(toy, [3]))
    presence = masks(5, context.history.item.shape[1]).float().unsqueeze(0)
    own = summed_at_items(context.history.item.unsqueeze(1), presence, model.n_items)
    parts = model.component_scores(context, presence)
    assert tuple(parts) == model.component_names == ("prior", "linear", "repeat", "affinity", "attention")
    for name in ("linear", "affinity"):
        log, evidence = model.logs[name], model.component(name).score(context, presence)
        assert log.own.abs() > 0.05 and (evidence < 0).any() == (name == "linear")
        wanted = (log.exponent + log.own * own) * ((log.log_weight.exp() * evidence.clamp_min(0)).log1p() - log.center)
        torch.testing.assert_close(parts[name], wanted, **CLOSE)
    for name in ("prior", "repeat", "attention"):
        plain = model.component(name).score(context, presence).expand(1, 5, -1)
        torch.testing.assert_close(parts[name], plain, **CLOSE)
    torch.testing.assert_close(model.score(context, presence), sum(parts.values()), **CLOSE)
    assert not model.capabilities.additive
    with pytest.raises(TypeError, match="no additive parts"):
        model.contributions(context)
    assert model.without("linear", "affinity").capabilities.additive


@torch.no_grad()
@pytest.mark.parametrize("combination", ["mixture", "product"])
def test_weights_of_logs_start_at_the_scale_of_the_evidence(toy, tmp_path, combination):
    model = fitted_composed(toy, tmp_path, combination=combination, affinity=True, attention=None, noise=0.0)
    table = toy.histories(toy.train_end + 1)
    users = np.flatnonzero(table.lengths() > 1)  # fewer than are drawn: all of them
    context = model.prepare(History.from_table(table, users))
    for name, log in model.logs.items():
        members = ["linear", "affinity"] if name == "mixture" else [name]
        evidence = sum(model.component(member).score(context) for member in members)
        assert float(log.log_weight.exp() * evidence.std()) == pytest.approx(7.0, rel=1e-4)
        assert float(log.own) == 0 and (log.exponent is None) == (name == "mixture")
        usual = (log.log_weight.exp() * evidence.clamp_min(0)).log1p().mean() if name != "mixture" else torch.zeros(())
        torch.testing.assert_close(log.center, usual, rtol=1e-4, atol=1e-5)
    log = LogEvidence(3)
    log.start(torch.zeros(2, 3))
    assert float(log.log_weight) == 3.0  # no evidence: as it was


def test_gradients_reach_every_number_of_the_logs(toy, tmp_path):
    for combination in ("mixture", "product"):
        model = fitted_composed(toy, tmp_path, combination=combination, affinity=True, attention=None)
        model.score(model.prepare(histories(toy, [3])))[0, 0, :5].exp().sum().backward()
        for name, parameter in model.logs.named_parameters():
            assert parameter.grad is not None and parameter.grad != 0, name


def test_the_log_of_a_mixture_has_finite_gradients_everywhere():
    logits = torch.tensor([-200.0, 0.0, 0.0, 0.0, 90.0], requires_grad=True)
    evidence = torch.tensor([0.0, -1.0, 0.0, 3.0, 1e-30], requires_grad=True)
    mixed = log_mixture(logits, evidence)
    torch.testing.assert_close(mixed, torch.tensor([-200.0, 0.0, 0.0, float(np.log(4.0)), 90.0]))
    mixed.sum().backward()
    torch.testing.assert_close(logits.grad, torch.tensor([1.0, 1.0, 1.0, 0.25, 1.0]))
    torch.testing.assert_close(evidence.grad, torch.tensor([0.0, 0.0, 0.0, 0.25, 0.0]))


@torch.no_grad()
def test_a_gain_scales_the_logits_and_nothing_else(toy, tmp_path):
    model = fitted_composed(toy, tmp_path, gain=0.5)
    context = model.prepare(histories(toy, [0, 3]))
    assert sorted(model.gains) == ["attention", "user_encoder"]
    model.gains["attention"].fill_(-2.0)
    model.gains["user_encoder"].fill_(3.0)
    scores, factors = model.component_scores(context), {"attention": -2.0, "user_encoder": 3.0}
    for name, component in model.components.items():
        wanted = component.score(context).expand_as(scores[name]) * factors.get(name, 1.0)
        torch.testing.assert_close(scores[name], wanted, **CLOSE)
    wanted = -2.0 * model.component("attention").contributions(context)
    torch.testing.assert_close(model.only("attention").contributions(context), wanted, **CLOSE)


def test_components_of_gain_0_are_silent_until_the_gain_moves(toy, tmp_path):
    model = fitted_composed(toy, tmp_path, combination="mixture", gain=0.0, noise=0.0)
    model.component("linear").mix.data.fill_(1.0)
    context = model.prepare(histories(toy, [0, 3]))
    score = model.score(context)
    torch.testing.assert_close(score, model.without("attention", "user_encoder").score(context))
    score[:, :, :3].sum().backward()
    assert all(float(gain.grad.abs()) > 0 for gain in model.gains.values())
    attention = model.component("attention")
    assert all(p.grad is None or not p.grad.any() for p in attention.parameters())
    groups = model.parameter_groups()
    assert all(any(gain is p for p in groups["neural"]) for gain in model.gains.values())
    assert not list(fitted_composed(toy, tmp_path).gains)


def test_switching_off_leaves_the_model_itself_alone(toy, tmp_path):
    model = fitted_composed(toy, tmp_path)
    model.without("linear")
    assert model.switched_off == frozenset()
    assert model.without("linear").without("repeat").switched_off == {"linear", "repeat"}
    with pytest.raises(ValueError, match="no component .*'nothing'.*components are prior, linear"):
        model.without("nothing")


@torch.no_grad()
@pytest.mark.parametrize("normaliser", ["sigmoid", "softmax"])
def test_target_attention_equals_its_formula(toy, tmp_path, normaliser):
    model = fitted_composed(toy, tmp_path, normaliser=normaliser)
    context, own = model.prepare(histories(toy, [3])), model.component("attention")
    history, features = context.history, context.tables["features"]
    rows = features[history.item[0]]
    logits = own.key(rows) @ own.query(features).T / 8**0.5
    logits += (own.bias - own.decay * torch.log(1 + history.age[0]) + own.kind_bias[0][history.kind[0]]).unsqueeze(1)
    gate = logits.sigmoid() if normaliser == "sigmoid" else logits.softmax(0)
    torch.testing.assert_close(model.attention_weights(context)[0], gate, **CLOSE)
    wanted = (gate * (own.value(rows) @ features.T)).sum(0) / 8**0.5
    torch.testing.assert_close(model.component_scores(context)["attention"][0, 0], wanted, **CLOSE)


@torch.no_grad()
def test_the_linear_is_a_learned_mix_of_three_views_times_ease(toy, tmp_path):
    model = fitted_composed(toy, tmp_path)
    context = model.prepare(histories(toy, [3]))
    linear = model.component("linear")
    linear.scale.fill_(3.0)
    history, mix = context.history, 3.0 * linear.mix
    slow, fast = (torch.log(1 + history.decayed[0, :, channel]) for channel in (4, 2))
    wanted = (mix[0] + mix[1] * slow + mix[2] * fast) @ model.component("linear").weights[history.item[0]]
    torch.testing.assert_close(model.component_scores(context)["linear"][0, 0], wanted, **CLOSE)


@torch.no_grad()
def test_repeat_features_touch_the_item_itself_only(toy, tmp_path):
    model = fitted_composed(toy, tmp_path)
    context = model.prepare(histories(toy, [3]))
    touched = model.component_scores(context)["repeat"][0, 0] != 0
    assert touched.nonzero().squeeze(1).tolist() == sorted(context.history.item[0].tolist())


@torch.no_grad()
def test_the_prior_knows_the_moment(toy, tmp_path):
    model = fitted_composed(toy, tmp_path)
    priors = [
        model.component_scores(model.prepare(histories(toy, [3], part)))["prior"] for part in ("validation", "test")
    ]
    assert not torch.allclose(*priors)
    reference = toy.item_statistics(toy.train_end + 1)
    standard = (toy.item_statistics(11) - reference.mean(0)) / (reference.std(0) + 1e-6)
    statistics = torch.from_numpy(standard)
    wanted = (
        model.component("prior").bias
        + model.component("prior").level
        + statistics @ model.component("prior").statistics
    )
    torch.testing.assert_close(priors[1][0, 0], wanted, **CLOSE)


def test_pair_features_on_a_hand_made_pair(toy):
    history = histories(toy, [0])
    one = torch.tensor([[3.0]])
    pair = replace(
        history,
        age=one,
        first_age=torch.tensor([[11.0]]),
        n_periods=torch.tensor([[5.0]]),
        strength=torch.tensor([[7.0]]),
        decayed=torch.ones(1, 1, 6),
    )
    e, log = np.exp, np.log1p
    wanted = [log(7), log(5), log(3), log(11), log(2), 3 / 3, 5 / 11, 0.0, e(-3 / 4), e(-3 / 16), *[log(1)] * 6]
    np.testing.assert_allclose(pair_features(pair)[0, 0].numpy(), wanted, rtol=1e-6)


@pytest.mark.parametrize("moment", [5, 7])
def test_a_window_s_weights_are_fitted_on_events_before_it(toy, tmp_path, moment):
    model = fitted_composed(toy, tmp_path)
    binary, slow, fast = (np.zeros((toy.catalogue.n_users, toy.catalogue.n_items)) for _ in range(3))
    for user, item, time, strength in zip(toy.user, toy.item, toy.time, toy.strength, strict=True):
        if time < moment:
            binary[user, item] = 1.0
            slow[user, item] += strength * 0.5 ** ((moment - time) / 16)
            fast[user, item] += strength * 0.5 ** ((moment - time) / 4)
    inverse = np.linalg.inv(binary.T @ binary + 5.0 * np.eye(binary.shape[1]))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    found = model.component("linear")._window(moment)
    for view, matrix in enumerate((binary, np.log1p(slow), np.log1p(fast))):
        np.testing.assert_allclose(found[:, view].astype(np.float64), matrix @ weights, atol=2e-3)
    users, targets = torch.tensor([0, 4]), torch.tensor([[1, 2], [3, 3]])
    model.component("linear").scale.fill_(2.0)
    total = model.component("linear").window_total(
        History.from_table(toy.histories(moment), users.tolist()), users, targets
    )
    views = np.stack([binary, np.log1p(slow), np.log1p(fast)])
    mixed = np.tensordot(2.0 * model.component("linear").mix.detach().numpy(), views, 1) @ weights
    np.testing.assert_allclose(total.detach().numpy(), mixed[users.numpy()[:, None], targets.numpy()], atol=2e-2)


def test_events_inside_a_window_do_not_change_its_inputs(toy, tmp_path):
    past = toy.time < 7
    cut = replace(
        toy, **{c: getattr(toy, c)[past] for c in ("user", "item", "time", "strength", "kind")}, fingerprint="cut"
    )
    whole, short = fitted_composed(toy, tmp_path), toy_composed(toy)
    short.component("linear").attach(fit_data(cut, tmp_path / "cut"))
    np.testing.assert_array_equal(whole.component("linear")._window(7), short.component("linear")._window(7))
    assert not np.array_equal(whole.component("linear").weights, short.component("linear").weights)


def test_solving_for_a_window_forms_the_same_weights(toy):
    binary = interactions(toy.histories(7), toy.catalogue.n_items)
    solved = Ease.solve(binary, 5.0)
    np.testing.assert_allclose(solved.apply(binary), binary @ solved.matrix(), **CLOSE)


def test_capabilities_follow_the_parts(toy):
    assert not toy_composed(toy, attention=None).capabilities.attention
    assert not toy_composed(toy, **VARIANTS["vae only"]).capabilities.additive
    assert not toy_composed(toy, item_encoder="embedding").capabilities.cold_items
    with pytest.raises(TypeError, match="no attention over the history"):
        toy_composed(toy, attention=None).attention_weights(None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embedding_size": 0}, "embedding_size must be at least 1, got 0"),
        (
            {"combination": "mixtur"},
            "model.combination must be one of sum, .*; got 'mixtur'; did you mean",
        ),
        ({"normaliser": "sotfmax"}, "must be one of sigmoid, softmax, .*; got 'sotfmax'"),
    ],
)
def test_bad_arguments_are_named(toy, changes, message):
    with pytest.raises(ValueError, match=message):
        toy_composed(toy, **changes)


def test_every_parameter_is_in_exactly_one_group(toy):
    model = toy_composed(toy)
    groups, (update,) = model.parameter_groups(), model.updates()
    grouped = [id(p) for parameters in (*groups.values(), update.parameters) for p in parameters]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters())
    assert update.name == "discriminator" and update.term == "adversarial"
    assert {id(p) for p in update.parameters} == {id(p) for p in model.item_encoder.discriminator.parameters()}
    wide = [p for name in ("prior", "linear", "repeat") for p in model.component(name).parameters()]
    assert [id(p) for p in groups["wide"]] == [id(p) for p in wide]


def test_item_features_are_computed_once_until_a_weight_changes(toy, tmp_path, monkeypatch):
    model = fitted_composed(toy, tmp_path)
    plain, calls = type(model.item_encoder).features, []
    monkeypatch.setattr(type(model.item_encoder), "features", lambda self, g=None: (calls.append(1), plain(self, g))[1])
    history = histories(toy, [0, 1])

    def features():
        with torch.no_grad():
            return model.prepare(history).tables["features"]

    first = features()
    assert torch.equal(features(), first) and len(calls) == 1
    for change in (
        lambda p: p.add_(1.0),
        lambda p: (model.train(), torch.optim.Adam([p], lr=0.1, fused=True).step(), model.eval()),
        lambda p: model.load_state_dict({k: v + 1 for k, v in model.named_parameters()}, strict=False),
    ):
        parameter = model.item_encoder.free.table.weight
        parameter.grad = torch.ones_like(parameter)
        with torch.no_grad():
            before = features().clone()
            change(parameter)
            assert not torch.equal(features(), before)
            assert torch.equal(features(), plain(model.item_encoder))
    n_calls = len(calls)
    model.prepare(history)  # gradients of parameters may be asked for
    assert len(calls) == n_calls + 1


def test_repeat_features_are_standardised_on_every_pair_of_training_and_no_padding(toy, tmp_path):
    repeat = fitted_composed(toy, tmp_path).component("repeat")
    table = toy.histories(toy.train_end + 1)
    padded = History.from_table(table, range(table.n_users))
    assert (padded.presence == 0).sum() > 0
    features = pair_features(padded)[padded.presence > 0]
    assert torch.equal(repeat.mean, features.mean(0)) and torch.equal(repeat.deviation, features.std(0) + 1e-6)


@pytest.mark.parametrize(("attention", "fitted"), [(None, []), ("target", [True])])
def test_an_item_encoder_that_nobody_uses_is_not_fitted(toy, tmp_path, monkeypatch, attention, fitted):
    model, calls = toy_composed(toy, user_encoder=False, attention=attention, item_encoder="embedding"), []
    monkeypatch.setattr(model.item_encoder, "fit", lambda data: calls.append(True))
    model.fit(fit_data(toy, tmp_path))
    assert calls == fitted
