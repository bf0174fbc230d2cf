"""Anyone's recommender: EASE as somebody's numpy function is explained and measured as xrec's own EASE is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import xrec
from tests import ease_by_hand
from xrec import pipeline
from xrec.config.schema import ConfigError
from xrec.config.validate import validate_job
from xrec.door import ExternalModel, LoadedRun, load
from xrec.errors import SettingError
from xrec.games.maskers import SampledUser
from xrec.rundir.saved import SavedRun

GAMES = ("random", "popularity", "leave_one_out", "permutation_shap", "kernel_shap")
KEYS = ["user", "item", "group", "explainer", "metric", "variant", "k", "step"]
LAMBDA = 20.0


@pytest.fixture(scope="module")
def ease(configured, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoadedRun]:
    """xrec's own EASE, measured; its weights are put where the function of `ease_by_hand` finds them."""
    directory = tmp_path_factory.mktemp("ease") / "run"
    chosen = f"explainer=[{','.join(GAMES)}]"
    pipeline.run(configured("model=ease", f"model.regularization={LAMBDA}", chosen), directory)
    run = load(directory)
    table = run.run.dataset.histories(run.run.dataset.train_end + 1)
    rows = np.split(table.item, table.indptr[1:-1])
    ease_by_hand.IDS = list(run.items)
    training = [[run.items[i] for i in row] for row in rows]
    ease_by_hand.WEIGHTS = ease_by_hand.weights(training, ease_by_hand.IDS, LAMBDA)
    yield run
    ease_by_hand.IDS, ease_by_hand.WEIGHTS = [], np.zeros((0, 0))


def brands(run: LoadedRun) -> list[str | None]:
    field = next(f for f in run.catalogue.item_fields if f.name == "brand")
    return [None if code == 0 else field.levels[code] for code in field.codes[:, 0].tolist()]


@pytest.fixture(scope="module")
def model(ease: LoadedRun) -> ExternalModel:
    """The same as a function, in another order of items than the data's."""
    order = np.random.default_rng(5).permutation(len(ease.items))
    ids = [ease.items[i] for i in order]
    table = ease.run.dataset.histories(ease.run.dataset.train_end + 1)
    training = [[ease.items[i] for i in row] for row in np.split(table.item, table.indptr[1:-1])]
    of_brand = brands(ease)
    return xrec.external(
        lambda histories: ease_by_hand.scores_of(histories, ids),
        ids,
        item_names={i: f"item {i}" for i in ids},
        fields={"brand": [of_brand[i] for i in order]},
        histories=training,
    )


def cases(run: LoadedRun, n: int) -> list[dict]:
    frame = SavedRun(run.directory).table("cases.parquet")
    assert frame is not None
    return frame.sample(n, seed=4).to_dicts()


@pytest.mark.parametrize("players", ["items", "brand"])
@pytest.mark.parametrize("explainer", GAMES)
def test_ease_as_a_function_has_the_attributions_and_the_fidelity_of_ease(
    ease: LoadedRun, model: ExternalModel, explainer: str, players: str
) -> None:
    for case in cases(ease, 6):
        history = ease.history(case["user"]).sort("age", descending=True)["item"].to_list()
        mine = model.explain(history, case["item"], explainer, players, user=case["user"])
        own = ease.explain(case["user"], case["item"], explainer, players)
        assert (mine.position, mine.case.group, mine.n_forwards) == (own.position, own.case.group, own.n_forwards)
        assert sorted(mine.player_ids) == sorted(own.player_ids)
        if explainer != "random":  # whose draws are in the order of the players
            place = [mine.player_ids.index(p) for p in own.player_ids]
            np.testing.assert_allclose(mine.values[place], own.values, atol=1e-6)
        np.testing.assert_allclose([mine.f_x, mine.f_empty], [own.f_x, own.f_empty], atol=1e-6)
        if explainer in ("leave_one_out", "permutation_shap", "kernel_shap") and not _ties(own.values):
            one, two = (xrec.fidelity(e, variants=True) for e in (mine, own))
            both = one.join(two, on=KEYS[4:], suffix="_own", nulls_equal=True)
            assert both.height == one.height == two.height
            normalised = pl.col("variant").fill_null("").str.contains("normalised|curve")
            far = (pl.col("value") - pl.col("value_own")).abs() > 1e-6 * pl.when(normalised).then(50).otherwise(1)
            # completeness_error is rounding over rounding
            assert both.filter(far & (pl.col("metric") != "completeness_error")).is_empty(), both.filter(far)


def _ties(values: np.ndarray) -> bool:
    """Whether an order of the players could be another one with other rounding."""
    return bool((np.diff(np.sort(values)) < 1e-6).any())


