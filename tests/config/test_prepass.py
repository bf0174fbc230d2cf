"""The bad-input table, as the command line answers it before Hydra starts."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from xrec.config.commandline import read
from xrec.config.objectives import objective_errors
from xrec.config.prepass import main_prepass

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "conf"

BAD = [
    # mistyped options and groups
    ("model=easee", ["model=easee", "did you mean 'ease'", "composed, content_knn, ease, external, ials"]),
    (
        "model/attention=targte",
        ["did you mean 'target'", "takes additive, dot_product, mean, multi_head, none, self"],
    ),
    ("explainer=[random,atention]", ["no option 'atention'", "did you mean 'attention'", "kernel_shap"]),
    ("model/atention=mean", ["no group model/atention", "did you mean 'model/attention'"]),
    ("modl=ease", ["modl: no such key", "did you mean 'model'"]),
    (
        "model/attention=null",
        [
            "takes one of additive, dot_product, mean, multi_head, none, self_attention, target, temporal",
            "~model/attention",
        ],
    ),
    ("loss=bernoulli", ["loss/adversarial, loss/reconstruction"]),
    ("model=ease model/attention=target", ["model=ease has no model/attention", "model=composed"]),
    ("experiment=quickstart model=ease", ["model=ease has no loss/reconstruction", "experiment/quickstart"]),
    ("model.attention=target", ["write model/attention=target"]),
    # mistyped keys
    ("cases.n_user=3", ["cases.n_user: no such key", "did you mean 'cases.n_users'", "min_players"]),
    ("n_users=3", ["did you mean 'cases.n_users'"]),
    ("+los.w=1", ["los: unknown key", "did you mean 'loss'"]),
    ("+training.epoch=3", ["training.epoch: unknown key", "did you mean 'training.epochs'"]),
    ("++cases.groop=[new]", ["cases.groop: unknown key", "did you mean 'cases.groups'"]),
    ("+seed=3", ["seed is there already"]),
    ("~cases.part", ["cases.part is missing", "validation, test"]),
    ("~cases.prat", ["cases.prat: no such key", "did you mean 'cases.part'"]),
    ("model=ease loss.weights.kl=0.1", ["loss.weights.kl", "bring no 'loss'"]),
    ("explainer=[random] explainer.attention.n=3", ["explainer=[random] does not select attention"]),
    # types and ranges
    ("threads=two", ["threads: got 'two', takes a whole number from 1 to 1024"]),
    ("threads=100000", ["threads: got 100000, takes a whole number from 1 to ", "cores only make it slower"]),
    ("ranking.ndcg=[10,100000000]", ["ranking.ndcg[1]: got 100000000, takes a whole number from 1 to 10000"]),
    ("ranking.chunk_size=100000000", ["ranking.chunk_size: got 100000000, takes a whole number from 1 to 10000"]),
    ("cases.top_n=1000000000", ["cases.top_n: got 1000000000, takes a whole number from 1 to 10000"]),
    ("cases.mask_chunk=1000000000", ["cases.mask_chunk: got 1000000000", "to 65536 (what is scored together"]),
    ("cases.chunk_size=1000000000", ["cases.chunk_size: got 1000000000", "held in memory"]),
    ("training.batch_size=1000000000", ["training.batch_size: got 1000000000"]),
    ("training.max_pairs=1000000000000", ["training.max_pairs: got 1000000000000"]),
    ("threads=true", ["threads: got true"]),
    ("seed=-1", ["seed: got -1, takes a whole number from 0"]),
    ("seed=null", ["seed: got null"]),
    ("training.epochs=1.5", ["training.epochs: got 1.5, takes a whole number"]),
    ("training.learning_rate=0", ["training.learning_rate: got 0, takes a number above 0"]),
    ("training.learning_rate=nan", ["training.learning_rate: got nan"]),
    ("training.horizon=0", ["training.horizon: got 0"]),
    ("training.windows=[0]", ["training.windows[0]: got 0, takes a whole number other than 0"]),
    (
        "training.windows=[-2] training.horizon=4",
        ["training.windows: got -2", "past the end of training", "at most -4"],
    ),
    ("data.clean.strength=count", ["data.clean.strength: got 'count', takes one of value, one"]),
    ("data.clean.since=yesterday", ["data.clean.since: got 'yesterday', takes a date such as 2015-01-31"]),
    ("data.clean.kind_weights={view:-1}", ["data.clean.kind_weights.view: got -1, takes a number of at least 0"]),
    ("data.clean.outlier_mads=0", ["data.clean.outlier_mads: got 0, takes a number above 0, or null"]),
    ("training.windows=[28,42] training.horizon=4", ["training.windows: got 42", "reaches period 45", "at most 40"]),
    ("loss.weights.kl=-0.1", ["loss.weights.kl: got -0.1, takes a number of at least 0"]),
    ("loss.weights.kl=inf", ["loss.weights.kl: got inf"]),
    ("schedule@loss.schedules.kll=cosine", ["kll"]),
    ("training.monitor=validation/ndcg_at_10/nw", ["training.monitor", "did you mean 'validation/ndcg_at_10/new'"]),
    ("objectives=[nonsense]", ["objectives[0]: got 'nonsense', which this run does not measure (it measures valid"]),
    ("objectives=[test_ndcg_at_10_nw]", ["did you mean 'test_ndcg_at_10_new'", "test_removal_gain_additive"]),
    ("objectives=[test_removal_gain_random]", ["'test_removal_gain_random', which this run does not measure"]),
    ("-m sweep=lambda_weights objectives=[nonsense]", ["objectives[0]: got 'nonsense'", "validation_removal_gain)"]),
    ("-m sweep=lambda_weights cases.part=test", ["objectives[1]: got 'validation_removal_gain'"]),
    ("objectives=[test_removal_gain] stages=[fit,rank]", ["objectives[0]: got 'test_removal_gain'"]),
    ("objectives=[test_removal_gain] explainer=[random,additive]", ["objectives[0]: got 'test_removal_gain'"]),
    ("objectives=[test_removal_gain] fidelity=[]", ["objectives[0]: got 'test_removal_gain'"]),
    ("objectives=[test_removal_gain] cases.groups=[repeat]", ["objectives[0]: got 'test_removal_gain'"]),
    ("objectives=[test_ndcg_at_10_new] ranking.ndcg=[20]", ["objectives[0]: got 'test_ndcg_at_10_new'"]),
    ("objectives=[test_ndcg_at_10_cold]", ["objectives[0]: got 'test_ndcg_at_10_cold'"]),
    ("objectives=[nonsense] from_run=/nowhere", ["objectives: got 'nonsense', takes names such as"]),
    ("device=gpu", ["device: got 'gpu'", "cuda:0"]),
    ("stages=[fit,rnak]", ["stages[1]: got 'rnak'", "did you mean 'rank'"]),
    ("stages=[rank]", ["rank needs fit", "from_run=RUN"]),
    ("stages=fit", ["stages: got 'fit', takes a list"]),
    ("cases.groups=[all]", ["cases.groups[0]: got 'all', takes one of new, repeat"]),
    ("ranking.parts=[train]", ["ranking.parts[0]: got 'train', takes one of validation, test"]),
    ("ranking.parts=test", ["ranking.parts: got 'test', takes a list of one of validation, test"]),
    ("ranking.parts=[test] objectives=[validation_ndcg_at_10_all]", ["which this run does not measure"]),
    ("ranking.groups=[repeat]", ["takes one of all, new"]),
    ("ranking.ndcg=[10,10]", ["10 is there twice"]),
    ("ranking.ablations=1", ["ranking.ablations: got 1, takes true or false"]),
    ("data.clean.min_item_users=-1", ["data.clean.min_item_users: got -1"]),
    ("explainer=[]", ["explainer: got []", "leave out explain and fidelity"]),
    ("cases.min_players=0", ["cases.min_players: got 0, takes a whole number of at least 1"]),
    ("model=ease model.regularization=5 baselines=[ease]", ["baselines.ease.name: got 'ease'", "model.name=ease_2"]),
    ("stages=[fit,fidelity] from_run=runs/x", ["say nothing of a model that is fitted now"]),
    ("++explainer.additve.n=1", ["explainer.additve has no _target_", "did you mean 'additive'"]),
    ("++split._target_=os.system", ["split._target_: got 'os.system'", "under xrec", "XREC_ALLOWED_TARGETS"]),
    # multirun, sweep, resume, directories
    ("loss.weights.kl=0,1", ["needs -m", "loss.weights.kl=[0,1]"]),
    ("sweep=lambda_weights seed=1", ["python experiments/run.py -m sweep=lambda_weights seed=1"]),
    ("sweep=lambda_weight -m", ["did you mean 'lambda_weights'"]),
    ("-m seed=1,-2,3", ["seed: got -2"]),
    ("-m model/attention=target,meen", ["did you mean 'mean'"]),
    ("-m loss.weightz.kl=interval(0,1)", ["did you mean 'loss.weights.kl'"]),
    ("resume=/nowhere", ["resume: got '/nowhere'", "is no directory"]),
    ("resume=/tmp seed=3", ["resume takes the saved run's own config", "seed=3"]),
    ("from_run=/nowhere", ["from_run: got '/nowhere'"]),
    (f"paths.runs={__file__}/runs", [f"paths.runs: got '{__file__}/runs'", "XREC_RUNS"]),
    (f"hydra.run.dir={__file__}/a/b", [f"hydra.run.dir: got '{__file__}/a/b', which cannot be written to"]),
    ("-m seed=1,2 hydra.sweep.dir=/proc/nothing", ["hydra.sweep.dir: got '/proc/nothing'", "(/proc: "]),
    ("=3", ["'=3' is no override"]),
    ("seed={1", ["'seed={1' is no override"]),
]


@pytest.fixture(autouse=True)
def _runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XREC_RUNS", str(tmp_path / "runs"))


def refusal(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stopped:
        main_prepass(arguments, CONF)
    assert stopped.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(("line", "fragments"), BAD, ids=[line for line, _ in BAD])
def test_bad_input_is_refused(line: str, fragments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    said = refusal(line.split(), capsys)
    assert [f for f in fragments if f not in said] == [], said


@pytest.mark.parametrize(
    "line",
    [
        "",
        "experiment=quickstart seed=0 loss.weights.kl=0",
        "model/attention=target model.components.attention.normaliser=softmax loss.weights.kl=0.1",
        "model/item_encoder=embedding model/user_encoder=none ~model/attention",
        "model=ease baselines=[popularity]",
        "baselines=[] explainer=[] fidelity=[] stages=[fit,rank]",
        "explainer=random",
        "-m sweep=lambda_weights hydra.sweeper.n_trials=4 +hydra.sweeper.sampler.population_size=2",
        "--multirun model/attention=target,mean seed=0,1 loss.weights.kl=0,interval(0.1,1)",
        "-m loss.weights.kl=tag(log,interval(1e-3,1)) seed=range(0,3)",
        "+model.components.attention.later=1 ++seed=3 device=cuda:1",
        "objectives=[validation_ndcg_at_10_all,test_removal_gain_additive,test_removal_gain]",
        "from_run=null stages=[fit] data.source.path=/some/where",
    ],
)
def test_good_input_passes_unchanged(line: str) -> None:
    assert main_prepass(line.split(), CONF) == line.split()


def test_objectives_stand_aside_where_a_setting_they_are_made_from_is_wrong() -> None:
    sound = {"ranking": {"parts": ["test"], "groups": ["all"], "ndcg": [10]}, "cases": {"part": "test", "groups": []}}
    config = {**sound, "model": {"name": "m"}, "stages": ["rank"], "objectives": ["x"]}
    assert len(objective_errors(config)) == 1
    for broken in ({"ranking": None}, {"stages": "rank"}, {"model": {}}, {"cases": {"part": "test", "groups": "new"}}):
        assert objective_errors({**config, **broken}) == []
    assert objective_errors({**config, "objectives": ["test_ndcg_at_10_all"]}) == []


def test_every_bad_value_of_a_sweep_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    said = refusal(["-m", "model=composed,ease", "model/attention=target,meen", "seed=1,-1,-2"], capsys)
    for fragment in ("model=ease has no model/attention", "'meen'", "got -1", "got -2"):
        assert fragment in said
    assert said.startswith("4 errors")


def test_checking_makes_no_directory(tmp_path: Path) -> None:
    assert main_prepass([f"hydra.run.dir={tmp_path}/a/b"], CONF) == [f"hydra.run.dir={tmp_path}/a/b"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("flag", ["--help", "-h", "--hel", "--hydra-help", "--cfg", "-c", "--info", "--version"])
def test_flags_of_hydra_pass_through(flag: str) -> None:
    assert main_prepass([flag, "job", "modl=x"], CONF) == [flag, "job", "modl=x"]


def test_multirun_is_recognised() -> None:
    for arguments in (["-m"], ["--multirun"], ["--multi"], ["hydra.mode=MULTIRUN"]):
        command = read([*arguments, "seed=1"])
        assert command is not None
        assert command.multirun
    command = read(["seed=1"])
    assert command is not None
    assert not command.multirun


def test_resume_runs_in_the_directory_it_resumes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = tmp_path / "a run, with = and ' in it"
    directory.mkdir()
    argument = f"resume='{directory!s}'".replace("' in", "\\' in")
    assert "has no config.yaml" in refusal([argument], capsys)
    (directory / "config.yaml").write_text("seed: 0\n")
    arguments = main_prepass([argument, "tracking=none", "hydra.job.name=x"], CONF)
    assert arguments[:-1] == [argument, "tracking=none", "hydra.job.name=x"]

    from hydra.core.override_parser.overrides_parser import OverridesParser

    override = OverridesParser.create().parse_override(arguments[-1])
    assert override.key_or_group == "hydra.run.dir"
    assert override.value() == str(directory)
    assert "leave out -m" in refusal([argument, "-m"], capsys)


def test_two_errors_come_together_and_soon(tmp_path: Path) -> None:
    program = (
        "import sys; from xrec.config.prepass import main_prepass\n"
        "try: main_prepass(sys.argv[1:], 'conf')\n"
        "finally: print([m for m in ('torch', 'polars', 'pandas', 'wandb', 'optuna') if m in sys.modules])"
    )
    path = os.pathsep.join([str(ROOT), str(ROOT / "xrec" / "sweep" / "plugin")])
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", program, "cases.n_user=3", "loss.weights.kl=-1"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path, "XREC_RUNS": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    print(f"answered in {time.perf_counter() - started:.2f} s")
    assert done.returncode == 2
    assert done.stdout == "[]\n"
    assert done.stderr.startswith("2 errors")
    assert "did you mean 'cases.n_users'" in done.stderr
    assert "loss.weights.kl: got -1" in done.stderr
