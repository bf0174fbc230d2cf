"""Speed and memory, measured. Each measured step runs in a process of its own.

    data    a generated file of the shape of MovieLens-25M, from CSV to cached splits, and its cached start-up
    start   from the start of a run's process to its first training batch, everything that is cached being there
    explain explainers on a saved run's cases, beside the shap package on the same games and on games that cost nothing

Times of `data` are also given as ratios to a bare `polars.scan_csv(...).collect()` of the same file in the same run:
absolute figures of two machines, or of two moments of one, do not compare. Those of `start` are CPU seconds of a
process, all its threads, beside a bare `import torch` and a bare Hydra composing the same config: medians, by turns.
Those of `explain` are CPU milliseconds a case, one thread, by turns, the last time of each; how far two explainers that
estimate the same are apart stands beside them.

Examples:
    python scripts/bench.py data
    python scripts/bench.py data --events 100000000 --folder /scratch
    python scripts/bench.py data --events 1000000 split=leave_last_out
    python scripts/bench.py start
    python scripts/bench.py start --times 9 experiment=quickstart tracking=none
    python scripts/bench.py explain runs/quickstart/2026-11-29_03-17-41-781984
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
RUN = str(ROOT / "experiments" / "run.py")
CHUNK_USERS = 20_000
GENRES = ("Action", "Comedy", "Drama", "Horror", "Romance", "Thriller")
#: Ratings in half stars and their shares, roughly those of MovieLens.
STARS = np.arange(1, 11) / 2
SHARES = np.array([16, 31, 16, 66, 50, 196, 127, 266, 88, 144]) / 1000
#: Every rating is an event, unlike in conf/data/movielens.yaml; a split by dates, unless another one is asked for.
RATINGS = ("data=movielens", "data.clean.min_value=null")
TEMPORAL = (
    "split=temporal",
    "split.period=week",
    "split.train_end='2016-12-25'",
    "split.validation_end='2017-12-31'",
    "split.test_end='2019-12-01'",
)
SPAN = (789_652_009, 1_574_327_703)  # seconds since 1970, 1995 to 2019


def main(arguments: list[str] | None = None) -> int:
    """Print the measurements; 0, or 1 when a step failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    data = commands.add_parser("data", help="CSV to cached splits")
    data.add_argument("--events", type=int, default=25_000_000, help="rows of the file (default: 25000000)")
    data.add_argument("--folder", type=Path, help="where the file and the cache go (default: a temporary folder)")
    data.add_argument("--seed", type=int, default=0)
    data.add_argument("--json", type=Path, help="write the figures there too")
    data.add_argument(
        "overrides", nargs="*", help="of the config, such as split=leave_last_out or data.clean.min_value=4"
    )
    start = commands.add_parser("start", help="process start to first training batch")
    start.add_argument("--times", type=int, default=5, help="runs of each; medians are printed (default: 5)")
    start.add_argument("--json", type=Path, help="write the figures there too")
    start.add_argument("overrides", nargs="*", help="of the config (default: experiment=quickstart)")
    explain = commands.add_parser("explain", help="explainers on a saved run")
    explain.add_argument("run", type=Path, help="a run directory with a fitted model")
    explain.add_argument("--users", type=int, default=12, help="whose recommendations are explained (default: 12)")
    explain.add_argument("--json", type=Path, help="write the figures there too")
    step = commands.add_parser("step")  # what a process of its own runs; not for people
    step.add_argument("name", choices=sorted(STEPS))
    step.add_argument("folder", type=Path)
    step.add_argument("overrides", nargs="*")
    options = parser.parse_args(arguments)
    if options.command == "step":
        print(json.dumps(STEPS[options.name](options.folder, options.overrides)))
        return 0
    of_data = options.command == "data"
    count = {"data": "events", "start": "times", "explain": "users"}[options.command]
    if getattr(options, count) < 1:
        parser.error(f"--{count} must be at least 1")
    with tempfile.TemporaryDirectory(prefix="xrec-bench-", dir=options.folder if of_data else None) as folder:
        try:
            if options.command == "explain":
                figures = bench_explain(Path(folder), options.run, options.users)
            elif of_data:
                figures = bench_data(Path(folder), options.events, options.seed, options.overrides)
            else:
                figures = bench_start(Path(folder), options.times, options.overrides or ["experiment=quickstart"])
        except subprocess.CalledProcessError as error:
            print(f"bench: the step {error.cmd[2:4][-1]!r} failed:\n{error.stderr}", file=sys.stderr)
            return 1
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


