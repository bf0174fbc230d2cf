"""Run directories for tests."""

from __future__ import annotations

import json
from pathlib import Path

from xrec.files import file_digest


def put_on_record(run: Path) -> None:
    """Make stages.json say that the files are as they should be, whatever they are now."""
    path = run / "stages.json"
    record = json.loads(path.read_text())
    record["begun"] = {name: file_digest(run / name) for name in record["begun"]}
    for entry in record["stages"]:
        entry["files"] = {name: file_digest(run / name) for name in entry["files"]}
    record["results"] = {e["stage"]: e["files"][f"stages/{e['stage']}.parquet"] for e in record["stages"]}
    record["results_sha256"] = file_digest(run / "results.parquet")
    path.write_text(json.dumps(record))
