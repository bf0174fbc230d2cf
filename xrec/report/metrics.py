"""What a metric's name means to a reader: label, direction, digits, definition. A name not listed still prints."""

from __future__ import annotations

import re
from typing import NamedTuple


class Metric(NamedTuple):
    """How one metric is shown. `better` is 'higher', 'lower' or '' (reported, no verdict); `form` is a format spec."""

    label: str
    better: str
    form: str
    definition: str


_F = "f(x) is the model's score of the recommended item given the whole history"

METRICS: dict[str, Metric] = {
    "ndcg": Metric(
        "NDCG",
        "higher",
        ".4f",
        "Hits in the top k, discounted by 1/log2(1 + rank), over the best possible; full catalogue.",
    ),
    "recall": Metric("Recall", "higher", ".4f", "Hits in the top k over min(k, number of targets)."),
    "map": Metric(
        "MAP", "higher", ".4f", "Mean of the precision at each hit in the top k, over min(k, number of targets)."
    ),
    "mrr": Metric("MRR", "higher", ".4f", "1 / rank of the first hit."),
    "coverage": Metric(
        "Coverage", "higher", ".4f", "Share of the catalogue that is recommended to anybody in the top k."
    ),
    "gini": Metric(
        "Gini", "lower", ".4f", "How unequally recommendations fall on items: 0 all alike, 1 all on one item."
    ),
    "novelty": Metric("Novelty", "", ".3f", "Mean of -log2(popularity share) of the recommended items, in bits."),
    "part_share": Metric(
        "Share of score variance",
        "",
        ".1%",
        "Share of the variance of the score over the top 100 that comes from one part of the model.",
    ),
    "deletion": Metric(
        "Deletion",
        "lower",
        ".3f",
        f"Score left when the most supportive items are removed, mean over 10 ... 90 % removed; {_F}.",
    ),
    "insertion": Metric(
        "Insertion", "higher", ".3f", "Score when only the most supportive items are kept, mean over 10 ... 90 % kept."
    ),
    "comprehensiveness": Metric(
        "Comprehensiveness",
        "higher",
        ".3f",
        "f(x) - f(x without r), r the most supportive 1, 5, 10, 20, 50 % of the items; mean (ERASER).",
    ),
    "sufficiency": Metric(
        "Sufficiency",
        "lower",
        ".3f",
        "f(x) - f(only r), r the most supportive 1, 5, 10, 20, 50 % of the items; mean (ERASER).",
    ),
    "cdcg": Metric(
        "CDCG",
        "lower",
        ".3f",
        "1/log2(1 + rank) of the recommended item while supportive items are removed, mean over steps.",
    ),
    "pos_at_k": Metric(
        "Pos",
        "lower",
        ".3f",
        "Share of removal steps, most supportive items first, at which the item still stands in the top K.",
    ),
    "neg_at_k": Metric(
        "Neg", "higher", ".3f", "The same with the least supportive items removed first: the item should stay."
    ),
    "removal_gain": Metric(
        "Removal gain",
        "higher",
        ".3f",
        "(Deletion of random - Deletion of the explainer) / (f(x) - f(empty)); 0 is no better than chance.",
    ),
    "completeness_error": Metric(
        "Completeness error",
        "lower",
        ".2g",
        "|sum of values - (f(x) - f(empty))| / |f(x) - f(empty)|, for methods that promise a sum.",
    ),
    "sparsity": Metric(
        "Sparsity", "", ".3f", "exp(entropy of |values|) / P: the share of the items that carries the explanation."
    ),
    "forwards": Metric(
        "Forwards", "lower", ",.0f", "Masked copies of the history that the model scored to explain one case."
    ),
    "milliseconds": Metric(
        "ms", "lower", ",.1f", "Wall time to explain one case; compare within one run on one machine only."
    ),
    "wall_seconds": Metric("Wall, s", "lower", ",.1f", "Wall time of a stage."),
    "cpu_seconds": Metric("CPU, s", "lower", ",.1f", "Processor time of a stage, all threads."),
    "peak_memory_mb": Metric("Peak memory, MB", "lower", ",.0f", "Largest resident memory during a stage."),
}

#: Explainers that know nothing of the model's reasons; they stand apart in every table.
CONTROLS = ("random", "popularity", "item_similarity")
#: The control that every explainer is tested against.
REFERENCE = "random"

_SUFFIXES = {"_normalised": ", normalised", "_discrete": ""}


def describe(name: str) -> Metric:
    """The entry of a metric; `_normalised` and `_discrete` variants inherit from the plain one, unknown names print."""
    for suffix, words in _SUFFIXES.items():
        if name.endswith(suffix):
            plain = describe(name.removesuffix(suffix))
            return plain._replace(label=plain.label + words)
    return METRICS.get(name, Metric(name.replace("_", " "), "", ".4g", ""))


def label(name: str, k: int | None = None, step: float | None = None) -> str:
    """Heading of a metric at a cut-off k or, for discrete removals, number of items: 'NDCG@10', 'Deletion, 3 items'."""
    text = describe(name).label
    if k is not None:
        text += f"@{k}"
    if step is not None:
        text += f", {step:g} item{'s' if step != 1 else ''}" if name.endswith("_discrete") else f" at {step:g}"
    return text


def kind_of(explainer: str) -> str:
    """'control', 'oracle' (looked at the metric to choose its answer; says so in its name) or 'explainer'."""
    if "oracle" in re.split(r"[^a-z]+", explainer.lower()):
        return "oracle"
    return "control" if explainer in CONTROLS else "explainer"


def title_of(name: str) -> str:
    """An explainer's or model's name for people: underscores become spaces."""
    return name.replace("_", " ")
