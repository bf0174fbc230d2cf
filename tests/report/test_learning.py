"""The figure of a training: every logged number where it belongs, the kept epoch marked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes

from tests.report import synthetic
from tests.report.geometry import assert_words_have_room, words_of
from xrec.report.learning import learning_curves, switched_off
from xrec.rundir.saved import SavedRun

VALIDATION = "validation/ndcg_at_10/all"


def panels(axes: list[Axes]) -> list[tuple[str, str, str]]:
    return [(a.get_title(loc="left"), a.get_xlabel(), a.get_ylabel()) for a in axes]


def epochs(values: list[float], steps: int = 3) -> list[dict[str, float]]:
    """The log of a training that writes every step."""
    lines = []
    for epoch, value in enumerate(values, start=1):
        lines += [{"step": steps * (epoch - 1) + s, "epoch": epoch, "loss/total": 1.0 * s} for s in range(steps)]
        lines.append({"step": steps * epoch - 1, "epoch": epoch, "seconds": 1.0, VALIDATION: value})
    return lines


def test_one_panel_each_with_words_on_every_axis(run_directory: Path) -> None:
    log = SavedRun(run_directory).log
    figure = learning_curves(log, best_epoch=2)
    assert figure is not None
    assert panels(figure.axes) == [
        ("All terms", "training step", "loss, weighted"),
        ("Reconstruction", "training step", "loss, weighted"),
        ("KL", "training step", "loss, weighted"),
        ("Discriminator's own loss", "training step", "loss"),
        ("Validation, new", "epoch", "NDCG@10"),
        ("Validation, all", "epoch", "NDCG@10"),
    ]
    thin, thick = figure.axes[0].lines
    shape = (synthetic.N_EPOCHS, synthetic.STEPS_PER_EPOCH)
    assert len(np.asarray(thin.get_xdata())) == np.prod(shape)
    logged = [entry["loss/total"] for entry in log if "loss/total" in entry]
    np.testing.assert_allclose(np.asarray(thick.get_ydata()), np.reshape(logged, shape).mean(axis=1))
    assert switched_off(log) == ["adversarial"]


def test_validation_is_drawn_by_epoch_and_the_kept_one_is_marked() -> None:
    figure = learning_curves(epochs([0.1, 0.3, 0.2]), best_epoch=2)
    assert figure is not None
    curve, ring = figure.axes[1].lines
    assert np.asarray(curve.get_xdata()).tolist() == [1, 2, 3]
    assert np.asarray(curve.get_ydata()).tolist() == [0.1, 0.3, 0.2]
    assert (list(ring.get_xdata()), list(ring.get_ydata())) == ([2], [0.3])  # pyright: ignore[reportArgumentType]
    assert [text.get_text() for text in figure.axes[1].texts] == ["kept: epoch 2, 0.3000"]
    assert not figure.axes[0].texts, "a loss has no best epoch"


def test_the_kept_epoch_need_not_be_the_best_of_every_metric() -> None:
    figure = learning_curves(epochs([0.1, 0.3, 0.2]), best_epoch=3)
    assert figure is not None
    ring = figure.axes[1].lines[1]
    assert (list(ring.get_xdata()), list(ring.get_ydata())) == ([3], [0.2])  # pyright: ignore[reportArgumentType]
    assert [text.get_text() for text in figure.axes[1].texts] == ["kept: epoch 3, 0.2000"]


@pytest.mark.parametrize("best", [1, 2, 20, 39, 40])
def test_the_words_stay_within_their_panel(best: int) -> None:
    rising = [0.01 * i for i in range(40)]
    for values in (rising, rising[::-1], [0.5] * 40):
        figure = learning_curves(epochs(values), best_epoch=best)
        assert figure is not None
        assert_words_have_room(figure)
        panel = figure.axes[1].get_window_extent()
        (box,) = [box for text, box in words_of(figure) if text.startswith("kept")]
        assert panel.x0 <= box.x0 and box.x1 <= panel.x1
        assert panel.y0 <= box.y0 and box.y1 <= panel.y1


@pytest.mark.parametrize("values", [[0.5], [0.5, 0.5], [1e-7, 2e-7], [1e6, 3e6, 2e6]])
def test_few_epochs_and_any_scale(values: list[float]) -> None:
    figure = learning_curves(epochs(values), best_epoch=len(values))
    assert figure is not None
    assert_words_have_room(figure)


def test_an_epoch_that_was_not_logged_is_not_marked() -> None:
    for best in (None, 7):
        figure = learning_curves(epochs([0.1, 0.3]), best_epoch=best)
        assert figure is not None
        assert not figure.axes[1].texts


def test_without_epochs_values_are_drawn_as_logged() -> None:
    figure = learning_curves([{"step": s, "validation/ndcg_at_10/new": 0.1 * s} for s in range(3)], best_epoch=1)
    assert figure is not None
    (line,) = figure.axes[0].lines
    np.testing.assert_allclose(np.asarray(line.get_ydata()), [0.0, 0.1, 0.2])
    assert figure.axes[0].get_xlabel() == "training step"


def test_nothing_logged() -> None:
    assert learning_curves([]) is None
    assert learning_curves([{"step": 0, "seconds": 1.0, "loss/total": float("nan")}]) is None