def bench_data(folder: Path, events: int, seed: int, overrides: list[str]) -> dict[str, Any]:
    """Generate, read bare, build, open; a line is printed for each as it is done."""
    start = time.perf_counter()
    made = generate(folder, events, seed)
    size = (folder / "ratings.csv").stat().st_size
    print(
        f"file     {made['events']:,} events of {made['users']:,} users, {made['items']:,} items, {size / 1e6:,.0f} MB "
        f"(generated in {time.perf_counter() - start:.0f} s)"
    )
    bare = run_step("bare", folder, overrides)
    built = run_step("build", folder, overrides)
    again = run_step("bare", folder, overrides)
    bare = min(bare, again, key=lambda figures: figures["seconds"])
    opened = min((run_step("build", folder, overrides) for _ in range(3)), key=lambda figures: figures["seconds"])
    print(f"bare     {_cost(bare)}: polars.scan_csv(...).collect(), the faster of two")
    rate, ratio = made["events"] / built["seconds"], built["seconds"] / bare["seconds"]
    print(
        f"build    {_cost(built)}, {rate:,.0f} events/s, {ratio:.1f} x bare: CSV to cached splits; "
        f"{built['kept']:,} events kept"
    )
    print(f"cached   {_cost(opened)}: the same again, the fastest of three")
    print(f"threads  {os.cpu_count()} CPUs; polars {built['polars_threads']}; imports are not counted")
    return {"made": made, "bytes": size, "bare": bare, "build": built, "cached": opened, "overrides": overrides}


def bench_start(folder: Path, times: int, overrides: list[str]) -> dict[str, Any]:
    """Fill the cache, then measure by turns: bare torch, bare Hydra, and a run up to its first batch."""
    run_step("first_batch", folder, overrides)
    names = ("torch", "hydra", "first_batch")
    taken = {name: [] for name in names}
    for _ in range(times):
        for name in names:
            taken[name].append(run_step(name, folder, overrides)["phases"])
    medians = {
        name: {phase: statistics.median(run[phase] for run in runs) for phase in runs[0]}
        for name, runs in taken.items()
    }
    totals = {name: statistics.median(sum(run.values()) for run in runs) for name, runs in taken.items()}
    for name, command in {"import xrec": ["-c", "import xrec"], "--help": [RUN, "--help"]}.items():
        totals[name] = statistics.median(cpu_seconds([sys.executable, *command]) for _ in range(times))
        print(f"{totals[name]:7.2f}  {name}, a process of its own")
    for name in names[:2]:
        print(f"{totals[name]:7.2f}  bare {name}, a process of its own")
    total, ratio = totals["first_batch"], totals["first_batch"] / totals["torch"]
    print(f"{total:7.2f}  first batch of {' '.join(overrides)}, {ratio:.1f} x bare torch:")
    for phase, seconds in medians["first_batch"].items():
        print(f"{seconds:15.2f}  {phase}")
    print(f"CPU seconds, medians of {times}; {os.cpu_count()} CPUs")
    return {"medians": medians, "totals": totals, "times": times, "overrides": overrides}


def bench_explain(folder: Path, run: Path, users: int) -> dict[str, Any]:
    """Print CPU milliseconds a case."""
    figures = run_step("explain", folder, [str(run), str(users)])
    print(f"{figures['cases']} cases of {figures['players']:.0f} players on average, model {figures['model']}")
    for name, milliseconds in figures["milliseconds"].items():
        apart = figures["apart"].get(name)
        print(f"{milliseconds:10.2f}  {name}" + ("" if apart is None else f", {apart[1]:.2g} from {apart[0]}"))
    print("CPU milliseconds a case, one thread; how far apart: relative L2, median over cases")
    return figures


