"""Which recommendations become cases, that they come back from disk, and that what is learned is learned once."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import polars as pl
import pytest
import torch
from omegaconf import OmegaConf

from tests.toys import fitted_composed
from xrec.data.cache import ArrayCache
from xrec.data.interactions import SplitInteractions
from xrec.errors import RunError, SettingError
from xrec.explain.controls import Popularity
from xrec.explain.explainer import Explainer
from xrec.files import file_digest
from xrec.games.fitting import Fitting
from xrec.models.composed import Composed
from xrec.rundir.directory import RunDirectory
from xrec.stages import explain as stage
from xrec.stages.cases import Chosen, check_cases, check_game, choose_cases, load_cases, rules_of, save_cases
from xrec.stages.run import Done, Run


@pytest.fixture(scope="module")
def model(toy: SplitInteractions, tmp_path_factory: pytest.TempPathFactory) -> Composed:
    return fitted_composed(toy, tmp_path_factory.mktemp("model"))


@pytest.fixture
def make(toy: SplitInteractions, tmp_path: Path):
    def make(**changes: Any) -> Run:
        config = {
            "seed": 3,
            "model": {"name": "composed"},
            "cases": {
                "part": "test", "n_users": 4, "top_n": 3, "groups": ["new", "repeat"], "min_players": 2,
                "few_players": 5, "chunk_size": 3, "mask_chunk": 32,
            },
            "masker": {"_target_": "xrec.games.maskers.Zero"},
            "players": {"_target_": "xrec.games.players.Items"},
            "output": {"_target_": "xrec.games.outputs.Logit"},
            "explainer": {"leave_one_out": {"_target_": "xrec.explain.removal.LeaveOneOut"}},
        }  # fmt: skip
        merged = OmegaConf.merge(config, changes)
        tracker = cast(Any, SimpleNamespace())
        return Run(merged, RunDirectory(tmp_path), tracker, toy, ArrayCache(tmp_path / "cache"), torch.device("cpu"))  # type: ignore[arg-type]

    return make


def chosen(run: Run, model: Composed) -> Chosen:
    found = choose_cases(run, model, rules_of(run))
    save_cases(run, found.cases, rules_of(run))
    assert load_cases(run) == found.cases
    return found


SAMPLED = {"_target_": "xrec.games.maskers.SampledUser", "n_users": 900}


def output(name: str, **arguments: Any) -> dict[str, Any]:
    return {"_target_": f"xrec.games.outputs.{name}", **arguments}


def field(name: str) -> dict[str, Any]:
    return {"_target_": "xrec.games.players.Field", "field": name}


def test_a_list_is_one_case_of_a_user_and_group_with_the_targets_of_the_single_ones(make, model) -> None:
    single, lists = chosen(make(), model), chosen(make(output=output("List")), model)
    by_user: dict[tuple, list] = {}
    for case in single.cases:
        by_user.setdefault((case.user, case.group), []).append((case.position, case.target, case.item_id))
    assert {(c.user, c.group) for c in lists.cases} == set(by_user) and len(lists.cases) == len(by_user)
    for case in lists.cases:
        assert [(i + 1, t, e) for i, (t, e) in enumerate(zip(case.targets, case.item_ids, strict=True))] == sorted(
            by_user[case.user, case.group]
        )
        assert case.item_id == ", ".join(case.item_ids) and case.position == 1 and case.foil is None
    assert single.without_foil == lists.without_foil == {}


def test_the_next_ranked_foil_of_a_new_case_is_the_next_position_s_target(make, model) -> None:
    margin = chosen(make(output=output("Margin")), model)
    assert [(c.user, c.target) for c in margin.cases] == [(c.user, c.target) for c in chosen(make(), model).cases]
    at = {(c.user, c.group, c.position): c for c in margin.cases}
    pairs = [(c, at[c.user, "new", c.position + 1]) for c in margin.cases if (c.user, "new", c.position + 1) in at]
    new = [(c, after) for c, after in pairs if c.group == "new"]
    assert new and all(c.foil == after.target for c, after in new)
    assert margin.without_foil == {"new": 0, "repeat": 0}


def test_cases_of_which_the_given_foil_is_the_target_or_no_candidate_are_counted_and_said(
    make, model, toy, caplog
) -> None:
    target = chosen(make(), model).cases[0]
    run = make(output=output("Margin", foil="item", item=target.item_id))
    every, moment = chosen(make(), model).cases, toy.period("test")[0]
    known = toy.histories(moment).known(np.array([c.user for c in every]), toy.catalogue.n_items)[:, target.target]
    hit = [c for c, had in zip(every, known, strict=True) if c.target == target.target or (had and c.group == "new")]
    assert {c.target == target.target for c in hit} == {True, False}
    found = chosen(run, model)
    assert sum(found.without_foil.values()) == len(hit) > 0
    assert f"{len(hit)} recommendations are no case: output margin has no foil for them" in caplog.text
    rows = stage.explain(run, model).rows[0].frame().filter(pl.col("metric") == "n_without_foil")
    assert dict(rows.select("group", "value").iter_rows()) == found.without_foil
    assert rows["output"].unique().to_list() == ["margin"]


def test_few_and_too_few_count_players_not_items(make, model, toy) -> None:
    run = make(players=field("department"), cases={"min_players": 4, "few_players": 4, "n_users": 100})
    cases = chosen(run, model).cases
    saved = pl.read_parquet(run.store.path("cases.parquet"))
    assert saved["n_players"].min() == 4 and saved["n_players"].max() <= 5 and not any(c.few for c in cases)
    table, department = toy.histories(11), next(f for f in toy.catalogue.item_fields if f.name == "department")
    for case in cases:
        items = table.item[table.indptr[case.user] : table.indptr[case.user + 1]]
        assert len({int(department.codes[i, 0]) for i in items}) >= 4
    assert {c.few for c in chosen(make(players=field("department"), cases={"few_players": 6}), model).cases} == {True}


def test_what_the_data_do_not_have_is_known_before_a_model(make) -> None:
    check_cases(make(players=field("brand")))
    for changes, says in (
        ({"players": field("brant")}, "no item field 'brant'; did you mean 'brand'"),
        ({"output": output("Margin", foil="item", item="222")}, "output.item: no item '222'; did you mean"),
        (
            {"masker": {"_target_": "xrec.games.maskers.SampledUser", "n_users": 900}},
            "n_users: got 900, but only .* other users have a training",
        ),
    ):
        check = check_cases if "players" in changes else check_game
        with pytest.raises(SettingError, match=says):
            check(make(**changes))
    with pytest.raises(RunError, match=r"no history of part test is that long, the longest has \d players .field"):
        check_cases(make(players=field("brand"), cases={"min_players": 9}))


def test_cases_of_another_version_or_other_data_are_refused(make, model) -> None:
    run = make(output=output("Margin"))
    chosen(run, model)
    path = run.store.path("cases.parquet")
    frame = pl.read_parquet(path)
    for column in ("foil", "items"):
        strange = pl.lit("nobody") if column == "foil" else pl.lit(["nobody"])
        frame.with_columns(strange.alias(column)).write_parquet(path)
        with pytest.raises(RunError, match="case 0 is not of this data; explain again"):
            load_cases(run)
    frame.drop("items").write_parquet(path)
    with pytest.raises(RunError, match="lacks items: another version of xrec wrote it; explain again"):
        load_cases(run)


class Learned(Explainer):
    """Learns who it was fitted on."""

    def __init__(self) -> None:
        self.users = torch.zeros(0)
        self.fitted = self.loaded = 0

    def fit(self, fitting: Fitting) -> None:
        assert fitting.dataset.train_end == 8
        games = list(fitting.games(1000))
        assert {c.part for g in games for c in g.cases} == {"validation"}
        assert {g.history.moment for g in games} == {9}
        assert all(np.isfinite(g.values(np.ones((len(g), 1, g.width)))).all() for g in games)
        self.users = torch.tensor(sorted({c.user for g in games for c in g.cases}))
        self.fitted += 1

    def state(self) -> dict[str, torch.Tensor]:
        return {"users": self.users}

    def load_state(self, state) -> None:
        self.users, self.loaded = state["users"], self.loaded + 1

    def values(self, game, random) -> np.ndarray:
        return np.ones((len(game), game.width))


def test_what_is_learned_is_saved_on_record_and_not_learned_again(make, model, monkeypatch) -> None:
    masker = {"_target_": "xrec.games.maskers.SampledUser", "n_users": 3}
    first, second = Learned(), Learned()

    def explained(learner: Learned) -> tuple[Run, Done]:
        run = make(masker=masker)
        monkeypatch.setattr(stage, "explainers", lambda _: {"learned": learner, "popularity": Popularity()})
        return run, stage.explain(run, model)

    run, done = explained(first)
    files = [f"learned/{name}.safetensors" for name in ("masker", "explainer.learned", "explainer.popularity")]
    assert [f for f in done.files if f.startswith("learned/")] == files
    assert (first.fitted, first.loaded) == (1, 0) and len(first.users) > 20
    assert not set(first.users.tolist()) & {c.user for c in load_cases(run)}
    before = [file_digest(run.store.path(f)) for f in files]
    attributions = pl.read_parquet(run.store.path("attributions.parquet"))
    _, again = explained(second)  # as after an interruption
    assert (second.fitted, second.loaded) == (0, 1) and second.users.equal(first.users)
    assert again.files == done.files and [file_digest(run.store.path(f)) for f in files] == before
    assert pl.read_parquet(run.store.path("attributions.parquet")).equals(attributions)


def test_players_say_how_many_items_they_are_and_how_young_and_strong(make, model, toy) -> None:
    run = make(players=field("department"))
    stage.explain(run, model)
    rows = pl.read_parquet(run.store.path("attributions.parquet"))
    case = load_cases(run)[0]
    table, department = toy.histories(11), next(f for f in toy.catalogue.item_fields if f.name == "department")
    mine = range(table.indptr[case.user], table.indptr[case.user + 1])
    for row in rows.filter(pl.col("case") == 0).iter_rows(named=True):
        members = [e for e in mine if department.levels[department.codes[table.item[e], 0]] == row["player"]]
        assert row["player_name"] == row["player"] and row["n_items"] == len(members) > 0
        assert row["age"] == min(table.age[e] for e in members)
        assert row["strength"] == pytest.approx(sum(table.strength[e] for e in members))