@pytest.mark.parametrize("players", ["items", pytest.param("field", marks=pytest.mark.slow)])
def test_a_run_of_it_has_the_numbers_of_ease(
    ease: LoadedRun, configured, players: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XREC_ALLOWED_TARGETS", "tests.ease_by_hand")
    chosen = [f"explainer=[{','.join(GAMES)}]", f"players={players}"]
    chosen += ["players.field=brand"] if players == "field" else []
    function = ["model=external", "model.scores=tests.ease_by_hand.scores_of"]
    config = configured(*function, *chosen)
    validate_job(config)
    pipeline.run(config, tmp_path / "mine")
    pipeline.run(configured("model=ease", f"model.regularization={LAMBDA}", *chosen), tmp_path / "own")
    mine, own = (SavedRun(tmp_path / name).results.frame for name in ("mine", "own"))
    for stage, tolerance in (("rank", 1e-9), ("fidelity", 1e-5)):
        rows = [f.filter((pl.col("stage") == stage) & pl.col("model").is_in(["external", "ease"])) for f in (mine, own)]
        keys = [*KEYS, "part"]
        one, two = (
            f.unique([*keys, "model"]).filter(pl.col("model") == m)
            for f, m in zip(rows, ("external", "ease"), strict=True)
        )
        both = one.join(two, on=keys, suffix="_own", nulls_equal=True).filter(pl.col("metric") != "completeness_error")
        assert both.height > 800
        assert one.height == two.height
        np.testing.assert_allclose(both["value"], both["value_own"], atol=tolerance, rtol=1e-5)
    again = load(tmp_path / "mine")
    assert (
        again.recommend(again.users[0], n=3)["item"].to_list() == ease.recommend(again.users[0], n=3)["item"].to_list()
    )


def test_a_function_outside_the_allowed_roots_is_refused(configured) -> None:
    config = configured("model=external", "model.scores=os.system", "explainer=[random]")
    with pytest.raises(ConfigError, match="got 'os.system', takes what lies under xrec"):
        validate_job(config)


def test_explainers_that_look_inside_are_refused_before_data_is_read(configured, monkeypatch) -> None:
    monkeypatch.setenv("XREC_ALLOWED_TARGETS", "tests.ease_by_hand")
    config = configured("model=external", "model.scores=tests.ease_by_hand.scores", "explainer=[random,additive]")
    with pytest.raises(ConfigError, match=r"explainer.additive needs additive, which model=external does not have"):
        validate_job(config)


def test_repeated_items_are_one_player_and_leave_together() -> None:
    asked: list[list[str]] = []

    def scores(histories: list[list[str]]) -> np.ndarray:
        asked.extend(histories)
        return np.array([[h.count("a"), h.count("b"), len(h)] for h in histories], dtype=float)

    model = xrec.external(scores, ["a", "b", "c"])
    e = model.explain(["a", "b", "a", "a"], "c", "leave_one_out")
    assert e.player_ids == ("a", "b") and e.values.tolist() == [3, 1] and (e.f_x, e.f_empty) == (4, 0)
    assert e.table()["n_items"].to_list() == [3, 1]
    assert {tuple(h) for h in asked} == {("a", "b", "a", "a"), ("b",), ("a", "a", "a"), ()}
    assert e.check(2).select("predicted", "real", "predicted_together", "real_together").rows() == [
        (3, 3, 3, 3),
        (1, 1, 4, 4),
    ]
    assert model.recommend(["a", "b"])["item"].to_list() == ["c"]
    assert model.recommend(["a", "b"], among="all")["item"].to_list() == ["c", "a", "b"]
    assert model.n_scored > 0 and "3 items" in repr(model)


def test_integer_ids_are_compared_as_text_and_an_explained_known_item_is_ranked_among_all() -> None:
    model = xrec.external(lambda histories: np.array([[3.0, 2.0, 1.0]] * len(histories)), [10, 20, 30])
    e = model.explain([10, 30], 30, "leave_one_out")
    assert (e.case.group, e.position, e.item) == ("repeat", 3, "30")
    new = model.explain([10], 30, "leave_one_out")
    assert (new.case.group, new.position) == ("new", 2)


def scored(histories: list[list[str]]) -> np.ndarray:
    return np.array([[float(len(h))] * 3 for h in histories])


def three(**options) -> ExternalModel:
    return xrec.external(scored, ["a", "b", "c"], **options)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: xrec.external(scored, ["a", "b", "a"]), "item_ids: 'a' is there twice"),
        (lambda: xrec.external(scored, []), "item_ids: got none"),
        (lambda: three(item_names=["A"]), "item_names: got 1 values for 3 items"),
        (lambda: three(fields={"brand": ["x"]}), "brand: got 1 values for 3 items"),
        (lambda: three(histories=[["a"], ["z"]]), "histories: no item 'z'"),
        (lambda: three().explain("ab", "c"), "got str 'ab', takes a list of ids"),
        (lambda: three().explain({"a", "b"}, "c"), "got set {.*}, takes a list of ids, oldest first"),
        (lambda: three().explain(None, "c"), "history: got NoneType None, takes a list of ids"),
        (lambda: xrec.external(scored, None), "item_ids: got None, takes the ids of the columns"),
        (lambda: three(histories=[]), "histories: got none"),
        (lambda: three(fields={"item": ["a", "b", "c"]}), "'item' is what the items themselves are called"),
        (lambda: three().explain([1.0], "c"), r"history: got 1.0 \(float\), takes text or whole numbers as ids"),
        (lambda: xrec.external(scored, [1.0, 2.0]), r"item_ids: got 1.0 \(float\)"),
        (lambda: three().explain(["q"], "c"), "history: no item 'q' in the catalogue"),
        (lambda: three().explain([], "c"), "this history has no items"),
        (lambda: three().explain(["a"], "c", "popularity"), r"histories=\[\[...\], ...\]"),
        (lambda: three().explain(["a"], "c", masker="sampled_user"), "histories of other users"),
        (lambda: three().explain(["a"], "c", versus="most_popular"), "histories of other users"),
        (
            lambda: three().explain(["a"], "c", "additive"),
            "needs additive, which model scored, of which only scores are known, with output logit",
        ),
        (lambda: three().explain(["a"], "c", masker="popularity"), "needs fractional_presence"),
        (lambda: xrec.external(scored, ["a", "b"]).recommend(["a"]), r"shape \(1, 3\).*expected \(1, 2\)"),
    ],
)
def test_what_does_not_fit_is_named(make, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        make()


def test_a_function_that_draws_is_found_out_and_rounding_is_none() -> None:
    rng = np.random.default_rng(0)

    def noisy(scale: float) -> ExternalModel:
        def scores(histories: list[list[str]]) -> np.ndarray:
            return np.array([[1.0, 2.0, len(h)] for h in histories]) + scale * rng.normal(size=(len(histories), 3))

        return xrec.external(scores, ["a", "b", "c"], name="mine")

    with pytest.raises(SettingError, match="model mine gives one score and then another for the same history"):
        noisy(0.1).explain(["a", "b"], "c", "leave_one_out")
    assert noisy(1e-6).explain(["a", "b"], "c", "leave_one_out").model == "mine"


def test_scores_that_depend_on_the_histories_beside_them_are_found_out() -> None:
    def scores(histories: list[list[str]]) -> np.ndarray:
        found = np.array([[1.0, 2.0, len(h)] for h in histories])
        return found / found.max()  # of a batch

    with pytest.raises(SettingError, match="what makes a score depend on the histories beside it"):
        xrec.external(scores, ["a", "b", "c"]).explain(["a", "b", "a"], "c", "leave_one_out")


def test_a_function_may_do_with_its_arguments_what_it_likes() -> None:
    def scores(histories: list[list[str]], item_ids: list[str]) -> np.ndarray:
        found = np.array([[10.0 * (i == "c") + len(h) for i in item_ids] for h in histories])
        item_ids.reverse()
        for history in histories:
            history.clear()
        return found

    e = xrec.external(scores, ["a", "b", "c"]).explain(["a", "b"], "c", "leave_one_out")
    assert (e.f_x, e.f_empty) == (12, 10) and e.values.tolist() == [1, 1]

    def cleared(histories: list[list[str]]) -> np.ndarray:
        histories.clear()
        return np.zeros((0, 2))

    with pytest.raises(SettingError, match=r"shape \(0, 2\) for the history \['a'\], expected \(1, 2\)"):
        xrec.external(cleared, ["a", "b"]).recommend(["a"])


def test_fields_hold_values_lists_numbers_and_nothing() -> None:
    model = xrec.external(
        scored, ["a", "b", "c"],
        fields={"brand": ["x", float("nan"), "y"], "genres": [["g", "h"], ["h"], None], "price": [1, 2.5, None]},
    )  # fmt: skip
    kinds = {f.name: f.kind for f in model.catalogue.item_fields}
    assert kinds == {"brand": "categorical", "genres": "categorical", "price": "numeric"}
    assert model.explain(["a", "b"], "c", "leave_one_out", "genres").player_ids == ("g", "h")
    assert model.explain(["a", "b"], "c", "leave_one_out", "brand").player_ids == ("x", "(missing)")
    with pytest.raises(
        SettingError, match="players: 'price' has no levels with names to group by; give its values as text"
    ):
        model.explain(["a", "b"], "c", "leave_one_out", "price")


def test_other_histories_are_what_controls_and_maskers_count_on() -> None:
    others = [["a", "b"], ["b", "c", "b"], ["b"], []]
    model = xrec.external(scored, ["a", "b", "c"], histories=others)
    assert model.explain(["a", "b"], "c", "popularity").values.tolist() == [0.25, 0.75]
    assert model.explain(["a"], "c", "leave_one_out", masker=SampledUser(2)).n_forwards == 4
    with pytest.raises(SettingError, match="only 2 other users have a training history"):
        model.explain(["a"], "c", masker="sampled_user")
