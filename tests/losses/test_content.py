"""The content term: the likelihood of some components alone."""

from __future__ import annotations

import pytest
import torch

from tests.toys import WEIGHTS, histories, toy_composed, train
from xrec.errors import SettingError
from xrec.losses.content import Content
from xrec.losses.reconstruction import Multinomial


def test_it_is_the_likelihood_of_the_named_components(toy, tmp_path):
    model, _ = train(toy, tmp_path, model=toy_composed(toy), epochs=1)
    context = model.eval().prepare(histories(toy, [0, 1, 2]))
    targets = torch.arange(6).expand(3, 6)
    labels, log_weight = torch.eye(6)[:3], torch.zeros(3, 6)

    def score(presence, components=None):
        view = model if components is None else model.only(*components)
        return view.score(context, presence, targets)

    found = Content(Multinomial(), ["attention"])(
        score, context.history.presence, labels, log_weight, torch.Generator()
    )
    alone = model.component("attention").score(context, None, targets).squeeze(1)
    torch.testing.assert_close(found, -alone.log_softmax(-1).diagonal())
    both = Content(Multinomial(), ["attention", "user_encoder"])
    assert not torch.allclose(found, both(score, context.history.presence, labels, log_weight, torch.Generator()))


def test_it_trains_the_features_and_nothing_of_the_components_left_out(toy, tmp_path):
    """With no other term than content, prior, linear path and repeat features stay as they were fitted."""
    model = toy_composed(toy, item_encoder="embedding_attributes", noise=0.0)
    weights = dict.fromkeys(WEIGHTS, 0.0) | {"content": 1.0}
    weights = {name: weight for name, weight in weights.items() if name not in ("adversarial", "item_reconstruction")}
    before = {}
    fit = model.fit

    def noted(data):
        fit(data)
        before.update({name: value.clone() for name, value in model.state_dict().items()})

    model.fit = noted
    terms = {"content": Content(Multinomial(), ["attention"])}
    train(toy, tmp_path, model=model, weights=weights, score_terms=terms)
    after = model.state_dict()
    moved = {".".join(name.split(".")[:2]) for name, value in before.items() if not torch.equal(value, after[name])}
    assert {"item_encoder.levels", "item_encoder.free", "components.attention"} == moved


def test_a_component_that_is_not_there_is_refused(toy, tmp_path):
    model = toy_composed(toy, attention=None)
    terms = {"content": Content(Multinomial(), ["attention"])}
    with pytest.raises(SettingError, match="loss.terms.content.components: .*no component 'attention'"):
        train(toy, tmp_path, model=model, score_terms=terms, weights={**WEIGHTS, "content": 1.0})
    with pytest.raises(SettingError, match="components is empty"):
        Content(Multinomial(), [])
