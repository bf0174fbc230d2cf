"""Logs that come split: by a column, by files, by the names of atomic files; what is no part is named."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from tests.tables import COLUMNS, load, rows
from xrec.data.errors import DataError
from xrec.data.schema import RawData
from xrec.data.sources.atomic import Atomic
from xrec.data.sources.parts import benchmark_files, named_parts
from xrec.data.sources.sequences import Sequences
from xrec.data.sources.table import Table

WITH_PART = {**COLUMNS, "part": "fold"}
TAKES = "takes train, validation (or valid, val, dev) or test"
HEADER = "user,item,time\n"


def write(folder: Path, **files: str) -> dict[str, str | None]:
    """Files called <part>.csv; `parts` of them."""
    for part, content in files.items():
        (folder / f"{part}.csv").write_text(content)
    return {part: f"{part}.csv" for part in files}


def steps(raw: RawData) -> list[tuple]:
    return [(s.step, s.reason, s.rows, s.users, s.items) for s in raw.steps]


# a column


def test_words_of_a_column_are_taken_in_any_case(tmp_path):
    words = ["train", "Training", "VALIDATION", "valid", "val", "Dev", " test "]
    lines = "".join(f"u,i{n},2024-01-31,{word}\n" for n, word in enumerate(words))
    raw = load(tmp_path, f"user,item,time,fold\n{lines}", columns=WITH_PART)
    assert [part for (part,) in rows(raw, "part")] == [0, 0, 1, 1, 1, 1, 2]
    assert raw.events.collect_schema()["part"] == pl.UInt8


def test_a_log_without_parts_has_no_such_column(tmp_path):
    raw = load(tmp_path, f"{HEADER}u,i,2024-01-31\n", columns={**COLUMNS, "part": None})
    assert "part" not in raw.events.collect_schema()


@pytest.mark.parametrize("unreadable", ["error", "drop"])
@pytest.mark.parametrize(
    ("word", "got"), [("tset", "'tset', {}; did you mean 'test'?"), ("", "empty, {}"), ("holdout", "'holdout', {}")]
)
def test_another_word_is_an_error_with_its_line_and_their_number(tmp_path, word, got, unreadable):
    """Also where unreadable rows are dropped: a part of a published split is not shortened in silence."""
    log = f"user,item,time,fold\na,b,2024-01-31,train\n,,,\na,c,2024-01-31,{word}\na,d,2024-01-31,{word}\n"
    with pytest.raises(DataError) as error:
        load(tmp_path, log, columns=WITH_PART, unreadable=unreadable)
    assert str(error.value) == (
        f"table: log.csv, line 4: fold is {got.format(TAKES)}; mend it, or set columns.part to the column of the parts "
        "(2 such rows)"
    )


def test_rows_of_kinds_that_are_not_kept_need_no_part(tmp_path):
    log = "user,item,time,fold,kind\na,b,2024-01-31,train,buy\na,c,2024-01-31,?,view\n"
    raw = load(tmp_path, log, columns={**WITH_PART, "kind": "kind"}, kinds=["buy"])
    assert rows(raw, "item", "part") == [("b", 0)]
    with pytest.raises(DataError, match="line 4: fold is 'x', takes"):
        load(tmp_path, f"{log}a,d,2024-01-31,x,buy\n", columns={**WITH_PART, "kind": "kind"}, kinds=["buy"])


def test_numbers_are_no_parts(tmp_path):
    pl.DataFrame({"user": ["a"], "item": ["b"], "time": [datetime(2024, 1, 31)], "fold": [1]}).write_parquet(
        tmp_path / "log.parquet"
    )
    with pytest.raises(DataError, match=r"log.parquet, column 'fold': values of type Int64, takes text: train, valid"):
        Table(str(tmp_path / "log.parquet"), WITH_PART).load()


def test_atomic_files_have_a_column_of_parts(tmp_path):
    (tmp_path / "a.inter").write_text("u:token\ti:token\tt:float\tsplit:token\n1\t2\t5e8\tdev\n")
    raw = Atomic(str(tmp_path), {"user": "u", "item": "i", "time": "t", "part": "split"}, time_format="s").load()
    assert rows(raw, "user", "item", "part") == [(1, 2, 1)]


# files


def test_the_files_of_parts_are_one_log(tmp_path):
    parts = write(
        tmp_path,
        test=f"{HEADER}1,7,2024-03-01\n\n2,8,2024-03-02\n",
        train=f"{HEADER}1,7,2024-01-31\n2,9,2024-01-31\n",
        valid=f"{HEADER}2,7,2024-02-01\n",
    )
    source = Table(str(tmp_path), COLUMNS, parts=parts)
    assert [f.name for f in source.files()] == ["train.csv", "valid.csv", "test.csv"]
    raw = source.load()
    assert rows(raw, "user", "item", "part") == [(1, 7, 0), (2, 9, 0), (2, 7, 1), (1, 7, 2), (2, 8, 2)]
    assert rows(raw, "time")[2] == (datetime(2024, 2, 1, tzinfo=UTC),)
    assert steps(raw) == [
        ("read", "rows of train.csv, valid.csv, test.csv", 6, 2, 3),
        ("empty", "1 rows with nothing in them", 5, 2, 3),
    ]


def test_ids_are_the_same_thing_in_all_files(tmp_path):
    """Numbers in one file and text in another are text in all, or users would fall apart."""
    parts = write(tmp_path, train=f"{HEADER}1,7,2024-01-31\n", test=f"{HEADER}1,007,2024-03-01\n")
    raw = Table(str(tmp_path), COLUMNS, parts=parts).load()
    assert rows(raw, "user", "item", "part") == [(1, "7", 0), (1, "007", 2)]


def test_tables_of_items_stand_in_the_folder_and_names_with_one_stand_elsewhere(tmp_path):
    (tmp_path / "there").mkdir()
    write(tmp_path / "there", test=f"{HEADER}a,x,2024-03-01\n")
    parts = write(tmp_path, train=f"{HEADER}a,y,2024-01-31\n")
    (tmp_path / "items.csv").write_text("sku,colour\nx,red\n")
    items = {"path": "items.csv", "columns": {"item": "sku"}}
    given = {**parts, "test": str(tmp_path / "there" / "test.csv"), "validation": None}
    raw = Table(str(tmp_path), COLUMNS, parts=given, items=items).load()
    assert rows(raw, "item", "part") == [("y", 0), ("x", 2)]
    assert raw.items.to_dicts() == [{"item": "x", "colour": "red"}]


def test_parts_are_among_the_settings_and_nothing_changes_without_them(tmp_path):
    parts = write(tmp_path, train=f"{HEADER}a,x,2024-03-01\n", test=f"{HEADER}a,y,2024-03-01\n")
    assert Table(str(tmp_path), COLUMNS, parts=parts).settings["parts"] == ["train", "test"]
    assert "parts" not in Table("log.csv", COLUMNS).settings
    assert Sequences("x.txt").settings == {}


@pytest.mark.parametrize(
    ("valid", "message"),
    [
        ("u,i,2024-01-31\nu,j,31/01/2024\n", "table: valid.csv, line 3: time is '31/01/2024', takes a time like those"),
        ("u,i\n", "table: valid.csv, line 2: 2 fields, but the header has 3"),
        ("", "table: valid.csv has a header and no rows"),
    ],
)
def test_errors_name_the_file_and_its_own_line(tmp_path, valid, message):
    train = "".join(f"u,{n},2024-01-0{n}\n" for n in range(1, 8))
    parts = write(tmp_path, train=HEADER + train, valid=HEADER + valid, test=f"{HEADER}u,k,2024-03-01\n")
    with pytest.raises(DataError) as error:
        Table(str(tmp_path), COLUMNS, parts=parts).load()
    assert str(error.value).startswith(message)


def test_the_place_of_a_row_is_found_in_formats_that_do_not_count_theirs(tmp_path):
    for part, times in (("train", ["1", "2"]), ("test", ["3", "x"])):
        pl.DataFrame({"user": ["a", "a"], "item": ["b", "c"], "time": times}).write_parquet(
            tmp_path / f"{part}.parquet"
        )
    parts: dict[str, str | None] = {"train": "train.parquet", "test": "test.parquet"}
    with pytest.raises(DataError, match="^table: test.parquet, row 2: time is 'x', takes"):
        Table(str(tmp_path), COLUMNS, parts=parts, time_format="period").load()


def test_columns_must_be_there_and_of_one_type_in_every_file(tmp_path):
    parts = write(tmp_path, train=f"{HEADER}u,i,2024-01-31\n", test="user,sku,time\nu,i,2024-01-31\n")
    with pytest.raises(DataError, match="^table: test.csv has no column 'item' for columns.item"):
        Table(str(tmp_path), COLUMNS, parts=parts).load()
    for part, user in (("train", [1]), ("test", ["1"])):
        pl.DataFrame({"user": user, "item": [2], "time": [3]}).write_parquet(tmp_path / f"{part}.parquet")
    mixed: dict[str, str | None] = {"train": "train.parquet", "test": "test.parquet"}
    wanted = "^table: column 'user' is Int64 in train.parquet, but String in test.parquet; write it the same way in all"
    with pytest.raises(DataError, match=wanted):
        Table(str(tmp_path), COLUMNS, parts=mixed).load()


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"train": "a", "tset": "b"}, f"x: parts.tset: {TAKES}; did you mean 'test'?"),
        ({"train": "a"}, "x: parts.test is missing; name the file of the test part"),
        ({"test": "a", "train": None}, "x: parts.train is missing; name the file of the train part"),
        ({}, "x: parts.train is missing; name the file of the train part"),
        (
            {"train": "a", "val": "b", "dev": "c", "test": "d"},
            "x: parts.dev: there is another file of the validation part; put them in one",
        ),
    ],
)
def test_names_of_parts_are_checked(parts, message):
    with pytest.raises(DataError) as error:
        named_parts("x", parts)
    assert str(error.value) == message


def test_one_way_to_say_the_parts():
    assert named_parts("x", None, WITH_PART) == {}
    with pytest.raises(DataError, match="columns.part and parts are both given; set one of them to null"):
        Table("x", WITH_PART, parts={"train": "a", "test": "b"})


def test_the_folder_and_the_files_must_be_there(tmp_path):
    parts = write(tmp_path, train=f"{HEADER}u,i,2024-01-31\n") | {"test": "test.csv"}
    with pytest.raises(DataError, match=r"test.csv is not there; set data.source.parts.test=FILE. Bare names stand in"):
        Table(str(tmp_path), COLUMNS, parts=parts).files()
    with pytest.raises(DataError, match=r"train.csv is a file; with data.source.parts, set data.path to the folder th"):
        Table(str(tmp_path / "train.csv"), COLUMNS, parts=parts).files()


# atomic files by their names

INTER = "user_id:token\titem_id:token\ttimestamp:float\n"
IDS = {"user": "user_id", "item": "item_id", "time": "timestamp"}


def atomic(folder: Path, *names: str) -> None:
    for number, name in enumerate(names):
        (folder / name).write_text(f"{INTER}{number}\t1\t88125094{number}\n")


def test_atomic_files_of_parts_are_known_by_their_names(tmp_path):
    atomic(tmp_path, "ml.1m.train.inter", "ml.1m.valid.inter", "ml.1m.test.inter")
    (tmp_path / "ml.1m.item").write_text("item_id:token\tgenre:token\n1\tDrama\n")
    source = Atomic(str(tmp_path), IDS)
    assert [f.name for f in source.files()] == [
        "ml.1m.train.inter", "ml.1m.valid.inter", "ml.1m.test.inter", "ml.1m.item",
    ]  # fmt: skip
    assert source.settings["parts"] == ["train", "validation", "test"]
    raw = source.load()
    assert rows(raw, "user", "part") == [(0, 0), (1, 1), (2, 2)]
    assert raw.items.to_dicts() == [{"item": 1, "genre": "Drama"}]


def test_other_names_are_given(tmp_path):
    atomic(tmp_path, "ml.part1.inter", "ml.part2.inter")
    with pytest.raises(
        DataError, match="has several: ml.part1.inter, ml.part2.inter; set data.path to the one to read"
    ):
        Atomic(str(tmp_path), IDS).load()
    raw = Atomic(str(tmp_path), IDS, parts={"train": "ml.part2.inter", "test": "ml.part1.inter"}).load()
    assert rows(raw, "user", "part") == [(1, 0), (0, 2)]


def test_a_single_file_is_no_part(tmp_path):
    atomic(tmp_path, "ml.train.inter")
    source = Atomic(str(tmp_path), IDS)
    assert "part" not in source.load().events.collect_schema() and "parts" not in source.settings


@pytest.mark.parametrize(
    "names",
    [
        (),
        ("a.train", "a.valid"),
        ("a.train", "b.test"),
        ("a.train", "a.test", "a"),
        ("a.train", "a.test", "a.val", "a.dev"),
        ("train", "test"),
    ],
)
def test_what_is_no_benchmark(tmp_path, names):
    for name in names:
        (tmp_path / f"{name}.inter").write_text("")
    assert benchmark_files(tmp_path, ".inter") == {}


# one user a line


def test_lines_of_parts_go_on_in_time(tmp_path):
    """Else an item that stands at the same place of two files would be one event of both."""
    for part, lines in (("train", "1 10 20 10\n2 30\n"), ("test", "1 10\n2 40 50\n\n3\n")):
        (tmp_path / f"{part}.txt").write_text(lines)
    raw = Sequences(str(tmp_path), parts={"train": "train.txt", "test": "test.txt"}).load()
    assert rows(raw, "user", "item", "time", "part") == [
        ("1", "10", 0, 0), ("1", "20", 1, 0), ("1", "10", 2, 0), ("2", "30", 0, 0),
        ("1", "10", 3, 2), ("2", "40", 3, 2), ("2", "50", 4, 2),
    ]  # fmt: skip
    assert steps(raw) == [
        ("read", "interactions in 5 lines of train.txt, test.txt, 1 blank lines left out", 7, 3, 5),
        ("no items", "1 lines with a user and no item", 7, 2, 5),
    ]


def test_a_user_stands_once_in_a_file(tmp_path):
    (tmp_path / "train.txt").write_text("1 10\n")
    (tmp_path / "test.txt").write_text("1 20\n1 30\n")
    with pytest.raises(DataError, match="^sequences: test.txt: user '1' stands on lines 1 and 2"):
        Sequences(str(tmp_path), parts={"train": "train.txt", "test": "test.txt"}).load()
