"""Another domain is only yaml: the options of conf/data that read files of one's own, each built on a tiny log."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from xrec.config.instantiate import instantiate
from xrec.config.schema import check
from xrec.config.targets import check_targets
from xrec.data.build import build
from xrec.data.cache import ArrayCache
from xrec.data.clean import Cleaning
from xrec.data.errors import DataError
from xrec.data.interactions import SplitInteractions

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared" / "data"
NO_CORE = ("data.clean.min_item_users=0", "data.clean.min_user_items=0", "data.clean.min_level_count=1")


def composed(*overrides: str) -> DictConfig:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("config", ["split=leave_last_out", *overrides])
    assert check(config) == []
    assert check_targets(config) == []
    return config


def built(folder: Path, *overrides: str) -> SplitInteractions:
    config = composed(*overrides)
    cleaning = Cleaning(**OmegaConf.to_container(config.data.clean, resolve=True))  # type: ignore[arg-type]
    cache = ArrayCache(folder / "cache")
    return build(instantiate(config.data.source), instantiate(config.split), cache, cleaning)


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (folder / name).write_text(content, encoding="utf-8")
    return folder


def steps(data: SplitInteractions) -> dict[str, int]:
    return {s["step"]: s["rows"] for s in data.card["steps"]}


def fields(data: SplitInteractions) -> dict[str, str]:
    return {f.name: f.kind for f in (*data.catalogue.item_fields, *data.catalogue.user_fields)}


def test_films(tmp_path):
    films = {
        "ml-100k.inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
        + "".join(
            f"{u}\t{i}\t{r}\t{881250949 + 100 * i}\n" for u in (1, 2) for i, r in ((1, 5), (2, 3), (3, 4), (4, 4))
        ),
        "ml-100k.item": "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
        "1\tToy Story\t1995\tAnimation Comedy\n3\tÉtoile\t1996\tDrama\n4\tNix\t\t\n",
        "ml-100k.user": "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n"
        "1\t24\tM\tother\t01234\n2\t53\tF\tnone\t94043\n",
    }
    data = built(write(tmp_path, films), "data=films", f"data.path={tmp_path}", *NO_CORE)
    assert data.card["name"] == "films"
    assert steps(data)["read"] == 8 and steps(data)["value"] == 6  # ratings of 3 are no positive
    assert data.catalogue.item_ids == ("1", "3", "4") and data.catalogue.user_ids == ("1", "2")
    assert data.catalogue.item_names == ("Toy Story", "Étoile", "Nix")
    assert np.unique(data.strength).tolist() == [1.0]
    assert fields(data) == {
        "release_year": "categorical",
        "class": "categorical",
        "age": "numeric",
        "gender": "categorical",
        "occupation": "categorical",
        "zip_code": "categorical",
    }
    genres = next(f for f in data.catalogue.item_fields if f.name == "class")
    assert tuple(genres.levels) == ("(missing)", "(rare)", "Animation", "Comedy")  # the drama is in no training event


def test_social_content(tmp_path):
    files = {
        "interactions.csv": "follower,post,at,action\n"
        + "".join(
            f"{u},{p},2024-05-0{d}T18:30:00+02:00,{a}\n"
            for u in ("ann", "bo b")
            for d, (p, a) in enumerate([("p1", "view"), ("p1", "like"), ("p2", "share"), ("p3", "reply")], 1)
        )
        + "ann,p3,2024-05-09T18:30:00Z,report\n",
        "posts.csv": "post,author,language,topics,length,body\n"
        'p1,7,en,cats|memes,12,"Look, a cat"\np2,8,de,,40,Hunde\np3,7,en,cats,,Cat again\n',
        "accounts.csv": "follower,country,age\nann,FR,30\nbo b,,41\n",
    }
    data = built(write(tmp_path, files), "data=social", f"data.path={tmp_path / 'interactions.csv'}", *NO_CORE)
    assert steps(data)["read"] == 9 and steps(data)["kind"] == 8  # a report is no interest
    assert data.catalogue.event_kinds == ("reply", "share", "like", "view")  # by weight
    assert data.catalogue.user_ids == ("ann", "bo b")
    assert data.catalogue.item_names == ("Look, a cat", "Hunde", "Cat again")
    assert sorted(data.strength.tolist()) == [1.0, 1.0, 3.0, 3.0, 5.0, 5.0, 5.0, 5.0]
    assert fields(data) == {
        "author": "categorical",
        "language": "categorical",
        "topics": "categorical",
        "length": "numeric",
        "country": "categorical",
        "age": "numeric",
    }


def test_search_ads(tmp_path):
    files = {
        "clicks.tsv": "person\tad\ttime\tevent\tseconds\n"
        + "".join(
            f"{u}\t{a}\t{1706702400000 + 60_000 * i}\t{e}\t{i}\n"
            for u in ("007", "7")
            for i, (a, e) in enumerate(
                [("a 1", "click"), ("a 2", "impression"), ("a 2", "click"), ("a 3", "conversion")]
            )
        ),
        "ads.tsv": "ad\theadline\tadvertiser\tcategory\tbid\tkeywords\n"
        "a 1\tRun, now\tacme\tshoes\t0.5\tshoes,running\na 2\tSit\tacme\tchairs\t1.5\t\na 3\tEat\t\tfood\t\tfood\n",
    }
    data = built(write(tmp_path, files), "data=search_ads", f"data.path={tmp_path / 'clicks.tsv'}", *NO_CORE)
    assert steps(data)["read"] == 8 and steps(data)["kind"] == 6  # what was only shown is left out
    assert sorted(data.catalogue.user_ids) == ["007", "7"]
    assert data.catalogue.event_kinds == ("conversion", "click")
    assert data.catalogue.item_names == ("Run, now", "Sit", "Eat")
    assert sorted(data.strength.tolist()) == [1.0, 1.0, 1.0, 1.0, 5.0, 5.0]
    assert fields(data) == {
        "advertiser": "categorical",
        "category": "categorical",
        "bid": "numeric",
        "keywords": "categorical",
        "wording": "text",
    }


def test_sequences_as_on_the_command_line_of_the_issue(tmp_path):
    toys = {
        "Toys.txt": "1 10 20 30 10\n2 30 10 20\n",
        "Toys_item2attributes.json": '{"10": [1, 2], "20": [2], "30": []}',
    }
    folder = write(tmp_path, toys)
    path, attributes = folder / "Toys.txt", folder / "Toys_item2attributes.json"
    data = built(tmp_path, "data=sequences", f"data.path={path}", f"data.attributes={attributes}")
    assert data.card["name"] == "sequences"
    same = built(tmp_path, "data=sequences", f"data.source.path={path}", f"data.source.attributes={attributes}")
    assert data.fingerprint == same.fingerprint
    assert data.catalogue.item_ids == ("10", "20", "30")
    assert data.catalogue.item_names == ("item 10 (attributes 1, 2)", "item 20 (attributes 2)", "item 30")
    (attribute,) = data.catalogue.item_fields
    assert tuple(attribute.levels) == ("(missing)", "(rare)", "1", "2")
    test = data.targets(*data.period("test"))
    assert [data.catalogue.item_ids[i] for i in test.item] == ["10", "20"]  # the last of each line


def test_any_table_by_overrides_alone(tmp_path):
    shop = {"shop.csv": "who;what;day;n\n" + "".join(f"{u};{i};{i}.01.2024;2\n" for u in (1, 2) for i in range(1, 5))}
    data = built(
        write(tmp_path, shop),
        "data=table",
        f"data.path={tmp_path / 'shop.csv'}",
        "data.source.separator=';'",
        "data.source.columns={user: who, item: what, time: day, value: n}",
        "data.source.time_format='%d.%m.%Y'",
        *NO_CORE,
    )
    assert data.catalogue.n_items == 4 and data.catalogue.n_users == 2
    assert np.unique(data.strength).tolist() == [2.0]


def test_any_atomic_file(tmp_path):
    log = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    log += "".join(f"{u}\t{i}\t{i}\t{881250949 + i}\n" for u in (1, 2) for i in range(1, 5))
    folder = write(tmp_path, {"tiny.inter": log})
    data = built(folder, "data=atomic", f"data.path={tmp_path}", "data.source.dataset=tiny", *NO_CORE)
    assert steps(data)["read"] == 8 and data.catalogue.n_items == 4
    assert data.card["name"] == "tiny"


@pytest.mark.parametrize(("name", "what"), [("sequences", "FILE"), ("atomic", "FOLDER"), ("table", "FILE")])
def test_without_a_path_the_setting_is_named(tmp_path, name, what):
    with pytest.raises(DataError, match=f"^{name}: no file given; set data.path={what}"):
        built(tmp_path, f"data={name}")


@pytest.mark.parametrize(("name", "what"), [("films", "FOLDER"), ("social", "FILE"), ("search_ads", "FILE")])
def test_a_missing_file_is_named(tmp_path, name, what, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=rf"^{name}: data/\S+ is not there; set data.path={what}"):
        built(tmp_path, f"data={name}")


@pytest.mark.skipif(not SHARED.is_dir(), reason="no shared data here")
def test_published_sizes_are_there_after_cleaning_and_splitting(tmp_path):
    beauty = SHARED / "amazon-beauty"
    data = built(
        tmp_path,
        "data=sequences",
        f"data.path={beauty / 'Beauty.txt'}",
        f"data.attributes={beauty / 'Beauty_item2attributes.json'}",
    )
    assert (data.catalogue.n_users, data.catalogue.n_items) == (22_363, 12_101)
    assert data.card["steps"][-1]["rows"] == 198_502
    (attribute,) = data.catalogue.item_fields
    assert len(attribute.levels) - 2 == 637  # without "(missing)" and "(rare)"
    films = built(tmp_path, "data=films", f"data.path={SHARED / 'ml-100k'}", *NO_CORE, "data.clean.min_value=null")
    assert (films.catalogue.n_users, films.catalogue.n_items) == (943, 1_682)
    assert films.card["steps"][-1]["rows"] == 100_000
