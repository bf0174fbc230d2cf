"""What the BiGAN learned of a data set's item attributes: how the game stands, what is generated, what E(x) holds.

    python experiments/bigan_levels/measure.py                                  # Complete Journey
    python experiments/bigan_levels/measure.py data=sequences ...               # any data, any setting of the encoder

The encoder is made and trained as in a run (`fit` of the item encoder, before the ranker); nothing else is fitted.
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from scipy import sparse
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold, cross_val_predict

from xrec.config.instantiate import instantiate
from xrec.data.cache import ArrayCache
from xrec.models.item_encoder.attribute_codes import AttributeCodes
from xrec.models.item_encoder.bigan import BiGAN
from xrec.models.item_encoder.match import LEAST_SHARE
from xrec.models.recommender import FitData
from xrec.pipeline import read_data
from xrec.types import Dataset

CONF = Path(__file__).resolve().parents[2] / "conf"
#: the same on Complete Journey before issue 10, as that issue gives them
BEFORE = {
    "discriminator accuracy": ".998",
    "round trip, product_category": ".146",
    "R2 of popularity, E(x)": ".063",
    "R2 of popularity, PCA-32": ".101",
}


def one_hots(codes: AttributeCodes) -> sparse.csr_matrix:
    """x of all items [I, n_columns]."""
    columns, weights = codes.columns.numpy(), codes.weights.numpy().astype(np.float64)
    rows = np.repeat(np.arange(len(columns)), columns.shape[1])
    return sparse.csr_matrix((weights.ravel(), (rows, columns.ravel())), (len(columns), codes.n_columns))


def principal(x: sparse.csr_matrix, size: int) -> np.ndarray:
    """The first principal components [I, size]."""
    center = np.asarray(x.mean(0)).ravel()
    covariance = (x.T @ x).toarray() / len(x.indptr[1:]) - np.outer(center, center)
    _, vectors = np.linalg.eigh(covariance)
    axes = vectors[:, ::-1][:, :size]
    return np.asarray(x @ axes) - center @ axes


def popularity(dataset: Dataset) -> np.ndarray:
    """[I] log(1 + users who had the item in training)."""
    table = dataset.histories(dataset.train_end + 1)
    return np.log1p(np.bincount(table.item, minlength=dataset.catalogue.n_items))


def probe(features: np.ndarray | sparse.csr_matrix, target: np.ndarray) -> float:
    """R2 of a linear probe (ridge, penalty 1), predicted in five folds over items."""
    folds = KFold(5, shuffle=True, random_state=0)
    predicted = cross_val_predict(Ridge(1.0, solver="auto"), features, target, cv=folds)
    return 1 - float(((target - predicted) ** 2).sum() / ((target - target.mean()) ** 2).sum())


@torch.no_grad()
def generated_shares(encoder: BiGAN, n_draws: int = 40) -> torch.Tensor:
    """[n_columns] share of each level among 1,000 draws of G, n_draws times over."""
    generator = torch.Generator().manual_seed(1)
    total = torch.zeros(encoder.codes.n_columns)
    for _ in range(n_draws):
        latents = torch.randn(1000, encoder.latent_size, generator=generator)
        total += encoder.sampler.generated(encoder.generator(latents), generator).mean(0)
    return total / n_draws


def measured(dataset: Dataset, encoder: BiGAN) -> dict[str, float]:
    """The table's rows; after `fit`."""
    encoder.eval()
    monitors = encoder.monitors()
    x = one_hots(encoder.codes)
    rows = encoder.warm
    real = encoder.shares()
    levels = encoder.levels & (real >= LEAST_SHARE)
    ratio = generated_shares(encoder)[levels] / real[levels]
    with torch.no_grad():
        latents = encoder.encode()
        named = encoder.sampler.named(encoder.generator(latents[rows]), rows).mean(0)
    names = [field.name for field in dataset.catalogue.item_fields if field.kind != "numeric"]
    target = popularity(dataset)
    found = {
        "discriminator accuracy": monitors["discriminator_accuracy"],
        "MMD^2 of E(x) and the prior": monitors["bigan_mmd"],
        "round trip, worst category": float(named.min()),
        **{f"round trip, {name}": float(value) for name, value in zip(names, named, strict=True)},
        "levels of at least 1 %": float(levels.sum()),
        "generated / real share, least": float(ratio.min()) if len(ratio) else float("nan"),
        "generated / real share, most": float(ratio.max()) if len(ratio) else float("nan"),
        "R2 of popularity, E(x)": probe(latents.numpy(), target),
    }
    for size in sorted({32, encoder.latent_size}):
        found[f"R2 of popularity, PCA-{size}"] = probe(principal(x, size), target)
    return found | {"R2 of popularity, one-hots": probe(x, target)}


def main(overrides: list[str]) -> None:
    torch.set_num_threads(1)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", ["model/item_encoder=bigan", *overrides])
    cache = ArrayCache(config.paths.cache)
    dataset = read_data(config, cache)
    torch.manual_seed(config.seed)
    encoder = instantiate(config.model.item_encoder)(dataset.catalogue, config.model.embedding_size)
    generator = torch.Generator().manual_seed(config.seed)
    started = time.process_time()
    encoder.fit(FitData(dataset, cache, generator, lambda iterable, **_: iter(iterable)))
    found = {"CPU seconds of fit": time.process_time() - started} | measured(dataset, encoder)
    found["peak memory, GB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    before = BEFORE if not any(override.startswith("data=") for override in overrides) else {}
    print("| | before | now |\n|---|---|---|")
    for name, value in found.items():
        print(f"| {name} | {before.get(name, '')} | {value:.4g} |")


if __name__ == "__main__":
    main(sys.argv[1:])
