"""Fetch a public data set: checked, unpacked, and the overrides that read it printed. Nothing else of xrec downloads.

A file whose sum is known (data_sets.yaml) is checked against it. For any other the sha256 of the first download is
printed and kept in SHA256SUMS beside the file, and checked from then on. A file that was put there by hand is checked
and unpacked in the same way, without a network.

Examples:
    python scripts/fetch_data.py --list
    python scripts/fetch_data.py ml-25m
    python scripts/fetch_data.py amazon-2023-Video_Games --out /data
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import shutil
import stat
import sys
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from xrec.files import DiskError, whole_file
from xrec.words import did_you_mean

CATALOGUE = Path(__file__).with_name("data_sets.yaml")
SUMS = "SHA256SUMS"
BLOCK = 1 << 20
GIGABYTE = 1 << 30
#: First bytes by the end of the name: what a page of a login or a proxy does not start with.
MAGIC = {".zip": b"PK\x03\x04", ".gz": b"\x1f\x8b"}


class FetchError(Exception):
    """What went wrong and what to do, over several lines."""


@dataclass(frozen=True)
class File:
    """`digest`: "sha256:..." or "md5:...", None where none is known."""

    url: str
    digest: str | None = None

    @property
    def name(self) -> str:
        return self.url.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class DataSet:
    """What to fetch into the folder `folder` of the data folder, and how to read it.

    overrides: FOLDER is where the files lie. unpacked: most bytes its archives may unpack to.
    manual: why it cannot be downloaded; `by_hand` are then the files to put there.
    """

    about: str
    home: str
    folder: str
    files: tuple[File, ...]
    overrides: str
    unpacked: int = 4 * GIGABYTE
    manual: str = ""
    by_hand: tuple[str, ...] = ()


def catalogue() -> tuple[dict[str, DataSet], dict[str, str]]:
    """(name -> data set, other name -> name), as `data_sets.yaml` has them."""
    import yaml

    known = yaml.safe_load(CATALOGUE.read_text())
    sets = {name: _data_set(entry) for name, entry in known["sets"].items()}
    for pattern, entry in known["per_category"].items():
        for category in entry.pop("categories"):
            filled = {k: _fill(v, category) for k, v in entry.items()}
            sets[_fill(pattern, category)] = _data_set(filled)
    return sets, known["aliases"]


def _data_set(entry: dict[str, Any]) -> DataSet:
    files = tuple(File(url, digest) for url, digest in entry.get("files", {}).items())
    return DataSet(**{**entry, "files": files, "by_hand": tuple(entry.get("by_hand", ()))})


def _fill(value: Any, category: str) -> Any:
    if isinstance(value, dict):
        return {_fill(k, category): v for k, v in value.items()}
    return value.replace("CATEGORY", category)


def main(arguments: list[str] | None = None) -> int:
    """0, or 1 with what to do on stderr."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", metavar="NAME", nargs="?", help="the data set, as --list names it")
    parser.add_argument("--list", action="store_true", help="list the data sets")
    parser.add_argument(
        "--out", metavar="DIR", type=Path, default=Path(os.environ.get("XREC_DATA") or "data"),
        help="the folder of all data (default: XREC_DATA, or data)",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    if options.list:
        with contextlib.suppress(BrokenPipeError):  # `--list | head`
            print_list()
            sys.stdout.flush()
            return 0
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes again when it ends
        return 0
    if options.name is None:
        parser.error("name a data set, or see --list")
    try:
        print(f"python experiments/run.py {fetch(options.name, options.out)}")
    except FetchError as error:
        print(f"fetch_data: {error}", file=sys.stderr)
        return 1
    return 0


def print_list() -> None:
    """Names, what they are, home pages."""
    sets, aliases = catalogue()
    width = max(len(name) for name in sets)
    for name, data in sets.items():
        print(f"{name:<{width}}  {data.about}; {data.home}")
    for alias, name in aliases.items():
        print(f"{alias:<{width}}  = {name}")


def fetch(name: str, out: Path) -> str:
    """Download what is not there, check and unpack it; the overrides that read it.

    Raises:
        FetchError: an unknown name, no network, a file that is not what it should be, a folder that cannot be written.
    """
    data = find(name)
    folder = out / data.folder
    try:
        if data.manual:
            _by_hand(data, folder)
        folder.mkdir(parents=True, exist_ok=True)
        for file in data.files:
            path = download(file, folder, data)
            if path.suffix == ".zip":
                unpack(path, data.unpacked, [f.name for f in data.files])
    except DiskError as error:
        raise FetchError(f"{name}: {error}, by --out") from error
    except OSError as error:
        raise FetchError(
            f"{name}: {folder}: {error.strerror or error}; free space, or name another folder by --out"
        ) from error
    return data.overrides.replace("FOLDER", str(folder))


def find(name: str) -> DataSet:
    """By its name in `data_sets.yaml`, capitals or not, or the name of a source.

    Raises:
        FetchError: there is none.
    """
    sets, aliases = catalogue()
    wanted = aliases.get(name, name).lower()
    for known, data in sets.items():
        if known.lower() == wanted:
            return data
    hint = did_you_mean(name, [*sets, *aliases], cutoff=0.7)
    raise FetchError(f"no data set {name!r}; python scripts/fetch_data.py --list names them all{hint}")


def _by_hand(data: DataSet, folder: Path) -> None:
    missing = [f for f in data.by_hand if not (folder / f).is_file()]
    if missing:
        raise FetchError(
            f"{data.about.split(':')[0]}: {data.manual}\n"
            f"  home page: {data.home}\n  files:     {', '.join(missing)}\n  put into:  {folder}"
        )


def download(file: File, folder: Path, data: DataSet) -> Path:
    """The file in `folder`, checked; from there if it is what it should be.

    Raises:
        FetchError: it cannot be had, or is not what it should be.
    """
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")
    path, sums = folder / file.name, folder / SUMS
    kept = read_sums(sums).get(file.name)
    by_sums = kept is not None and not (file.digest or "").startswith("sha256:")
    wanted = f"sha256:{kept}" if by_sums else file.digest
    fresh = not path.exists()
    if fresh or not pooch.hashes.hash_matches(path, wanted):
        why = "" if fresh else f" ({path} has not the sum that is known)"
        print(f"fetching {file.url}{why}", file=sys.stderr)
    downloader: Any = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), chunk_size=BLOCK, timeout=30)
    try:
        pooch.retrieve(file.url, wanted, fname=file.name, path=folder, downloader=downloader)
    except requests.exceptions.RequestException as error:
        raise FetchError(_no_network(file, path, data, error)) from error
    except ValueError as error:  # the sum does not match; pooch has deleted what came
        whose, then = (str(sums), "; delete its line there to take it as it is") if by_sums else ("this script", "")
        raise FetchError(
            f"{file.url} has not the sum that {whose} knows ({wanted}): it came broken, or its publisher has changed it"
            f"{then}\n  home page: {data.home}"
        ) from error
    start = MAGIC.get(path.suffix)
    if start is not None and not _starts_with(path, start):
        if fresh:
            path.unlink()
        raise FetchError(
            f"{path} is no {path.suffix} file{' (a page of a login or a proxy?) and was deleted' if fresh else ''}; "
            f"get {file.name} from {data.home} in a browser, put it there, and run this again"
        )
    found = sha256(path)
    if kept != found:
        write_sum(sums, file.name, found)
        if wanted is None:
            print(
                f"{file.name}: no sum of it is published; sha256 {found}, kept in {sums} and checked from now on",
                file=sys.stderr,
            )
    return path


