"""The report: complete, inert whatever names hold, and calm about what a run does not have."""

from __future__ import annotations

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest

from tests.report import synthetic
from tests.rundirs import put_on_record
from xrec.errors import RunError
from xrec.report.cards import user_cards
from xrec.report.errors import ReportError
from xrec.report.html import write_report
from xrec.report.render import clean
from xrec.report.run_figures import RunFigures
from xrec.report.run_tables import RunTables
from xrec.rundir.saved import SavedRun
from xrec.words import title_of

VOID = {"meta", "br", "wbr", "link", "img", "hr", "input"}


def report(run: Path) -> Path:
    """The report of a run directory."""
    tables = RunTables(SavedRun(run))
    return write_report(tables, RunFigures(tables))


class Page(HTMLParser):
    """Checks that tags are closed in order; keeps tags, ids and attributes, and the text of each section."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.sections: dict[str, str] = {}
        self.section = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag == "section":
            self.section = dict(attrs)["id"] or ""
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == "section":
            self.section = ""

    def handle_data(self, data: str) -> None:
        self.sections[self.section] = self.sections.get(self.section, "") + data


SECTIONS = ("data", "learning", "ranking", "components", "fidelity", "users", "cost", "glossary")


@pytest.fixture(scope="module")
def page(run_directory: Path) -> Page:
    return Page(report(run_directory).read_text(encoding="utf-8"))


def test_every_section_is_there(page: Page) -> None:
    assert [name for name in page.sections if name] == list(SECTIONS)
    assert "Not part of this run" not in " ".join(page.sections.values())
    for section, words in {
        "": "python experiments/run.py experiment=quickstart seed=0",
        "data": "1,469,307",
        "learning": "Switched off (weight 0): adversarial",
        "ranking": "NDCG@10 of composed is",
        "components": "NDCG@10 lost, new",
        "fidelity": "Cases: repeat",
        "cost": "2 threads",
        "glossary": "Higher is better.",
    }.items():
        assert words in page.sections[section]


def test_what_the_item_encoder_learned_stands_beside_the_curves(page: Page) -> None:
    for words in ("Discriminator accuracy", ".770", "MMD²", ".0070", "Probe: popularity", ".134"):
        assert words in page.sections["learning"]
    assert "Round trip" not in page.sections["learning"]
    assert "log(1 + users)" in page.sections["glossary"]


def test_the_kept_epoch_is_the_one_that_the_fit_names(page: Page) -> None:
    kept = [line for line in page.sections["learning"].splitlines() if "kept: epoch" in line]
    assert len(kept) == 2, "all, new"
    assert all(f"kept: epoch {synthetic.BEST_EPOCH}, " in line for line in kept)


def test_names_are_for_people(page: Page) -> None:
    """Everywhere but in the folded configuration and the command."""
    for section in SECTIONS:
        assert not re.findall(r"[a-z]+_[a-z]+", page.sections[section]), section
    for name in ("leave-one-out", "permutation SHAP", "EASE", "KL", "personal frequency"):
        assert name in "".join(page.sections.values())


def test_nothing_in_it_runs_or_loads(page: Page, run_directory: Path) -> None:
    assert not {"script", "iframe", "object", "link", "img", "form", "base"} & page.tags
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    targets = [value or "" for name, value in page.attributes if name in ("href", "src", "xlink:href", "action")]
    assert all(target.startswith("#") for target in targets), targets
    text = (run_directory / "report.html").read_text()
    assert "default-src 'none'" in text
    assert not re.search(r"url\((?!#)", text)
    assert "@import" not in text


def test_hostile_names_are_shown_as_they_are(page: Page) -> None:
    for name in synthetic.HOSTILE:
        assert clean(name) in page.sections["users"]
    assert synthetic.SCRIPT in page.sections["data"]
    assert synthetic.SCRIPT in page.sections[""], "the folded configuration"
    assert "{{ 7 * 7 }}" in page.sections["users"]
    text = "".join(page.sections.values())
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_ids_are_unique_and_links_lead_somewhere(page: Page) -> None:
    assert len(set(page.ids)) == len(page.ids)
    links = {value[1:] for name, value in page.attributes if name in ("href", "xlink:href") and value}
    assert links <= set(page.ids)
    assert set(SECTIONS) <= links


@pytest.mark.slow
def test_same_files_same_bytes(run_directory: Path) -> None:
    first = report(run_directory).read_bytes()
    assert report(run_directory).read_bytes() == first
    assert not list(run_directory.glob(".report*")), "the temporary file is gone"


def test_a_run_that_only_ranked(tmp_path: Path) -> None:
    run = synthetic.write_run(tmp_path / "run", n_users=6, stages=("rank",), costs=False, card=False)
    page = Page(report(run).read_text())
    absent = [name for name in SECTIONS if "Not part of this run" in page.sections[name]]
    assert absent == ["data", "learning", "fidelity", "users", "cost"]


def test_a_run_with_a_config_only(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("seed: 0\n")
    page = Page(report(tmp_path).read_text())
    assert all("Not part of this run" in page.sections[name] for name in SECTIONS)


@pytest.mark.slow
def test_hostile_model_and_explainer_names(run_directory: Path, tmp_path: Path) -> None:
    names = {"attention": synthetic.SCRIPT, "ease": "<img src=x onerror=alert(1)>"}
    run = tmp_path / "run"
    shutil.copytree(run_directory, run)
    frame = pl.read_parquet(run / "results.parquet")
    frame = frame.with_columns(
        pl.col("explainer", "model").replace(names), pl.col("data").replace({"toy": synthetic.SCRIPT})
    )
    frame = frame.with_columns(pl.col("group").replace({"repeat": '"><script>'}))
    frame.write_parquet(run / "results.parquet")
    put_on_record(run)
    page = Page(report(run).read_text())
    assert not {"script", "img"} & page.tags
    assert names["ease"] in page.sections["ranking"]
    assert 'Cases: "><script>' in page.sections["fidelity"]


def test_cards_show_the_first_users_and_their_weightiest_reasons(run_directory: Path) -> None:
    cards = user_cards(SavedRun(run_directory))
    assert [card["user"] for card in cards] == ["u0", "u1", "u2", "u3", "u4"]
    first = cards[0]
    assert (first["explainer"], first["group"], first["n_history"]) == ("additive", "new", 12)
    ages = [item["age"] for item in first["recent"]]
    assert ages == sorted(ages)
    strengths = [item["strength"] for item in first["strong"]]
    assert strengths == sorted(strengths, reverse=True)
    assert [r["position"] for r in first["recommendations"]] == [1, 2, 3]
    attributions = pl.read_parquet(run_directory / "attributions.parquet").filter(pl.col("explainer") == "additive")
    cases = pl.read_parquet(run_directory / "cases.parquet")
    for recommendation in first["recommendations"]:
        case = cases.filter(pl.col("item") == recommendation["item"])["case"][0]
        own = sorted(attributions.filter(pl.col("case") == case)["value"].to_list(), key=abs, reverse=True)
        assert [reason["value"] for reason in recommendation["reasons"]] == own[:6]
        assert recommendation["rest"] == pytest.approx(sum(own[6:]))
        assert recommendation["n_rest"] == 6
    widths = [reason["width"] for r in first["recommendations"] for reason in r["reasons"]]
    assert max(widths) == 100.0


def test_cards_fall_back_on_what_is_there(run_directory: Path, tmp_path: Path) -> None:
    frames = {name: pl.read_parquet(run_directory / name) for name in ("attributions.parquet", "explanations.parquet")}
    cases = pl.read_parquet(run_directory / "cases.parquet")
    for present, chosen in (
        (["permutation_shap", "random"], "permutation_shap"),
        (["leave_one_out", "attention"], "attention"),
        (["random", "kernel_shap"], "kernel_shap"),
        (["permutation_shap", "integrated_gradients", "kernel_shap"], "integrated_gradients"),
        (["random", "popularity"], "popularity"),
    ):
        for name, frame in frames.items():
            frame.filter(pl.col("explainer").is_in(present)).write_parquet(tmp_path / name)
        cases.filter(pl.col("group") == "repeat").with_columns(
            pl.lit(None, pl.String).alias("item_name")
        ).write_parquet(tmp_path / "cases.parquet")
        card = user_cards(SavedRun(tmp_path))[0]
        assert (card["explainer"], card["group"]) == (title_of(chosen), "repeat")
        shown = card["recommendations"][0]
        assert (shown["name"], shown["item"]) == ("repeat0-0", ""), "no name: the id, once"


@pytest.mark.parametrize(
    ("name", "shown"),
    [("Bananas", "new0-0"), ("Bananas #new0-0", ""), ("new0-0", ""), ("Bananasnew0-0", "new0-0"), (None, "")],
)
def test_an_id_is_shown_once(run_directory: Path, tmp_path: Path, name: str | None, shown: str) -> None:
    for file in ("attributions.parquet", "explanations.parquet"):
        shutil.copy(run_directory / file, tmp_path / file)
    cases = pl.read_parquet(run_directory / "cases.parquet")
    cases.with_columns(pl.lit(name, pl.String).alias("item_name")).write_parquet(tmp_path / "cases.parquet")
    assert user_cards(SavedRun(tmp_path))[0]["recommendations"][0]["item"] == shown


@pytest.mark.slow
def test_what_is_wrong_is_named(run_directory: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="does not exist"):
        report(tmp_path / "nowhere")
    with pytest.raises(ReportError, match=r"holds none of results\.parquet"):
        report(tmp_path)
    half = tmp_path / "half"
    shutil.copytree(run_directory, half)
    whole = (half / "results.parquet").read_bytes()
    (half / "results.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RunError, match=r"results.parquet is not what the run wrote.*resume="):
        report(half)
    (half / "results.parquet").write_bytes(whole)
    (half / "attributions.parquet").write_text("PAR")
    with pytest.raises(RunError, match=r"attributions\.parquet is not what the run wrote"):
        report(half)


def test_a_failed_report_leaves_the_old_one(run_directory: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(run_directory, run)
    (run / "report.html").write_text("old")
    (run / "data_card.json").write_text("{")
    put_on_record(run)
    with pytest.raises(RunError, match=r"data_card\.json is not JSON"):
        report(run)
    assert (run / "report.html").read_text() == "old"
