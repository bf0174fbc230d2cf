"""BiGAN over item attributes (Donahue et al., ICLR 2017): it generates attribute vectors and encodes them.

E(x) -> z, G(z) -> x, and a joint discriminator D(x, z) tells (x, E(x)) from (G(z), z). Three things let D be fooled:
x is drawn levels on both sides (`attribute_sampler`), E begins with the prior's mean and variance
(stochastic as in ALI: Dumoulin et al., ICLR 2017), and D is spectrally normalised (Miyato et al., ICLR 2018) and sees
through instance noise at first (Sonderby et al., ICLR 2017). Reconstruction makes E and G each other's inverse (ALICE:
Li et al., NeurIPS 2017).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from xrec.errors import SettingError
from xrec.losses.adversarial import AdversarialLoss
from xrec.models.adam import FusedAdam
from xrec.models.item_encoder.attribute_codes import AttributeCodes, AttributeSum
from xrec.models.item_encoder.attribute_sampler import AttributeSampler
from xrec.models.item_encoder.item_encoder import FreeRows, ItemEncoder
from xrec.models.item_encoder.joint_discriminator import JointDiscriminator
from xrec.models.item_encoder.match import coverage, mmd
from xrec.models.recommender import FitData
from xrec.models.settings import above_0, at_least
from xrec.models.singular import leading_axes
from xrec.models.update import Update
from xrec.types import Catalogue

log = logging.getLogger(__name__)

#: deviation of E's noise at the start; its mean has what is left of the prior's variance
NOISE = 0.5
#: of Adam, for all players (Radford et al., ICLR 2016)
BETAS = (0.5, 0.999)
#: items and draws that `monitors` looks at
LOOKED_AT = 1000
#: a discriminator right so often has won, and a generator that finds so few of the levels has collapsed
WON, COLLAPSED = 0.99, 0.5
COLLAPSES = {
    "bigan_modes_collapsed": "its generator makes less than half of the common levels; lower generator_learning_rate",
    "bigan_game_collapsed": "its discriminator tells all pairs apart; lower discriminator_learning_rate",
}


class BiGAN(ItemEncoder):
    """An item's feature is a linear map of E's mean, plus a free row that is dropped at random in training so that the
    attribute part alone is a usable feature.

    D, E and G are trained in `fit`, before the ranker, for `pretraining_steps` with rates of their own, and stay as
    they are: attributes do not change with the ranker, a ranker's few hundred steps are too few for a game that needs
    a thousand, and the features it learns on stand still. Asked for by `loss.weights.adversarial` or
    `loss.weights.item_reconstruction` above 0, E and G go on with these terms in the ranker's steps, at its rates, and
    D with its own; asked for by `fine_tune`, the ranker's loss reaches E.

    Args:
        adversarial: the adversarial loss (`loss/adversarial`).
        latent_size, hidden_size: of E, G and D.
        batch_size: items per adversarial step.
        pretraining_steps: of E and G in `fit`; the rates fall to 0 in a straight line over their second half.
        n_critic: steps of D per step of E and G.
        encoder_learning_rate, generator_learning_rate, discriminator_learning_rate: of Adam with beta1 = .5.
        reconstruction_weight: of the items' reconstruction beside the adversarial loss, in nats (mean over fields).
        instance_noise: at the start, of pretraining: the chance that a field of x is another item's, and the
            deviation of what is added to z, on both sides; falls to 0 in a straight line over four fifths of it.
        temperature: of the Gumbel-softmax.
        fine_tune: the ranker's loss moves E too.
        free_dropout: probability that an item's free row is dropped in a training step; the others are divided by
            1 - free_dropout, so that training and scoring agree in expectation.
    Raises:
        SettingError: no item attributes, a size or rate out of range, or a probability outside [0, 1).
    """

    cold_items = True
    term_names = ("adversarial", "item_reconstruction")

    def __init__(
        self,
        catalogue: Catalogue,
        embedding_size: int,
        adversarial: AdversarialLoss,
        latent_size: int = 64,
        hidden_size: int = 64,
        batch_size: int = 128,
        pretraining_steps: int = 1500,
        n_critic: int = 1,
        encoder_learning_rate: float = 2e-4,
        generator_learning_rate: float = 7e-4,
        discriminator_learning_rate: float = 1.75e-4,
        reconstruction_weight: float = 0.6,
        instance_noise: float = 0.2,
        temperature: float = 0.7,
        fine_tune: bool = False,
        free_dropout: float = 0.3,
    ) -> None:
        super().__init__()
        at_least(1, "bigan", latent_size=latent_size, hidden_size=hidden_size, batch_size=batch_size, n_critic=n_critic)
        at_least(0, "bigan", pretraining_steps=pretraining_steps, reconstruction_weight=reconstruction_weight)
        rates = {"encoder": encoder_learning_rate, "generator": generator_learning_rate}
        rates["discriminator"] = discriminator_learning_rate
        above_0("bigan", temperature=temperature, **{f"{name}_learning_rate": rate for name, rate in rates.items()})
        if not 0 <= instance_noise < 1:
            raise SettingError(f"bigan: instance_noise must be in [0, 1), got {instance_noise}")
        self.codes = AttributeCodes(catalogue)
        self.codes.require_some("bigan")
        self.sampler = AttributeSampler(self.codes, temperature)
        self.adversarial = adversarial
        self.latent_size, self.batch_size, self.rates = latent_size, batch_size, rates
        self.pretraining_steps, self.n_critic = pretraining_steps, n_critic
        self.reconstruction_weight, self.instance_noise, self.fine_tune = (
            reconstruction_weight,
            instance_noise,
            fine_tune,
        )
        self.encoder = _Encoder(self.codes.n_columns, latent_size, hidden_size)
        self.generator = _Generator(latent_size, hidden_size, self.codes.n_columns)
        self.discriminator = JointDiscriminator(self.codes.n_columns, latent_size, hidden_size)
        self.projection = nn.Linear(latent_size, embedding_size)
        self.free = FreeRows(catalogue, embedding_size, "bigan", free_dropout)
        warm = np.setdiff1d(np.arange(catalogue.n_items), catalogue.cold)
        self.warm: Tensor
        self.register_buffer("warm", torch.from_numpy(warm), persistent=False)
        self.levels: Tensor  # [n_columns] which columns are levels, and no numbers
        levels = ~np.repeat(np.array(self.codes.numeric), self.codes.sizes)
        self.register_buffer("levels", torch.from_numpy(levels), persistent=False)

    def encode(self, rows: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """E(x) of items [N] (None: all) -> latents [N, latent_size]: a draw, or without a generator the mean."""
        codes = self.codes
        chosen = slice(None) if rows is None else rows
        mean, log_deviation = self.encoder(codes.columns[chosen], codes.weights[chosen])
        if generator is None:
            return mean
        return mean + log_deviation.exp() * _normal(mean.shape, generator, mean.device)

    def generate(self, latents: Tensor) -> Tensor:
        """G(z): latents [N, latent_size] -> the expected attributes [N, n_columns]: shares that sum to 1 within a
        category or text; for a number, the chance that it is missing and its scaled value, weighed by the chance that
        it is there."""
        return self.sampler.expected(self.generator(latents))

    def features(self, generator: torch.Generator | None = None) -> Tensor:
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.fine_tune):
            latents = self.encode()
        return self.projection(latents) + self.free(generator)

    # training

    def fit(self, data: FitData) -> None:
        """Begin with E's mean as the whitened principal components of the attributes, and train D, E and G."""
        if self.pretraining_steps:
            self._begin()
            self._pretrain(data)

    @torch.no_grad()
    def _begin(self) -> None:
        codes, warm = self.codes, self.warm
        center, axes = _whitening(codes, warm.cpu().numpy(), self.latent_size)
        self.encoder.begin(center.to(warm.device), axes.to(warm.device))
        self.generator.begin(self.sampler.logits(self.shares(), 1 / len(warm)))

    def _pretrain(self, data: FitData) -> None:
        critic = FusedAdam([(list(self.discriminator.parameters()), self.rates["discriminator"])], BETAS)
        modules = {"encoder": self.encoder, "generator": self.generator}
        players = FusedAdam([(list(m.parameters()), self.rates[n]) for n, m in modules.items()], BETAS)
        rates = [(group, group["lr"]) for optimiser in (critic, players) for group in optimiser.param_groups]
        with torch.enable_grad():
            for step in data.progress(range(self.pretraining_steps), total=self.pretraining_steps, description="BiGAN"):
                done = step / self.pretraining_steps
                for group, rate in rates:
                    group["lr"] = rate * min(1.0, 2 * (1 - done))
                noise = self.instance_noise * max(0.0, 1 - done / 0.8)
                for _ in range(self.n_critic):
                    _minimise(self.discriminator_loss(data.generator, noise), critic)
                adversarial, reconstruction = self._players_losses(data.generator, noise)
                _minimise(adversarial + self.reconstruction_weight * reconstruction, players)
        for parameter in self.parameters():
            parameter.grad = None
        found = self.monitors()
        numbers = ", ".join(f"{name} {value:.3g}" for name, value in found.items())
        for name in (name for name, value in found.items() if name.endswith("collapsed") and value):
            log.warning("BiGAN: %s", COLLAPSES[name])
        log.info("BiGAN after %d steps: %s", self.pretraining_steps, numbers)

    def discriminator_loss(self, generator: torch.Generator, noise: float = 0.0) -> Tensor:
        """Of a batch of items and one of draws from the prior, in nats; moves the discriminator only."""
        with torch.no_grad():
            rows, prior = self._draw(generator)
            encoded = self.encode(rows, generator)
            made = self.sampler.generated(self.generator(prior), generator)
        self.discriminator.estimate_norms()
        return self.adversarial.discriminator_loss(*self._told(rows, encoded, made, prior, generator, noise))

    def _players_losses(self, generator: torch.Generator, noise: float = 0.0) -> tuple[Tensor, Tensor]:
        """What E and G minimise: the adversarial loss and the reconstruction, of one batch."""
        rows, prior = self._draw(generator)
        encoded = self.encode(rows, generator)
        made = self.sampler.generated(self.generator(prior), generator)
        told = self._told(rows, encoded, made, prior, generator, noise)
        return self.adversarial.generator_loss(*told), self._reconstruction(rows, encoded)

    def _draw(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """A batch of items (no cold one's) and one of latents from the prior."""
        device = self.warm.device
        rows = self.warm[torch.randint(len(self.warm), (self.batch_size,), generator=generator, device=device)]
        return rows, _normal((self.batch_size, self.latent_size), generator, device)

    def _told(
        self, rows: Tensor, encoded: Tensor, made: Tensor, prior: Tensor, generator: torch.Generator, noise: float
    ) -> tuple[Tensor, Tensor]:
        """D's logits of (x, E(x)) and of (G(z), z), each through the same noise."""
        if noise > 0:
            others = self._draw(generator)[0].unsqueeze(1)
            rows = torch.where(self.sampler.swapped(len(rows), noise, generator), others, rows.unsqueeze(1))
            swapped = self.sampler.swapped(len(made), noise, generator)[:, self.sampler.field_of]
            made = torch.where(swapped, self.sampler.items(others.squeeze(1), generator), made)
            encoded, prior = (z + noise * _normal(z.shape, generator, z.device) for z in (encoded, prior))
        return self.discriminator(self.sampler.items(rows, generator), encoded), self.discriminator(made, prior)

    def _reconstruction(self, rows: Tensor, encoded: Tensor) -> Tensor:
        return self.sampler.losses(self.generator(encoded), rows).mean()

    def item_terms(self, generator: torch.Generator, wanted: set[str]) -> dict[str, Tensor]:
        if not wanted & set(self.term_names):
            return {}
        terms = dict(zip(self.term_names, self._players_losses(generator), strict=True))
        return {name: term for name, term in terms.items() if name in wanted}

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

        discriminator_accuracy: share of pairs told right, the mean of real and fake ones; .5 when fooled. bigan_mmd:
        squared maximum mean discrepancy between E(x) and the prior (unbiased; 0 when they agree). bigan_coverage: share
        of the levels above 1 % that are generated within a factor of 2 of their share. bigan_round_trip: share of the
        categories that G(E(x)) names right. bigan_modes_collapsed: coverage below .5. bigan_game_collapsed: D is right
        in more than 99 % of pairs.
        """
        device = self.warm.device
        generator = torch.Generator(device).manual_seed(0)
        rows = self.warm[torch.randperm(len(self.warm), generator=generator, device=device)[:LOOKED_AT]]
        encoded, prior = self.encode(rows, generator), _normal((LOOKED_AT, self.latent_size), generator, device)
        made = self.sampler.generated(self.generator(prior), generator)
        real = self.discriminator(self.sampler.items(rows, generator), encoded)
        fake = self.discriminator(made, prior)
        accuracy = float((real > 0).float().mean() + (fake < 0).float().mean()) / 2
        covered = coverage(self.shares(), made.mean(0), self.levels)
        return {
            "discriminator_accuracy": accuracy,
            "bigan_mmd": mmd(encoded, prior[: len(encoded)]),
            "bigan_coverage": covered,
            "bigan_round_trip": float(self.sampler.named(self.generator(self.encode(rows)), rows).mean()),
            "bigan_modes_collapsed": float(covered < COLLAPSED),
            "bigan_game_collapsed": float(accuracy > WON),
        }

    def shares(self) -> Tensor:
        """[n_columns] mean of x over the items that are no cold ones: what G should generate in the mean."""
        columns, weights = self.codes.columns[self.warm], self.codes.weights[self.warm]
        total = weights.new_zeros(self.codes.n_columns).scatter_add_(0, columns.flatten(), weights.flatten())
        return total / len(self.warm)


class _Encoder(nn.Module):
    """Attributes -> mean and log deviation of the latents: a linear map, and a net that it is corrected by."""

    def __init__(self, n_columns: int, latent_size: int, hidden_size: int) -> None:
        super().__init__()
        self.linear = AttributeSum(n_columns, latent_size)
        self.first = AttributeSum(n_columns, hidden_size)
        self.mean, self.log_deviation = nn.Linear(hidden_size, latent_size), nn.Linear(hidden_size, latent_size)
        with torch.no_grad():  # what it begins as is for the linear map to say
            for layer in (self.mean, self.log_deviation):
                layer.weight.mul_(0.1)
                layer.bias.zero_()

    def begin(self, center: Tensor, axes: Tensor) -> None:
        """Mean (x - center) @ axes of variance 1 - NOISE^2 and noise of deviation NOISE; where axes [n_columns, k] has
        none, noise of deviation 1."""
        given = axes.shape[1]
        scaled = functional.pad(axes * math.sqrt(1 - NOISE**2), (0, self.linear.rows.weight.shape[1] - given))
        self.linear.rows.weight.copy_(scaled)
        self.linear.bias.copy_(-center @ scaled)
        self.log_deviation.bias.zero_()
        self.log_deviation.bias[:given] = math.log(NOISE)

    def forward(self, columns: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        hidden = functional.leaky_relu(self.first(columns, weights), 0.2)
        return self.linear(columns, weights) + self.mean(hidden), self.log_deviation(hidden)


class _Generator(nn.Sequential):
    """Latents -> logits of attributes."""

    def __init__(self, latent_size: int, hidden_size: int, n_columns: int) -> None:
        super().__init__(nn.Linear(latent_size, hidden_size), nn.LeakyReLU(0.2), nn.Linear(hidden_size, n_columns))

    def begin(self, logits: Tensor) -> None:
        """Nearly the same logits [n_columns] for every latent."""
        last = self[2]
        assert isinstance(last, nn.Linear)
        last.weight.mul_(0.3)
        last.bias.copy_(logits)


def _whitening(codes: AttributeCodes, rows: np.ndarray, size: int) -> tuple[Tensor, Tensor]:
    """Mean [n_columns] of x over these items, and axes [n_columns, k <= size] on which the centred x has unit variance
    and no covariance: its principal components. No dense x of all items is made."""
    from scipy import sparse

    columns, weights = codes.columns[rows].cpu().numpy(), codes.weights[rows].cpu().numpy().astype(np.float64)
    n, width = len(rows), codes.n_columns
    x = sparse.csr_matrix((weights.ravel(), (np.repeat(np.arange(n), columns.shape[1]), columns.ravel())), (n, width))
    center = np.asarray(x.mean(0)).ravel()
    scales, axes = leading_axes(x, size, center)
    there = scales > 1e-4 * scales[0]
    whitened = axes[there].T / scales[there] * math.sqrt(n)
    return torch.from_numpy(center).float(), torch.from_numpy(np.ascontiguousarray(whitened)).float()


def _normal(shape: Sequence[int], generator: torch.Generator, device: torch.device) -> Tensor:
    return torch.randn(*shape, generator=generator, device=device)


def _minimise(loss: Tensor, optimiser: FusedAdam) -> None:
    optimiser.zero_grad()
    loss.backward(inputs=[p for group in optimiser.param_groups for p in group["params"]])
    optimiser.step()