def _no_network(file: File, path: Path, data: DataSet, error: Exception) -> str:
    response = getattr(error, "response", None)
    reason = f"HTTP {response.status_code}" if response is not None else type(error).__name__
    return (
        f"{file.url} cannot be had ({reason}). Without a network:\n"
        f"  home page: {data.home}\n"
        f"  file:      {file.name}\n"
        f"  put it at: {path}\n"
        "and run this again: the file is checked and unpacked"
    )


def _starts_with(path: Path, start: bytes) -> bool:
    with path.open("rb") as handle:
        return handle.read(len(start)) == start


def sha256(path: Path) -> str:
    """Of a file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def read_sums(path: Path) -> dict[str, str]:
    """File name -> sha256, of a file as `sha256sum` writes it; empty if there is none."""
    if not path.is_file():
        return {}
    pairs = (line.split(maxsplit=1) for line in path.read_text().splitlines() if line.strip())
    return {pair[1].lstrip("*"): pair[0] for pair in pairs if len(pair) == 2}


def write_sum(path: Path, name: str, digest: str) -> None:
    """Add or replace one line; the file is never half written."""
    sums = {**read_sums(path), name: digest}
    with whole_file(path) as temporary:
        temporary.write_text("".join(f"{d}  {n}\n" for n, d in sorted(sums.items())))


def unpack(archive: Path, most: int, others: Iterable[str] = ()) -> None:
    """Unpack a zip beside itself. Files that are there already are left alone; those that differ are named on stderr.

    After an interruption the next run adds what is missing.

    most: bytes it may unpack to. others: names beside the archive that no member may take, there already or not.

    Raises:
        FetchError: a member that would land elsewhere or overwrite the archive, its sums or one of `others`; one that
            is a link, encrypted or twice in it; one that needs a folder where a file stands, or the other way round;
            more than `most` bytes; a broken zip. Nothing was unpacked then.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = _members(archive, opened, (SUMS, archive.name, *others))
            if sum(m.file_size for m in members.values()) > most:
                raise FetchError(f"{archive} would unpack to more than {most:,} bytes; it is not what it should be")
            files = {path: m for path, m in members.items() if not m.is_dir()}
            _add(opened, {path: m for path, m in files.items() if not os.path.lexists(path)}, archive.parent)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, zlib.error) as error:
        raise FetchError(f"{archive} is a broken zip file ({error}); delete it and run this again") from error
    for path in members.keys() - files.keys():
        path.mkdir(parents=True, exist_ok=True)
    other = [repr(str(path)) for path, m in files.items() if not _is_content_of(m, path)]
    if other:
        print(f"{archive}: already there with other content, left alone: {', '.join(other)}", file=sys.stderr)


