"""BiGAN over item attributes (Donahue et al., ICLR 2017): it generates attribute vectors and encodes them.

E(x) -> z, G(z) -> x, and a joint discriminator D(x, z) tells (x, E(x)) from (G(z), z). x is the concatenation of the
attribute fields, each a weight per level; G answers with one softmax per category or text, and two numbers per number.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from xrec.errors import SettingError
from xrec.losses.adversarial import AdversarialLoss
from xrec.models.item_encoder.attribute_codes import AttributeCodes, AttributeSum
from xrec.models.item_encoder.item_encoder import ItemEncoder, forget_cold
from xrec.models.update import Update
from xrec.types import Catalogue


class BiGAN(ItemEncoder):
    """An item's feature is a linear map of E(x), plus a free row that is dropped at random in training so that the
    attribute part alone is a usable feature.

    Args:
        adversarial: the adversarial loss (`loss/adversarial`).
        latent_size, hidden_size: of E, G and D.
        batch_size: items per adversarial step.
        free_dropout: probability that an item's free row is dropped in a training step.
        discriminator_learning_rate_scale: times the training's learning rate.
    Raises:
        SettingError: no item attributes, a size below 1, or a probability outside [0, 1).
    """

    cold_items = True
    term_names = ("adversarial", "item_reconstruction")

    def __init__(
        self,
        catalogue: Catalogue,
        embedding_size: int,
        adversarial: AdversarialLoss,
        latent_size: int = 32,
        hidden_size: int = 64,
        batch_size: int = 512,
        free_dropout: float = 0.3,
        discriminator_learning_rate_scale: float = 0.2,
    ) -> None:
        super().__init__()
        if not 0 <= free_dropout < 1:
            raise SettingError(f"bigan: free_dropout must be in [0, 1), got {free_dropout}")
        if discriminator_learning_rate_scale <= 0:
            raise SettingError(
                f"bigan: discriminator_learning_rate_scale must be above 0, got {discriminator_learning_rate_scale}"
            )
        for name, size in (("latent_size", latent_size), ("hidden_size", hidden_size), ("batch_size", batch_size)):
            if size < 1:
                raise SettingError(f"bigan: {name} must be at least 1, got {size}")
        self.codes = AttributeCodes(catalogue)
        self.codes.require_some("bigan")
        self.fields = [_Number() if numeric else _Shares() for numeric in self.codes.numeric]
        self.adversarial = adversarial
        self.discriminator_learning_rate_scale = discriminator_learning_rate_scale
        self.latent_size, self.batch_size, self.free_dropout = latent_size, batch_size, free_dropout
        self.encoder_first = AttributeSum(self.codes.n_columns, hidden_size)
        self.encoder_second = nn.Linear(hidden_size, latent_size)
        self.generator = nn.Sequential(
            nn.Linear(latent_size, hidden_size), nn.LeakyReLU(0.2), nn.Linear(hidden_size, self.codes.n_columns)
        )
        self.discriminator = _JointDiscriminator(self.codes.n_columns, latent_size, hidden_size)
        self.projection = nn.Linear(latent_size, embedding_size)
        self.free = nn.Embedding(catalogue.n_items, embedding_size)
        nn.init.normal_(self.free.weight, std=0.05)
        forget_cold(self.free, catalogue)
        warm = np.setdiff1d(np.arange(catalogue.n_items), catalogue.cold)
        self.warm: Tensor
        self.register_buffer("warm", torch.from_numpy(warm), persistent=False)

    def encode(self, columns: Tensor, weights: Tensor) -> Tensor:
        """E(x): attribute columns and weights [N, M] -> latents [N, latent_size]."""
        return self.encoder_second(functional.leaky_relu(self.encoder_first(columns, weights), 0.2))

    def generate(self, latents: Tensor) -> Tensor:
        """G(z): latents [N, latent_size] -> attributes [N, n_columns]: shares that sum to 1 within a category or text;
        for a number, the chance that it is missing and its scaled value, weighed by the chance that it is there."""
        return torch.cat(
            [field.drawn(part) for field, part in zip(self.fields, self._logits(latents), strict=True)], -1
        )

    def _logits(self, latents: Tensor) -> tuple[Tensor, ...]:
        return self.generator(latents).split(self.codes.sizes, dim=-1)

    def features(self, generator: torch.Generator | None = None) -> Tensor:
        free = self.free.weight
        if generator is not None and self.free_dropout > 0:
            keep = torch.rand(len(free), 1, generator=generator, device=free.device) >= self.free_dropout
            free = free * keep
        return self.projection(self.encode(self.codes.columns, self.codes.weights)) + free

    def _draw(self, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """A batch of real attribute columns with their weights (no cold item's), and one of latents from the prior."""
        device = self.codes.columns.device
        rows = self.warm[torch.randint(len(self.warm), (self.batch_size,), generator=generator, device=device)]
        latents = torch.randn(self.batch_size, self.latent_size, generator=generator, device=device)
        return self.codes.columns[rows], self.codes.weights[rows], latents

    def item_terms(self, generator: torch.Generator, wanted: set[str]) -> dict[str, Tensor]:
        terms: dict[str, Tensor] = {}
        if not wanted & set(self.term_names):
            return terms
        columns, weights, latents = self._draw(generator)
        encoded = self.encode(columns, weights)
        if "adversarial" in wanted:
            real = self.discriminator.on_items(columns, weights, encoded)
            fake = self.discriminator.on_shares(self.generate(latents), latents)
            terms["adversarial"] = self.adversarial.generator_loss(real, fake)
        if "item_reconstruction" in wanted:
            parts = zip(self.fields, self._logits(encoded), self.codes.places, self.codes.offsets, strict=True)
            losses = [field.loss(lg, columns[:, at] - start, weights[:, at]) for field, lg, at, start in parts]
            terms["item_reconstruction"] = torch.stack(losses).mean()
        return terms

    def updates(self) -> list[Update]:
        """The discriminator's step, as long as the adversarial term has a weight."""
        parameters = list(self.discriminator.parameters())
        scale = self.discriminator_learning_rate_scale
        return [Update("discriminator", parameters, self.discriminator_loss, "adversarial", learning_rate_scale=scale)]

    def discriminator_loss(self, generator: torch.Generator) -> Tensor:
        """Of a batch of items and one of draws from the prior, in nats; moves the discriminator only."""
        columns, weights, latents = self._draw(generator)
        with torch.no_grad():
            encoded, shares = self.encode(columns, weights), self.generate(latents)
        return self.adversarial.discriminator_loss(
            self.discriminator.on_items(columns, weights, encoded), self.discriminator.on_shares(shares, latents)
        )


class _Shares:
    """A category or text as the generator answers it: shares of its levels."""

    def drawn(self, logits: Tensor) -> Tensor:
        return logits.softmax(-1)

    def loss(self, logits: Tensor, codes: Tensor, weights: Tensor) -> Tensor:
        """Mean cross-entropy of the weighted levels [N, m]."""
        if codes.shape[1] == 1:
            return functional.cross_entropy(logits, codes[:, 0])
        return -(logits.log_softmax(-1).gather(1, codes) * weights).sum(1).mean()


class _Number:
    """A number: the logit of its being missing, and its scaled value."""

    def drawn(self, logits: Tensor) -> Tensor:
        missing = logits[:, :1].sigmoid()
        return torch.cat([missing, (1 - missing) * logits[:, 1:]], dim=-1)

    def loss(self, logits: Tensor, codes: Tensor, weights: Tensor) -> Tensor:
        """Mean squared error of the chance that it is missing, and of the value where there is one."""
        missing = (codes == 0).to(weights.dtype)
        off = (logits[:, :1].sigmoid() - missing).square() + (1 - missing) * (logits[:, 1:] - weights).square()
        return off.mean()


class _JointDiscriminator(nn.Module):
    """D(x, z) -> logit [N]."""

    def __init__(self, n_columns: int, latent_size: int, hidden_size: int) -> None:
        super().__init__()
        self.item = AttributeSum(n_columns, hidden_size)
        self.latent = nn.Linear(latent_size, hidden_size, bias=False)
        self.head = nn.Sequential(
            nn.LeakyReLU(0.2), nn.Linear(hidden_size, hidden_size), nn.LeakyReLU(0.2), nn.Linear(hidden_size, 1)
        )

    def on_items(self, columns: Tensor, weights: Tensor, latents: Tensor) -> Tensor:
        return self.head(self.item(columns, weights) + self.latent(latents)).squeeze(-1)

    def on_shares(self, shares: Tensor, latents: Tensor) -> Tensor:
        return self.head(self.item.dense(shares) + self.latent(latents)).squeeze(-1)
