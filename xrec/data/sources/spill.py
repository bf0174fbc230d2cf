"""Rows that are expensive to read again, kept on disk as long as a lazy frame needs them."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path

import polars as pl
from polars.io.plugins import register_io_source

from xrec.data.errors import DataError


class Spill:
    """Frames in a temporary folder. It goes when this object and every lazy frame made of it have gone, at the latest
    when Python ends (a streaming query that stops early can hold on to it).

    Raises:
        DataError: no room in the temporary folder.
    """

    def __init__(self, source: str, what: str) -> None:
        self._source, self._what = source, what
        self._folder = Path(tempfile.mkdtemp(prefix=f"xrec-{source}-"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._parts: list[Path] = []

    def add(self, frame: pl.DataFrame) -> None:
        part = self._folder / f"{len(self._parts):06d}.parquet"
        try:
            frame.write_parquet(part)
        except OSError as error:
            raise DataError(
                f"{self._source}: no room for the rows of {self._what} in the temporary folder {self._folder} "
                f"({error}); set TMPDIR to a larger one"
            ) from error
        self._parts.append(part)

    def scan(self) -> pl.LazyFrame:
        """All rows in the order they were added. At least one frame must have been."""

        def read(
            with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, batch_size: int | None
        ) -> Iterator[pl.DataFrame]:
            left = n_rows
            for part in self._parts:  # `self`, and so the folder, lives as long as the plan that holds this function
                frame = pl.read_parquet(part, columns=with_columns, n_rows=left, glob=False)
                if left is not None:
                    left -= frame.height
                yield frame if predicate is None else frame.filter(predicate)
                if left == 0:
                    return

        return register_io_source(read, schema=pl.read_parquet_schema(self._parts[0]), is_pure=True)