def _members(archive: Path, opened: zipfile.ZipFile, taken: tuple[str, ...]) -> dict[Path, zipfile.ZipInfo]:
    """Where it goes -> member, once all are known to stay below the archive's folder and to find their place free."""
    named = [(PurePosixPath(m.filename), m) for m in opened.infolist()]
    times = Counter(path for path, _ in named)
    files = {path for path, m in named if not m.is_dir()}
    for path, member in named:
        reason = _unsafe(path, member) or _in_the_way(archive.parent, path, files, taken)
        if reason or times[path] > 1:
            raise FetchError(f"{archive}: {member.filename!r} {reason or 'is in it twice'}; nothing was unpacked")
    return {archive.parent / path: member for path, member in named}


def _unsafe(path: PurePosixPath, member: zipfile.ZipInfo) -> str:
    """Why the member must not be unpacked anywhere, or nothing."""
    name = member.filename
    if path.is_absolute() or ".." in path.parts or not path.parts or "\\" in name or ":" in name or "\0" in name:
        return "would be written outside the folder"
    if stat.S_ISLNK(member.external_attr >> 16):
        return "is a link"
    return "is encrypted" if member.flag_bits & 1 else ""


def _in_the_way(folder: Path, path: PurePosixPath, files: set[PurePosixPath], taken: tuple[str, ...]) -> str:
    """Why the member cannot be put at `path` of the folder, or nothing. files: the members that are files."""
    for name in taken:
        # Capitals or not: some file systems do not tell them apart.
        if name.casefold() == path.parts[0].casefold():
            return f"would overwrite {name}"
    if path in files and (folder / path).is_dir():
        return "is a file, and a folder stands there"
    for needed in path.parents if path in files else (path, *path.parents):
        if needed in files or (os.path.lexists(folder / needed) and not (folder / needed).is_dir()):
            return f"needs the folder {str(needed)!r}, and there is a file of that name"
    return ""


def _add(opened: zipfile.ZipFile, missing: dict[Path, zipfile.ZipInfo], folder: Path) -> None:
    """Unpack all into a temporary folder, and put them in place when all are whole."""
    if not missing:  # then a folder that cannot be written will do
        return
    with tempfile.TemporaryDirectory(prefix=".unpack-", dir=folder) as temporary:
        whole = {path: Path(temporary, str(number)) for number, path in enumerate(missing)}
        for path, member in missing.items():
            # zipfile reads no more bytes than the member's entry says, and checks their sum.
            with opened.open(member) as source, whole[path].open("xb") as target:
                shutil.copyfileobj(source, target, BLOCK)
        for path in missing:
            _place(whole[path], path)


def _place(source: Path, target: Path) -> None:
    """Put `source` at `target` if nothing is there. Never overwrites, whoever else writes there meanwhile."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:  # something is there now, no links on this file system, or a folder that leads to another one
        beside = tempfile.TemporaryDirectory(prefix=".unpack-", dir=target.parent)
        with contextlib.suppress(FileExistsError), beside as temporary:
            copy = shutil.copyfile(source, Path(temporary, "copy"))
            target.touch(exist_ok=False)  # fails if something is there; what is replaced is our own empty file
            os.replace(copy, target)


def _is_content_of(member: zipfile.ZipInfo, path: Path) -> bool:
    if not path.is_file() or path.stat().st_size != member.file_size:
        return False
    crc = 0
    with path.open("rb") as handle:
        while block := handle.read(BLOCK):
            crc = zlib.crc32(block, crc)
    return crc == member.CRC


if __name__ == "__main__":
    sys.exit(main())
