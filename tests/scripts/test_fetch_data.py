"""scripts/fetch_data.py against a server on this machine: sums, archives that want out, no network, files by hand."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts import fetch_data
from scripts.fetch_data import FetchError, fetch, main, unpack

ROOT = Path(__file__).resolve().parents[2]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, str]]:
    """(folder that is served, its address)."""
    folder = tmp_path / "site"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`known(files)` makes them the files of the data set `toy`."""

    def make(files: dict[str, str | None], **more: Any) -> None:
        entry = {
            "about": "Toy",
            "home": "https://example.org/toy",
            "folder": "toys",
            "files": files,
            "overrides": "data=table data.source.path=FOLDER/toy",
            **more,
        }
        path = tmp_path / "data_sets.yaml"
        path.write_text(yaml.safe_dump({"sets": {"toy": entry}, "per_category": {}, "aliases": {"other": "toy"}}))
        monkeypatch.setattr(fetch_data, "CATALOGUE", path)

    return make


def archive(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in members.items():
            opened.writestr(name, content)
    return buffer.getvalue()


def tree(folder: Path) -> dict[str, bytes | None]:
    """Path -> content of all below `folder`, None for a folder."""
    paths = sorted(folder.rglob("*"))
    return {p.relative_to(folder).as_posix(): None if p.is_dir() else p.read_bytes() for p in paths}


def digest(content: bytes, kind: str = "sha256") -> str:
    return f"{kind}:{hashlib.new(kind, content).hexdigest()}"


@pytest.mark.parametrize("kind", ["sha256", "md5"])
def test_an_archive_with_a_known_sum_is_fetched_checked_and_unpacked(site, known, tmp_path, capsys, kind):
    folder, address = site
    content = archive({"toy/": b"", "toy/ratings.csv": b"1,2,3\n", "toy/deep/er/x.txt": b"x"})
    (folder / "toy.zip").write_bytes(content)
    known({f"{address}/toy.zip": digest(content, kind)})
    out = tmp_path / "out"
    assert main(["toy", "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert printed.out == f"python experiments/run.py data=table data.source.path={out}/toys/toy\n"
    assert "no sum of it is published" not in printed.err
    assert (out / "toys/toy/ratings.csv").read_bytes() == b"1,2,3\n"
    assert (out / "toys/toy/deep/er/x.txt").read_bytes() == b"x"
    assert sorted(p.name for p in (out / "toys").iterdir()) == ["SHA256SUMS", "toy", "toy.zip"]
    assert (out / "toys/SHA256SUMS").read_text() == f"{hashlib.sha256(content).hexdigest()}  toy.zip\n"
    # the second time nothing is fetched, and nothing that is there is changed
    (folder / "toy.zip").unlink()
    assert main(["toy", "--out", str(out)]) == 0 and capsys.readouterr().err == ""
    (out / "toys/toy/ratings.csv").write_bytes(b"mine")
    assert main(["OTHER".lower(), "--out", str(out)]) == 0
    assert "fetching" not in capsys.readouterr().err
    assert (out / "toys/toy/ratings.csv").read_bytes() == b"mine"


def test_a_sum_that_this_script_knows_counts_more_than_a_kept_one(site, known, tmp_path):
    (site[0] / "toy.txt").write_bytes(b"x")
    known({f"{site[1]}/toy.txt": digest(b"x")})
    (tmp_path / "toys").mkdir()
    (tmp_path / "toys/SHA256SUMS").write_text(f"{'0' * 64}  toy.txt\n")
    fetch("toy", tmp_path)
    assert (tmp_path / "toys/SHA256SUMS").read_text() == f"{digest(b'x')[7:]}  toy.txt\n"


def test_a_wrong_sum_leaves_nothing(site, known, tmp_path):
    folder, address = site
    (folder / "toy.txt").write_bytes(b"other")
    wanted = digest(b"this")
    known({f"{address}/toy.txt": wanted})
    with pytest.raises(FetchError) as error:
        fetch("toy", tmp_path / "out")
    assert str(error.value) == (
        f"{address}/toy.txt has not the sum that this script knows ({wanted}): it came broken, or its publisher has "
        "changed it\n  home page: https://example.org/toy"
    )
    assert list((tmp_path / "out/toys").iterdir()) == []


def test_a_file_without_a_published_sum_is_said_so_and_checked_from_then_on(site, known, tmp_path, capsys):
    folder, address = site
    (folder / "toy.txt").write_bytes(b"first")
    known({f"{address}/toy.txt": None})
    out = tmp_path / "out"
    assert main(["toy", "--out", str(out)]) == 0
    sums, sha256 = out / "toys/SHA256SUMS", hashlib.sha256(b"first").hexdigest()
    assert (
        f"toy.txt: no sum of it is published; sha256 {sha256}, kept in {sums} and checked from now on\n"
        in capsys.readouterr().err
    )
    assert main(["toy", "--out", str(out)]) == 0 and "published" not in capsys.readouterr().err
    # what is there was changed: it is fetched again
    (out / "toys/toy.txt").write_bytes(b"damaged")
    assert main(["toy", "--out", str(out)]) == 0
    assert f"fetching {address}/toy.txt ({out}/toys/toy.txt has not the sum that is known)" in capsys.readouterr().err
    assert (out / "toys/toy.txt").read_bytes() == b"first"
    # what is served was changed: refused, until the line is deleted
    (folder / "toy.txt").write_bytes(b"second")
    (out / "toys/toy.txt").unlink()
    assert main(["toy", "--out", str(out)]) == 1
    assert (
        f"has not the sum that {sums} knows (sha256:{sha256}): it came broken, or its publisher has changed it; "
        "delete its line there to take it as it is\n" in capsys.readouterr().err
    )
    assert not (out / "toys/toy.txt").exists()
    sums.unlink()
    assert main(["toy", "--out", str(out)]) == 0 and (out / "toys/toy.txt").read_bytes() == b"second"


def test_sums_are_never_half_written(site, known, tmp_path, monkeypatch):
    for name in ("a.txt", "b.txt"):
        (site[0] / name).write_bytes(b"x")
    out, sums = tmp_path / "out", tmp_path / "out/toys/SHA256SUMS"
    known({f"{site[1]}/a.txt": None})
    fetch("toy", out)
    before = sums.read_text()

    def full(path: Path, text: str) -> None:
        path.write_bytes(text[:3].encode())
        raise OSError(errno.ENOSPC, "No space left")

    known({f"{site[1]}/b.txt": None})
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(FetchError) as error:
        fetch("toy", out)
    assert str(error.value) == (
        f"toy: {sums} cannot be written (No space left): free some space, or write elsewhere, by --out"
    )
    assert sums.read_text() == before and sorted(tree(sums.parent)) == ["SHA256SUMS", "a.txt", "b.txt"]


def test_sums_of_other_files_stay(site, known, tmp_path):
    folder, address = site
    (folder / "a.txt").write_bytes(b"a")
    (folder / "b.txt").write_bytes(b"b")
    known({f"{address}/b.txt": None, f"{address}/a.txt": None})
    (tmp_path / "out/toys").mkdir(parents=True)
    (tmp_path / "out/toys/SHA256SUMS").write_text("00ff *a name with spaces.txt\n\nnonsense\n")
    fetch("toy", tmp_path / "out")
    lines = (tmp_path / "out/toys/SHA256SUMS").read_text().splitlines()
    assert [line.split("  ", 1)[1] for line in lines] == ["a name with spaces.txt", "a.txt", "b.txt"]
    assert lines[1].startswith(hashlib.sha256(b"a").hexdigest())


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_without_a_network_it_says_what_to_do_and_a_file_put_there_by_hand_is_used(
    known, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    url = f"http://127.0.0.1:{closed_port()}/toy.zip"
    content = archive({"toy/x.csv": b"x"})
    known({url: digest(content)})
    out = tmp_path / "out"
    assert main(["toy", "--out", str(out)]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == (
        f"fetching {url}\nfetch_data: {url} cannot be had (ConnectionError). Without a network:\n"
        "  home page: https://example.org/toy\n"
        "  file:      toy.zip\n"
        f"  put it at: {out}/toys/toy.zip\n"
        "and run this again: the file is checked and unpacked\n"
    )
    (out / "toys/toy.zip").write_bytes(content)
    assert main(["toy", "--out", str(out)]) == 0
    assert (out / "toys/toy/x.csv").read_bytes() == b"x"


def test_a_file_that_the_server_does_not_have(site, known, tmp_path):
    known({f"{site[1]}/toy.zip": None})
    with pytest.raises(FetchError, match=re.escape(f"{site[1]}/toy.zip cannot be had (HTTP 404). Without a network:")):
        fetch("toy", tmp_path)


@pytest.mark.parametrize("name", ["toy.zip", "toy.json.gz"])
def test_a_page_instead_of_a_file_is_not_taken_for_it(site, known, tmp_path, name):
    folder, address = site
    (folder / name).write_bytes(b"<html>log in</html>")
    known({f"{address}/{name}": None})
    suffix = Path(name).suffix
    path = tmp_path / "toys" / name
    with pytest.raises(FetchError) as error:
        fetch("toy", tmp_path)
    assert str(error.value) == (
        f"{path} is no {suffix} file (a page of a login or a proxy?) and was deleted; get {name} from "
        "https://example.org/toy in a browser, put it there, and run this again"
    )
    assert list((tmp_path / "toys").iterdir()) == []
    path.write_bytes(b"my own page")  # put there by a person: said, but not deleted
    with pytest.raises(FetchError, match=re.escape(f"{path} is no {suffix} file; get {name} from")):
        fetch("toy", tmp_path)
    assert path.read_bytes() == b"my own page"


def test_data_that_wants_an_account_names_the_page_the_files_and_the_place(tmp_path, capsys):
    assert main(["retailrocket", "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err == (
        "fetch_data: Retailrocket, views, add-to-carts and transactions of an online shop: its publisher asks for an "
        "account, so download it in a browser and unpack it\n"
        "  home page: https://www.kaggle.com/datasets/retailrocket/ecommerce-dataset\n"
        "  files:     events.csv, item_properties_part1.csv, item_properties_part2.csv, category_tree.csv\n"
        f"  put into:  {tmp_path}/retailrocket\n"
    )
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "retailrocket").mkdir()
    for name in ("events.csv", "item_properties_part1.csv", "item_properties_part2.csv", "category_tree.csv"):
        (tmp_path / "retailrocket" / name).touch()
    assert fetch("retailrocket", tmp_path) == f"data=retailrocket data.source.path={tmp_path}/retailrocket"


def linked() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        opened.writestr("toy/x.csv", "x")
        member = zipfile.ZipInfo("toy/link")
        member.external_attr = (stat.S_IFLNK | 0o777) << 16
        opened.writestr(member, "/etc/passwd")
    return buffer.getvalue()


def encrypted() -> bytes:
    content = bytearray(archive({"toy/x.csv": b"x"}))
    content[6] |= 1  # the flags in the local header, and in the directory
    content[content.index(b"PK\x01\x02") + 8] |= 1
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (archive({"a": b"", "../b": b"x"}), "'../b' would be written outside the folder; nothing was unpacked"),
        (archive({"a/../../b": b"x"}), "'a/../../b' would be written outside the folder; nothing was unpacked"),
        # no folder of this name exists: a broken check must find nothing to overwrite or delete
        (
            archive({"/xrec-nowhere/b": b"x"}),
            "'/xrec-nowhere/b' would be written outside the folder; nothing was unpacked",
        ),
        (archive({"a\\..\\b": b"x"}), r"'a\\..\\b' would be written outside the folder; nothing was unpacked"),
        (archive({"C:b": b"x"}), "'C:b' would be written outside the folder; nothing was unpacked"),
        (archive({".": b""}), "'.' would be written outside the folder; nothing was unpacked"),
        (linked(), "'toy/link' is a link; nothing was unpacked"),
        (encrypted(), "'toy/x.csv' is encrypted; nothing was unpacked"),
        (
            archive({"a": b"x" * 600, "b": b"x" * 600}),
            "would unpack to more than 1,000 bytes; it is not what it should be",
        ),
        (archive({"toy/x": b"", "SHA256SUMS": b"x"}), "'SHA256SUMS' would overwrite SHA256SUMS; nothing was unpacked"),
        (archive({"./sha256sums": b"x"}), "'./sha256sums' would overwrite SHA256SUMS; nothing was unpacked"),
        (archive({"SHA256SUMS/x": b"x"}), "'SHA256SUMS/x' would overwrite SHA256SUMS; nothing was unpacked"),
        (archive({"toy/x": b"", "Toy.zip": b"x"}), "'Toy.zip' would overwrite toy.zip; nothing was unpacked"),
        (archive({"a/b": b"x", "./a//b": b"y"}), "'a/b' is in it twice; nothing was unpacked"),
        (archive({"a": b"x", "a/": b""}), "'a' is in it twice; nothing was unpacked"),
        (
            archive({"a/b/c/d": b"x", "a/b": b"y"}),
            "'a/b/c/d' needs the folder 'a/b', and there is a file of that name; nothing was unpacked",
        ),
        (b"PK\x03\x04 broken", "is a broken zip file (File is not a zip file); delete it and run this again"),
    ],
)
def test_archives_that_are_refused(tmp_path, content, message):
    path = tmp_path / "in" / "toy.zip"
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(FetchError) as error:
        unpack(path, 1000)
    assert str(error.value) in (f"{path}: {message}", f"{path} {message}")
    assert [p.name for p in path.parent.iterdir()] == ["toy.zip"] and [p.name for p in tmp_path.iterdir()] == ["in"]


def test_an_archive_that_is_larger_than_it_says_unpacks_nothing(tmp_path):
    content = archive({"toy/x": b"x" * 5000})
    says = (5000).to_bytes(4, "little")
    assert content.count(says) == 2  # in the local header, and in the directory
    path = tmp_path / "toy.zip"
    path.write_bytes(content.replace(says, (10).to_bytes(4, "little")))
    with pytest.raises(FetchError, match=re.escape(f"{path} is a broken zip file (Bad CRC-32 for file 'toy/x')")):
        unpack(path, 1000)
    assert [p.name for p in tmp_path.iterdir()] == ["toy.zip"]


def test_a_cut_off_archive_and_a_flipped_bit_unpack_nothing(tmp_path):
    content = archive({"toy/x": os.urandom(5000), "toy/y": b"y" * 5000})
    flipped = bytearray(content)
    flipped[2000] ^= 1
    packed = bytearray(archive({"toy/x": b"x" * 5000}))
    packed[len("toy/x") + 30] ^= 0xFF  # the first byte of what is compressed
    for broken in (content[:4000], content[:-30], bytes(flipped), bytes(packed)):
        path = tmp_path / "toy.zip"
        path.write_bytes(broken)
        with pytest.raises(FetchError, match=re.escape(f"{path} is a broken zip file (")):
            unpack(path, 1 << 20)
        assert [p.name for p in tmp_path.iterdir()] == ["toy.zip"]


def test_an_archive_may_not_bring_a_file_that_is_to_be_downloaded(site, known, tmp_path):
    folder, address = site
    (folder / "toy.zip").write_bytes(archive({"toy/x": b"x", "Z.txt": b"forged"}))
    (folder / "z.txt").write_bytes(b"later")
    known({f"{address}/toy.zip": None, f"{address}/z.txt": None})
    with pytest.raises(FetchError, match=r"'Z\.txt' would overwrite z\.txt; nothing was unpacked"):
        fetch("toy", tmp_path / "out")
    assert sorted(tree(tmp_path / "out/toys")) == ["SHA256SUMS", "toy.zip"]


def refuse(*_: Any, **__: Any) -> None:
    raise OSError(errno.EPERM, "Operation not permitted")


@pytest.fixture(params=["links", "no links"])
def linking(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system with hard links, and one without."""
    if request.param == "no links":
        monkeypatch.setattr(os, "link", refuse)


@pytest.mark.usefixtures("linking")
def test_files_that_are_there_stay_and_those_that_differ_are_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(fetch_data, "BLOCK", 2)
    path = tmp_path / "toy.zip"
    content = archive({"toy/same": b"same", "toy/size": b"", "toy/text": b"x", "toy/new": b"new", "no/ne/": b""})
    path.write_bytes(content)
    (tmp_path / "toy").mkdir()
    # The CRC of these four bytes is that of none.
    mine = {"toy/same": b"same", "toy/size": b"\x9d\x0a\xd9\x6d", "toy/text": b"y", "toy/my.txt": b"my own"}
    for name, text in mine.items():
        (tmp_path / name).write_bytes(text)
    wanted = {"toy": None, **mine, "toy/new": b"new", "no": None, "no/ne": None, "toy.zip": content}
    said = f"{path}: already there with other content, left alone: '{tmp_path}/toy/size', '{tmp_path}/toy/text'\n"
    for _ in range(2):
        unpack(path, 1 << 20)
        assert tree(tmp_path) == wanted
        assert capsys.readouterr().err == said
        assert (tmp_path / "toy/new").stat().st_nlink == 1


def test_nothing_is_written_where_nothing_is_missing(tmp_path):
    path = tmp_path / "toy.zip"
    path.write_bytes(archive({"toy/x": b"x", "link": b"x"}))
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    unpack(path, 1 << 20)
    before = tmp_path.stat().st_mtime_ns
    unpack(path, 1 << 20)
    assert tmp_path.stat().st_mtime_ns == before


def test_links_of_a_person_to_another_disk_stay(tmp_path, monkeypatch, capsys):
    def on_one_disk(function: Any) -> Any:
        def checked(*paths: Any) -> None:
            if len({disk in Path(p).resolve().parents for p in paths}) > 1:
                raise OSError(errno.EXDEV, "Invalid cross-device link")
            function(*paths)

        return checked

    monkeypatch.setattr(os, "link", on_one_disk(os.link))
    monkeypatch.setattr(os, "replace", on_one_disk(os.replace))
    path, disk = tmp_path / "in/toy.zip", tmp_path / "disk"
    disk.mkdir()
    path.parent.mkdir()
    path.write_bytes(archive({"toy/x": b"x", "toy/y": b"y"}))
    (path.parent / "toy").symlink_to(disk)
    (disk / "x").symlink_to(tmp_path / "gone")
    unpack(path, 1 << 20)
    assert (disk / "x").is_symlink() and (disk / "y").read_bytes() == b"y" and not (tmp_path / "gone").exists()
    assert capsys.readouterr().err.endswith(f"left alone: '{path.parent}/toy/x'\n")


@pytest.mark.usefixtures("linking")
def test_a_file_that_appears_meanwhile_is_not_overwritten(tmp_path, monkeypatch, capsys):
    path = tmp_path / "toy.zip"
    path.write_bytes(archive({"x": b"x", "y": b"y"}))
    copy = shutil.copyfileobj

    def meanwhile(*arguments: Any) -> None:
        copy(*arguments)
        (tmp_path / "x").write_bytes(b"mine")

    monkeypatch.setattr(shutil, "copyfileobj", meanwhile)
    unpack(path, 1 << 20)
    assert tree(tmp_path) == {"x": b"mine", "y": b"y", "toy.zip": path.read_bytes()}
    assert capsys.readouterr().err == f"{path}: already there with other content, left alone: '{tmp_path}/x'\n"


@pytest.mark.parametrize(("module", "function"), [(os, "link"), (shutil, "copyfile")])
def test_after_an_interruption_the_next_run_adds_what_is_missing(tmp_path, monkeypatch, capsys, module, function):
    members = {f"toy/{name}": name.encode() * 1000 for name in "abc"}
    path = tmp_path / "toy.zip"
    path.write_bytes(archive(members))
    whole, calls = getattr(module, function), []

    def interrupted(source: Path, target: Path) -> Any:
        calls.append(target)
        if len(calls) == 2:
            if function == "copyfile":
                target.write_bytes(b"half")
            raise KeyboardInterrupt
        return whole(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "link", refuse)
        patched.setattr(module, function, interrupted)
        with pytest.raises(KeyboardInterrupt):
            unpack(path, 1 << 20)
    assert tree(tmp_path) == {"toy": None, "toy/a": members["toy/a"], "toy.zip": path.read_bytes()}
    unpack(path, 1 << 20)
    assert tree(tmp_path) == {"toy": None, **members, "toy.zip": path.read_bytes()}
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("member", "there", "reason"),
    [
        ("toy/x", "toy", "needs the folder 'toy', and there is a file of that name"),
        ("toy/", "toy", "needs the folder 'toy', and there is a file of that name"),
        ("toy/x", "toy/x/mine", "is a file, and a folder stands there"),
    ],
)
def test_a_file_where_a_folder_should_be_and_the_other_way_round(tmp_path, member, there, reason):
    path = tmp_path / "toy.zip"
    path.write_bytes(archive({"a/new": b"new", member: b""}))
    (tmp_path / there).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / there).write_bytes(b"mine")
    before = tree(tmp_path)
    with pytest.raises(FetchError) as error:
        unpack(path, 1 << 20)
    assert str(error.value) == f"{path}: {member!r} {reason}; nothing was unpacked"
    assert tree(tmp_path) == before


def test_a_link_to_nowhere_is_no_folder(tmp_path):
    path = tmp_path / "toy.zip"
    path.write_bytes(archive({"toy/x": b"x"}))
    (tmp_path / "toy").symlink_to(tmp_path / "gone")
    with pytest.raises(FetchError, match="'toy/x' needs the folder 'toy', and there is a file of that name"):
        unpack(path, 1 << 20)
    assert (tmp_path / "toy").is_symlink() and not (tmp_path / "gone").exists()


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "sequences").write_text("a file where the folder should be")
    with pytest.raises(FetchError) as error:
        fetch("amazon-beauty", tmp_path)
    assert str(error.value) == (
        f"amazon-beauty: {tmp_path}/sequences: File exists; free space, or name another folder by --out"
    )


def test_unknown_names_and_capitals(tmp_path):
    with pytest.raises(FetchError) as error:
        fetch("ml-26m", tmp_path)
    assert str(error.value) == (
        "no data set 'ml-26m'; python scripts/fetch_data.py --list names them all; did you mean 'ml-32m'?"
    )
    assert fetch_data.find("AMAZON-2014-beauty").files[0].name == "reviews_Beauty_5.json.gz"


def test_the_catalogue_is_sound():
    sets, aliases = fetch_data.catalogue()
    assert {"ml-100k", "ml-1m", "ml-10m", "ml-20m", "ml-25m", "ml-32m", "amazon-beauty", "retailrocket"} < set(sets)
    assert "amazon-2014-Beauty" in sets and "amazon-2023-All_Beauty" in sets
    assert set(aliases.values()) < set(sets) and len({n.lower() for n in sets}) == len(sets)
    for name, data in sets.items():
        assert data.home.startswith("https://") and "FOLDER" in data.overrides and "CATEGORY" not in repr(data), name
        assert bool(data.files) != bool(data.manual)
        for file in data.files:
            assert file.url.startswith("https://"), name
            kind, _, value = (file.digest or "").partition(":")
            assert file.digest is None or re.fullmatch(r"[0-9a-f]+", value)
            assert len(value) == {"": 0, "md5": 32, "sha256": 64}[kind]
            if file.url.endswith(".zip"):
                assert file.digest is not None
        group = data.overrides.split()[0].removeprefix("data=")
        assert data.folder in ("movielens", "amazon", "sequences", "retailrocket")
        assert group == data.folder
    for alias in aliases:
        assert fetch_data.find(alias).folder == alias


def test_the_list_and_the_default_folder_from_the_command_line(tmp_path):
    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        script = str(ROOT / "scripts" / "fetch_data.py")
        return subprocess.run(
            [sys.executable, script, *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], **environment},
        )

    listed = run("--list")
    assert listed.returncode == 0 and listed.stderr == ""
    lines = listed.stdout.splitlines()
    assert re.fullmatch(r"ml-100k +MovieLens 100K, 5 MB; https://grouplens.org/datasets/movielens/100k/", lines[0])
    assert lines[-1].split() == ["sequences", "=", "amazon-beauty"]
    assert "  put into:  data/retailrocket\n" in run("retailrocket").stderr
    assert f"  put into:  {tmp_path}/x/retailrocket\n" in run("retailrocket", XREC_DATA=str(tmp_path / "x")).stderr
    script = str(ROOT / "scripts" / "fetch_data.py")
    reader, writer = os.pipe()
    os.close(reader)  # as `| head` does
    closed = subprocess.run([sys.executable, script, "--list"], stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (closed.returncode, closed.stderr) == (0, b"")
    nothing = run()
    assert nothing.returncode == 2 and "name a data set, or see --list" in nothing.stderr
