"""Small logs for the tests of tables."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from xrec.data.schema import RawData
from xrec.data.sources.table import Table

COLUMNS = {"user": "user", "item": "item", "time": "time"}
WITH_KIND = {**COLUMNS, "kind": "kind"}
NOON = datetime(2024, 1, 31, 12, tzinfo=UTC)
KINDS = (
    "user,item,time,kind,qty\na,x,2024-01-31,view,\na,y,2024-01-31,buy,2\nb,x,2024-01-31,cart,1\nb,x,2024-01-31,,1\n"
)
EVENTS = "user,item,time\n1,007,2024-01-31\n2,8 b,2024-01-31\n2,9,2024-01-31\n"


def load(folder: Path, content: str | bytes, name: str = "log.csv", **settings) -> RawData:
    """What `Table` makes of a file with that content."""
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return Table(str(folder / name), settings.pop("columns", COLUMNS), **settings).load()


def rows(raw: RawData, *columns: str) -> list[tuple]:
    """The events, or these columns of them."""
    return raw.events.collect().select(columns or ("user", "item", "time", "kind", "value")).rows()


def times(folder: Path, *values: str, **settings) -> list[datetime | int | None]:
    """The times of a log whose column of times holds `values`."""
    lines = "".join(f'a,b,"{v}"\n' for v in values)
    return [t for (t,) in rows(load(folder, f"user,item,time\n{lines}", **settings), "time")]
