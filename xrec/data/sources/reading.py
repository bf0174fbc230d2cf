"""Files as bytes: plain or gzip, empty and broken ones named, lines numbered."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from xrec.data.errors import DataError

BOM = b"\xef\xbb\xbf"
BLOCK = 32 << 20
#: bytes of the longest line that is read
LONGEST = 8 * BLOCK


def fetch_again(source: str) -> str:
    """What to do about a file that is broken."""
    return f"fetch it again (python scripts/fetch_data.py {source})"


def require(source: str, paths: list[Path], home: str, setting: str) -> list[Path]:
    """The paths, when all of them are files with something in them.

    Raises:
        DataError: names every missing file, the data's home page and the setting that says where they are.
    """
    missing = [str(p) for p in paths if not p.is_file()]
    if missing:
        raise DataError(
            f"{source}: no file {', '.join(missing)}; run `python scripts/fetch_data.py {source}`, or download the "
            f"data from {home} and set {setting}"
        )
    for path in paths:
        if path.stat().st_size == 0:
            raise DataError(f"{source}: {path.name} is empty; {fetch_again(source)}")
    return paths


def binary(path: Path) -> IO[bytes]:
    """The bytes of a file, decompressed when they are gzip's (told by the first two), whatever the name says."""
    with path.open("rb") as handle:
        compressed = handle.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if compressed else path.open("rb")  # type: ignore[return-value]


@contextmanager
def opened(source: str, path: Path) -> Iterator[IO[bytes]]:
    """`binary`, with the faults of the file named.

    Raises:
        DataError: also while the file is being read: it cannot be opened, or is gzip that is cut off or broken.
    """
    try:
        with binary(path) as file:
            yield file
    except EOFError as error:
        raise DataError(
            f"{source}: {path.name} is cut off: the gzip stream has no end; {fetch_again(source)}"
        ) from error
    except (zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{source}: {path.name} is broken gzip ({error}); {fetch_again(source)}") from error
    except OSError as error:
        raise DataError(f"{source}: {path.name} cannot be read ({error.strerror or error})") from error


def blocks(source: str, path: Path, size: int = BLOCK) -> Iterator[tuple[int, bytes]]:
    """(number of its first line, whole lines of about `size` bytes), without a byte-order mark.

    Raises:
        DataError: as `opened`; a line longer than LONGEST.
    """
    line, rest = 1, b""
    with opened(source, path) as file:
        while block := file.read(max(size, len(rest))):  # ever larger, or a long line would be copied many times
            if line == 1 and not rest:
                block = block.removeprefix(BOM)
            end = block.rfind(b"\n") + 1
            if not end:
                rest += block
                if len(rest) > LONGEST:
                    raise DataError(
                        f"{source}: {path.name}, line {line} is longer than {LONGEST} bytes; {fetch_again(source)}"
                    )
                continue
            whole, rest = rest + block[:end], block[end:]
            yield line, whole
            line += whole.count(b"\n")
        if rest:
            yield line, rest


def numbered(source: str, path: Path, size: int = BLOCK) -> Iterator[tuple[int, bytes]]:
    """(number, line without its end) of every line that is not blank."""
    for first, whole in blocks(source, path, size):
        for number, line in enumerate(whole.split(b"\n"), start=first):
            if line.strip():
                yield number, line.removesuffix(b"\r")


def begins_document(text: str) -> bool:
    """Whether a first line is that of one JSON document: an array, or an object over several lines."""
    text = text.strip()
    if not text.startswith("{") or not text.endswith(("{", "[", ",")):
        return text.startswith("[")
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return True
    return False


def wraps_records(record: Any) -> bool:
    """Whether an object holds a list of objects."""
    return isinstance(record, dict) and any(
        isinstance(v, list) and v and all(isinstance(r, dict) for r in v) for v in record.values()
    )


def one_document(source: str, path: Path) -> DataError:
    """The error for a file of which `begins_document` or `wraps_records` is true."""
    return DataError(f"{source}: {path.name} is one JSON document; takes JSON lines: write one record a line")


def decoded(source: str, path: Path, *, size: int = BLOCK, or_latin: bool = False) -> Iterator[tuple[int, str]]:
    """`numbered` as text: UTF-8, or Latin-1 where `or_latin` and the file is not UTF-8 as a whole.

    Raises:
        DataError: a line that is not UTF-8, unless `or_latin`.
    """
    lines = numbered(source, path, size)
    if or_latin:
        kept = list(lines)
        try:
            yield from [(number, line.decode()) for number, line in kept]
        except UnicodeDecodeError:
            yield from ((number, line.decode("latin-1")) for number, line in kept)
        return
    for number, line in lines:
        try:
            yield number, line.decode()
        except UnicodeDecodeError as error:
            raise DataError(
                f"{source}: {path.name}, line {number} is not UTF-8 (byte {error.start + 1} is "
                f"0x{line[error.start]:02x}); convert the file to UTF-8, or {fetch_again(source)}"
            ) from error
