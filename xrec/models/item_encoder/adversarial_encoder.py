"""What all adversarial item encoders have in common: the game that is played in `fit`, and how it is watched."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from xrec.losses.adversarial import AdversarialLoss
from xrec.models.adam import FusedAdam
from xrec.models.item_encoder.attribute_codes import AttributeCodes
from xrec.models.item_encoder.discriminator import Discriminator
from xrec.models.item_encoder.item_encoder import ItemEncoder
from xrec.models.item_encoder.probe import principal, probe
from xrec.models.recommender import FitData
from xrec.models.settings import above_0, at_least, from_0_below_1
from xrec.models.singular import scaled_factors
from xrec.models.update import Update
from xrec.types import Catalogue

log = logging.getLogger(__name__)

#: of Adam, for all players (Radford et al., ICLR 2016)
BETAS = (0.5, 0.999)
#: items and draws that `monitors` looks at
LOOKED_AT = 1000
#: a variant's measures that are reported, and the item factors that are probed
MEASURES, PROBED = ("mmd", "coverage", "round_trip", "spread", "alignment"), 16
#: a discriminator right so often has won, and a generator that finds so few of what there is has collapsed
WON, COLLAPSED = 0.99, 0.5
COLLAPSES = {
    "modes_collapsed": "its generator makes less than half of the {modes}; lower {player}_learning_rate",
    "game_collapsed": "its discriminator tells all pairs apart; lower discriminator_learning_rate",
}


@dataclass(frozen=True)
class Shown:
    """real, fake: inputs of the discriminator, in its order. reconstruction: how well the players give the items back
    that the real ones are of, a scalar; None: they do not."""

    real: tuple[Tensor, ...]
    fake: tuple[Tensor, ...]
    reconstruction: Callable[[], Tensor] | None = None


class AdversarialEncoder(ItemEncoder):
    """A discriminator D and its players, trained in `fit`, before the ranker, for `pretraining_steps` with rates of
    their own. Then they stay as they are: attributes do not change with the ranker, a ranker's few hundred steps are
    too few for a game that needs a thousand, and the features it learns on stand still. Asked for by
    `loss.weights.adversarial` or `loss.weights.item_reconstruction` above 0, the players go on with these terms in the
    ranker's steps, at its rates, and D with its own.

    A variant names itself (`name`), makes its `discriminator` and says what is `_shown`, `_looked_at`, and who the
    `players` are.

    Args:
        adversarial: the adversarial loss (`loss/adversarial`).
        batch_size: items per adversarial step.
        pretraining_steps: of the players in `fit`; the rates fall to 0 in a straight line over their second half.
        n_critic: steps of D per step of the players.
        learning_rates: of each player, and of the discriminator; of Adam with beta1 = .5.
        reconstruction_weight: of the items' reconstruction beside the adversarial loss, in pretraining.
        instance_noise: on both sides of D, at the start of pretraining (Sonderby et al., ICLR 2017); falls to 0 in a
            straight line over four fifths of it.
    Raises:
        SettingError: no item attributes, or a size, rate or noise out of range.
    """

    cold_items = True
    term_names = ("adversarial", "item_reconstruction")
    name: str
    #: the measure whose value below .5 says that the generator has collapsed, and what it is a share of
    collapse, modes = "coverage", "common levels"
    discriminator: Discriminator

    def __init__(
        self,
        catalogue: Catalogue,
        adversarial: AdversarialLoss,
        batch_size: int,
        pretraining_steps: int,
        n_critic: int,
        learning_rates: Mapping[str, float],
        reconstruction_weight: float,
        instance_noise: float,
    ) -> None:
        super().__init__()
        at_least(1, self.name, batch_size=batch_size, n_critic=n_critic)
        at_least(0, self.name, pretraining_steps=pretraining_steps, reconstruction_weight=reconstruction_weight)
        above_0(self.name, **{f"{name}_learning_rate": rate for name, rate in learning_rates.items()})
        from_0_below_1(self.name, instance_noise=instance_noise)
        self.codes = AttributeCodes(catalogue)
        self.codes.require_some(self.name)
        self.adversarial, self.batch_size, self.rates = adversarial, batch_size, dict(learning_rates)
        self.pretraining_steps, self.n_critic = pretraining_steps, n_critic
        self.reconstruction_weight, self.instance_noise = reconstruction_weight, instance_noise
        warm = np.setdiff1d(np.arange(catalogue.n_items), catalogue.cold)
        self.warm: Tensor
        self.register_buffer("warm", torch.from_numpy(warm), persistent=False)
        self.levels: Tensor  # [n_columns] which columns are levels, and no numbers
        levels = ~np.repeat(np.array(self.codes.numeric), self.codes.sizes)
        self.register_buffer("levels", torch.from_numpy(levels), persistent=False)

    # what a variant says

    @abstractmethod
    def players(self) -> dict[str, nn.Module]:
        """Who plays against D, by the name of its rate; the last one generates."""

    @abstractmethod
    def _shown(self, generator: torch.Generator, noise: float) -> Shown:
        """A batch, with gradients to the players, and with instance noise."""

    @abstractmethod
    def _looked_at(self, rows: Tensor, generator: torch.Generator) -> tuple[Shown, dict[str, float]]:
        """These items [N] and as many draws as `LOOKED_AT`, without noise; and measures by name."""

    @abstractmethod
    def described(self) -> Tensor:
        """[I, ...] what it makes of each item's attributes alone; no draw."""

    def examples(self) -> Tensor:
        """Items [n] that D is shown: no cold one's."""
        return self.warm

    def _begin(self) -> None:
        """What the players begin with."""

    # the game

    def fit(self, data: FitData) -> None:
        """Train D and the players."""
        if self.pretraining_steps:
            self._begin()
            self._pretrain(data)

    def _pretrain(self, data: FitData) -> None:
        critic = FusedAdam([(list(self.discriminator.parameters()), self.rates["discriminator"])], BETAS)
        players = FusedAdam([(list(m.parameters()), self.rates[n]) for n, m in self.players().items()], BETAS)
        rates = [(group, group["lr"]) for optimiser in (critic, players) for group in optimiser.param_groups]
        title, steps = type(self).__name__, self.pretraining_steps
        with torch.enable_grad():
            for step in data.progress(range(steps), total=steps, description=title):
                done = step / steps
                for group, rate in rates:
                    group["lr"] = rate * min(1.0, 2 * (1 - done))
                noise = self.instance_noise * max(0.0, 1 - done / 0.8)
                for _ in range(self.n_critic):
                    _minimise(self.discriminator_loss(data.generator, noise), critic)
                losses = self._players_losses(data.generator, noise)
                loss = losses["adversarial"]
                if "item_reconstruction" in losses:
                    loss = loss + self.reconstruction_weight * losses["item_reconstruction"]
                _minimise(loss, players)
        for parameter in self.parameters():
            parameter.grad = None
        self._report(title)

    def _report(self, title: str) -> None:
        found, player = self.monitors(), list(self.players())[-1]
        for name, message in COLLAPSES.items():
            if found.get(f"{self.name}_{name}"):
                log.warning("%s: %s", title, message.format(modes=self.modes, player=player))
        numbers = ", ".join(f"{name} {value:.3g}" for name, value in found.items())
        log.info("%s after %d steps: %s", title, self.pretraining_steps, numbers)

    def discriminator_loss(self, generator: torch.Generator, noise: float = 0.0) -> Tensor:
        """Of a batch; moves the discriminator only."""
        with torch.no_grad():
            shown = self._shown(generator, noise)
        self.discriminator.estimate_norms()
        real, fake = self.discriminator(*shown.real), self.discriminator(*shown.fake)
        penalty = self.adversarial.penalty(self.discriminator, shown.real, shown.fake, generator)
        return self.adversarial.discriminator_loss(real, fake) + penalty

    def _players_losses(self, generator: torch.Generator, noise: float = 0.0) -> dict[str, Tensor]:
        """What the players minimise, by term, of one batch."""
        shown = self._shown(generator, noise)
        learned = any(part.requires_grad for part in shown.real)
        real = self.discriminator(*shown.real) if learned else None
        losses = {"adversarial": self.adversarial.generator_loss(real, self.discriminator(*shown.fake))}
        if shown.reconstruction is not None:
            losses["item_reconstruction"] = shown.reconstruction()
        return losses

    def _drawn_items(self, generator: torch.Generator) -> Tensor:
        """A batch of items."""
        rows = self.examples()
        return rows[torch.randint(len(rows), (self.batch_size,), generator=generator, device=rows.device)]

    def item_terms(self, generator: torch.Generator, wanted: set[str]) -> dict[str, Tensor]:
        if not wanted & set(self.term_names):
            return {}
        return {name: term for name, term in self._players_losses(generator).items() if name in wanted}

    def updates(self) -> list[Update]:
        """The discriminator's step, as long as the adversarial term has a weight."""

        def adam(parameters: Sequence[nn.Parameter], rate: float) -> FusedAdam:
            return FusedAdam([(list(parameters), self.rates["discriminator"])], BETAS)

        parameters = list(self.discriminator.parameters())
        return [Update("discriminator", parameters, self.discriminator_loss, "adversarial", optimiser=adam)]

    # what became of it

    @torch.no_grad()
    def monitors(self) -> dict[str, float]:
        """How the game stands, on the same draws every time; what went wrong is 1.

        discriminator_accuracy: share of samples told right, the mean of real and fake ones; .5 when fooled, and when D
        says the same of everything. discriminator_real, _fake: mean logits. <name>_...: a variant's measures.
        <name>_modes_collapsed: the variant's `collapse` is below .5. <name>_game_collapsed: D is right in over 99 %.
        """
        examples = self.examples()
        generator = torch.Generator(examples.device).manual_seed(0)
        rows = examples[torch.randperm(len(examples), generator=generator, device=examples.device)[:LOOKED_AT]]
        shown, measures = self._looked_at(rows, generator)
        real, fake = self.discriminator(*shown.real), self.discriminator(*shown.fake)
        boundary = self.adversarial.boundary(real, fake)
        accuracy = float((real > boundary).float().mean() + (fake < boundary).float().mean()) / 2
        measures["modes_collapsed"] = float(measures[self.collapse] < COLLAPSED)
        measures["game_collapsed"] = float(accuracy > WON)
        means = {"discriminator_real": float(real.mean()), "discriminator_fake": float(fake.mean())}
        named = {f"{self.name}_{name}": value for name, value in measures.items()}
        return {"discriminator_accuracy": accuracy, **means, **named}

    @torch.no_grad()
    def learned(self, data: FitData) -> dict[str, float]:
        """What `monitors` says of D and of what is generated, and linear probes of `described`, over the items that are
        no cold ones: of popularity (log(1 + users)), beside as many principal components of the attributes; and of
        PureSVD's factors, which say who is bought with whom."""
        monitors, rows = self.monitors(), self.warm.cpu().numpy()
        found = {f"learned_{name}": monitors.get(f"{self.name}_{name}") for name in MEASURES}
        found["learned_accuracy"] = monitors["discriminator_accuracy"]
        described = self.described().double().cpu().numpy()[rows]
        table = data.dataset.histories(data.dataset.train_end + 1)
        n_items = len(self.codes.columns)
        popular = np.log1p(np.bincount(table.item[table.positive > 0], minlength=n_items))[rows]
        factors = scaled_factors(data.dataset, n_items, PROBED, 1.0, 0.25).double().numpy()[rows]
        found["probe_popularity"] = probe(described, popular)
        found["probe_popularity_components"] = probe(principal(self.codes, rows, described.shape[1]), popular)
        found["probe_factors"] = probe(described, factors)
        return {name: value for name, value in found.items() if value is not None}

    def shares(self) -> Tensor:
        """[n_columns] mean of x over the items that are no cold ones: what should be generated in the mean."""
        columns, weights = self.codes.columns[self.warm], self.codes.weights[self.warm]
        total = weights.new_zeros(self.codes.n_columns).scatter_add_(0, columns.flatten(), weights.flatten())
        return total / len(self.warm)


def normal(shape: Sequence[int], like: Tensor, generator: torch.Generator) -> Tensor:
    """A standard normal draw, where `like` is."""
    return torch.randn(*shape, generator=generator, device=like.device)


def _minimise(loss: Tensor, optimiser: FusedAdam) -> None:
    optimiser.zero_grad()
    loss.backward(inputs=[p for group in optimiser.param_groups for p in group["params"]])
    optimiser.step()
