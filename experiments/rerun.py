"""Run a saved run again from its own config and compare: `python experiments/rerun.py RUN`.

Exit status: 0 identical, 1 equal within the tolerance, 2 different, 3 could not be run, 130 interrupted.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run directory")
    parser.add_argument(
        "--tolerance", type=float, default=1e-6, help="largest relative difference that counts as equal (default 1e-6)"
    )
    parser.add_argument("--keep", type=Path, help="where to keep the second run (default: a temporary folder)")
    arguments = parser.parse_args()
    from xrec import pipeline
    from xrec.config.validate import validate_job
    from xrec.errors import RunError, UserError
    from xrec.rundir.compare import compare
    from xrec.rundir.saved import SavedRun

    # so that the temporary folder goes when this process is told to end; of kill -9 nobody hears
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, lambda number, _: sys.exit(128 + number))
    try:
        config = pipeline.restore(arguments.run)
        if config.tracking.get("mode") == "online":  # to compare two runs takes no account
            config.tracking.mode = "offline"
        validate_job(config)
        saved = SavedRun(arguments.run)
        saved.check()
        if unfinished := [stage for stage in config.stages if stage not in saved.stages]:
            raise RunError(
                f"{arguments.run} is unfinished ({', '.join(unfinished)}): finish it with experiments/run.py "
                f"resume={arguments.run}"
            )
        with tempfile.TemporaryDirectory() as temporary:
            second = arguments.keep or Path(temporary) / "rerun"
            pipeline.run(config, second, (), group="rerun")
            verdict = compare(arguments.run, second, arguments.tolerance)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    print(verdict.text)
    return verdict.status


if __name__ == "__main__":
    sys.exit(main())