def cpu_seconds(command: list[str]) -> float:
    """User and system time of a process that ends."""
    import resource

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    subprocess.run(command, capture_output=True, check=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _cost(figures: dict[str, Any]) -> str:
    digits = 1 if figures["seconds"] >= 1 else 3
    seconds, cpu = (f"{figures[name]:.{digits}f} s" for name in ("seconds", "cpu_seconds"))
    return f"{seconds} ({cpu} of CPU), {figures['peak_mb']:,.0f} MB"


def run_step(name: str, folder: Path, overrides: list[str]) -> dict[str, Any]:
    """The figures that a process of its own printed."""
    command = [sys.executable, str(Path(__file__).resolve()), "step", name, str(folder), *overrides]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def generate(folder: Path, events: int, seed: int) -> dict[str, int]:
    """Write ratings.csv and movies.csv: users sorted, each with distinct items, long-tailed on both sides."""
    import polars as pl

    rng = np.random.default_rng(seed)
    n_items = max(100, round(62_423 * min(1.0, (events / 25_000_095) ** 0.5)))
    ids = np.sort(rng.choice(209_171, n_items, replace=False)) + 1
    # the most popular item has 0.4 % of the events, the median one 13,000 times less
    weight = (rng.permutation(n_items) + 0.0042 * n_items) ** -2.0
    cumulative = np.cumsum(weight)
    cumulative /= cumulative[-1]
    written, users = 0, 0
    with (folder / "ratings.csv").open("wb") as file:
        while written < events:
            # about 154 on average when items that were drawn twice have gone
            n = np.minimum(20 + rng.lognormal(4.3, 1.35, CHUNK_USERS), n_items / 3).astype(np.int64)
            user = np.repeat(np.arange(users, users + CHUNK_USERS), n)
            key = np.unique(user * n_items + np.searchsorted(cumulative, rng.random(len(user))).clip(max=n_items - 1))
            key = key[: events - written]
            user, item = np.divmod(key, n_items)
            joined = rng.integers(SPAN[0], SPAN[1], CHUNK_USERS)
            # most of a user's ratings come in a sitting, some over years
            later = np.where(rng.random(len(key)) < 0.8, rng.exponential(2e3, len(key)), rng.exponential(2e7, len(key)))
            frame = pl.DataFrame(
                {
                    "userId": user + 1,
                    "movieId": ids[item],
                    "rating": rng.choice(STARS, len(key), p=SHARES),
                    "timestamp": np.minimum(joined[user - users] + later.astype(np.int64), SPAN[1]),
                }
            )
            frame.write_csv(file, include_header=written == 0)
            written += len(key)
            users = int(user[-1]) + 1
    kinds = rng.integers(0, len(GENRES), (n_items, 2))
    lines = (
        f"{i},Film {i} ({1930 + i % 90}),{'|'.join(sorted({GENRES[a], GENRES[b]}))}\n"
        for i, (a, b) in zip(ids, kinds, strict=True)
    )
    (folder / "movies.csv").write_text("movieId,title,genres\n" + "".join(lines))
    return {"events": written, "users": users, "items": n_items}


def step_bare(folder: Path, overrides: list[str]) -> dict[str, Any]:
    """What the fastest reader needs for the whole file."""
    del overrides
    import polars as pl

    clock = Clock()
    frame = pl.scan_csv(folder / "ratings.csv").collect()
    return {**clock.read(), "rows": frame.height}


def step_build(folder: Path, overrides: list[str]) -> dict[str, Any]:
    """From CSV, or from the cache of the last time, to what models read. Imports are done before the clock starts."""
    import polars as pl
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    import xrec.data.make  # noqa: F401  (imported by `build` when the cache has nothing)
    from xrec.config.instantiate import instantiate
    from xrec.data.build import build
    from xrec.data.cache import ArrayCache
    from xrec.data.clean import Cleaning

    chosen = overrides if any(o.startswith("split=") for o in overrides) else [*TEMPORAL, *overrides]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("config", [*RATINGS, f"data.source.path={folder}", *chosen])
    source, split = instantiate(config.data.source), instantiate(config.split)
    cleaning: dict[str, Any] = OmegaConf.to_container(config.data.clean, resolve=True)  # type: ignore[assignment]
    cache = ArrayCache(folder / "cache")
    from_cache = any(cache.root.glob("data-*"))
    clock = Clock()
    dataset = build(source, split, cache, Cleaning(**cleaning))
    return {
        **clock.read(),
        "kept": len(dataset.user),
        "fingerprint": dataset.fingerprint,
        "from_cache": from_cache,
        "polars_threads": pl.thread_pool_size(),
    }


class Phases:
    """CPU seconds of this process by phase, from its very start."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def ended(self, name: str) -> None:
        """What was not counted yet was this phase."""
        self.seconds[name] = self.seconds.get(name, 0.0) + time.process_time() - sum(self.seconds.values())

    def after(self, module: Any, function: str, name: str) -> None:
        """End a phase whenever this function of a module has returned."""
        real = getattr(module, function)

        def wrapped(*arguments: Any, **named: Any) -> Any:
            value = real(*arguments, **named)
            self.ended(name)
            return value

        setattr(module, function, wrapped)


class _Reached(BaseException):
    """The first batch is there; no `Exception`, so that nobody takes it for a failure that can be handled."""


def step_first_batch(folder: Path, overrides: list[str]) -> dict[str, Any]:
    """What `experiments/run.py` does until the first training batch is made, and no further."""
    import importlib

    phases = Phases()
    sys.path.insert(0, str(Path(RUN).parent))
    run: Any = importlib.import_module("run")
    from xrec.config import prepass
    from xrec.config.instantiate import resolve

    phases.ended("Python and this script")
    phases.after(prepass, "main_prepass", "pass 1, with the import of Hydra")
    go_on = run._run

    def job(*arguments: Any) -> Any:
        phases.ended("Hydra")
        resolve(arguments[0].tracking._target_)  # in the order of `_run`
        phases.ended("import of the tracker")
        import torch  # noqa: F401

        phases.ended("import torch")
        from xrec import pipeline
        from xrec.config import validate
        from xrec.training import fit

        phases.ended("import of the pipeline")
        phases.after(validate, "validate_job", "pass 2, with the import of what is chosen")
        phases.after(pipeline, "refuse", "checks before the data and with it")
        phases.after(pipeline, "_make_repeatable", "threads, deterministic algorithms")
        phases.after(pipeline, "build", "data from the cache")
        phases.after(pipeline, "_prepare", "run directory")
        measured = pipeline._stages

        def stages(current: Any) -> Any:
            phases.ended("tracker")
            return measured(current)

        pipeline._stages = stages
        phases.after(fit.TrainingSettings, "make_examples", "model, validation and training windows")
        phases.after(fit, "_optimisers", "closed-form fit")
        real = fit.make_batch

        def make_batch(*arguments: Any) -> Any:
            real(*arguments)
            phases.ended("batch")
            raise _Reached

        fit.make_batch = make_batch
        return go_on(*arguments)

    run._run = job
    sys.argv = [RUN, *overrides, f"paths.runs={folder / 'runs'}"]
    try:
        run.main()
    except _Reached:
        return {"phases": phases.seconds}
    raise RuntimeError("the run made no training batch")


def step_torch(folder: Path, overrides: list[str]) -> dict[str, Any]:
    """The import alone."""
    del folder, overrides
    import torch  # noqa: F401

    return {"phases": {"all": time.process_time()}}


def step_hydra(folder: Path, overrides: list[str]) -> dict[str, Any]:
    """Import Hydra and compose the config once, which it does twice in a run."""
    del folder
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        compose("config", overrides, return_hydra_config=True)
    return {"phases": {"all": time.process_time()}}


def step_explain(folder: Path, overrides: list[str]) -> dict[str, Any]:
    """Explain the cases of so many users by every estimator."""
    del folder
    import torch
    from omegaconf import open_dict

    import xrec
    from xrec.explain.library import ShapKernel, ShapPermutation, numpy_global_seed
    from xrec.explain.pairwise import Pairwise
    from xrec.explain.removal import LeaveOneOut
    from xrec.explain.shapley import KernelShap, LeverageShap, PermutationShap, Shapley
    from xrec.stages.cases import case_chunks, choose_cases, games_of, rules_of

    torch.set_num_threads(1)
    loaded = xrec.load(overrides[0])
    run = loaded.run
    with open_dict(run.config):
        run.config.cases.n_users = int(overrides[1])
    rules = rules_of(run)
    cases = choose_cases(run, loaded.model, rules).cases
    explainers = {
        "shapley": Shapley(), "permutation_shap": PermutationShap(), "kernel_shap": KernelShap(),
        "leverage_shap": LeverageShap(), "pairwise": Pairwise(), "leave_one_out": LeaveOneOut(),
        "shap_permutation": ShapPermutation(), "shap_kernel": ShapKernel(),
    }  # fmt: skip
    of_nothing = {"bare shap permutation": ShapPermutation(), "bare shap kernel": ShapKernel()}
    seconds: dict[str, list[float]] = {name: [] for name in ["forwards of 2P masks", *explainers, *of_nothing]}
    found: dict[str, list[np.ndarray]] = {name: [] for name in explainers}
    taken: dict[str, float] = {}
    for game in games_of(run, loaded.model, rules, case_chunks(run, cases)):
        for turn in range(2):  # what compiles or loads itself does so in the first
            game.ends()
            masks = np.random.default_rng(0).random((len(game), 2 * game.width, game.width)) < 0.5
            taken["forwards of 2P masks"] = _cpu(lambda masks=masks, game=game: game.values(masks))[0]
            for name, explainer in explainers.items():
                taken[name], attribution = _cpu(lambda e=explainer, n=name, g=game: e.attribute(g, 0, n))
                if turn:
                    found[name] += list(attribution.values)
            for name, explainer in of_nothing.items():
                taken[name] = sum(_cpu(_bare(explainer, int(n), numpy_global_seed))[0] for n in game.n_players)
        for name, value in taken.items():
            seconds[name].append(value)
    pairs = {"permutation_shap": "shap_permutation", "kernel_shap": "shap_kernel", "shapley": "permutation_shap"}
    return {
        "cases": len(cases),
        "players": float(np.mean([len(v) - np.isnan(v).sum() for v in found["shapley"]])),
        "model": type(loaded.model).__name__,
        "milliseconds": {name: 1000 * sum(each) / len(cases) for name, each in seconds.items()},
        "apart": {one: (other, _apart(found[one], found[other])) for one, other in pairs.items()},
    }


def _cpu(do: Any) -> tuple[float, Any]:
    started = time.process_time()
    done = do()
    return time.process_time() - started, done


def _bare(explainer: Any, n_players: int, seeded: Any) -> Any:
    """The package's estimator on a game that costs nothing: a sum of weights."""
    weights = np.linspace(-1, 1, n_players)

    def explain() -> None:
        with seeded(0):
            budget = explainer.per_player * n_players + 2
            explainer.explain(lambda masks: masks @ weights, n_players, budget, 0)

    return explain


def _apart(one: list[np.ndarray], other: list[np.ndarray]) -> float:
    pairs = [(np.nan_to_num(a), np.nan_to_num(b)) for a, b in zip(one, other, strict=True)]
    return float(np.median([np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in pairs]))


STEPS = {
    "bare": step_bare,
    "build": step_build,
    "explain": step_explain,
    "first_batch": step_first_batch,
    "hydra": step_hydra,
    "torch": step_torch,
}


class Clock:
    """Wall and CPU seconds since it was made, and the most memory of this process up to the reading."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, float]:
        return {
            "seconds": time.perf_counter() - self.wall,
            "cpu_seconds": time.process_time() - self.cpu,
            "peak_mb": peak_mb(),
        }


def peak_mb() -> float:
    """Most memory this process has held, in MB, files that are mapped included."""
    status = Path("/proc/self/status")
    if status.is_file():  # ru_maxrss also knows the parent's, from before exec
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1000
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


if __name__ == "__main__":
    sys.exit(main())
