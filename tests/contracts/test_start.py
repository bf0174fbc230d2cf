"""What a run imports, and when: what it does not use yet is not there; and the state that it computes in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def answer(program: str, *arguments: str) -> object:
    """What a process of its own prints last, as JSON."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "xrec" / "sweep" / "plugin")])
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_xrec_itself_imports_nothing_heavy():
    heavy = ["torch", "polars", "hydra", "omegaconf", "numpy", "scipy", "wandb", "yaml"]
    program = f"import xrec, sys, json; print(json.dumps([m for m in {heavy} if m in sys.modules]))"
    assert answer(program) == []


#: a run that stops where it writes its first explanations, and says what was imported by then, and by its first batch
_RUN = """
import json, sys
from pathlib import Path
from omegaconf import OmegaConf
from xrec import pipeline
from xrec.stages import explain
from xrec.training import fit

looked_for, config, directory = json.loads(sys.argv[1]), OmegaConf.create(json.loads(sys.argv[2])), Path(sys.argv[3])
there = {}
make_batch = fit.make_batch

class Reached(BaseException):
    pass

def first_batch(*arguments):
    there.setdefault("batch", [m for m in looked_for if m in sys.modules])
    return make_batch(*arguments)

def first_shard(*arguments):
    there["shard"] = [m for m in looked_for if m in sys.modules]
    raise Reached

fit.make_batch, explain._write_shard = first_batch, first_shard
try:
    pipeline.run(config, directory)
except Reached:
    print(json.dumps(there))
"""


def test_what_explains_is_imported_before_the_first_case_and_after_the_first_batch(configured, tmp_path):
    from omegaconf import OmegaConf

    from xrec import pipeline

    chosen = ["experiment=quickstart", "training.windows=[28,34]", "training.epochs=1", "threads=1", "tracking=none"]
    explainers = "explainer=[shap_permutation,integrated_gradients]"
    config = configured(*chosen, explainers, "cases.n_users=2", "baselines=[]", "ranking.ablations=false")
    pipeline.run(configured(*chosen, "stages=[fit]"), tmp_path / "first")  # fills the cache
    explaining = ["shap", "captum", "numba", "sklearn", "pandas", "matplotlib"]
    never = ["wandb", "optuna", "torch._dynamo", "torch._inductor", "sympy", "scipy"]
    plain = json.dumps(OmegaConf.to_container(config, resolve=True))
    there = answer(_RUN, json.dumps([*explaining, *never]), plain, str(tmp_path / "run"))
    assert isinstance(there, dict)
    assert there["batch"] == []
    assert {"shap", "captum"} <= set(there["shard"]) and "wandb" not in there["shard"]


_REPEATABLE = """
import json, sys, torch
from omegaconf import OmegaConf
from xrec import pipeline
if sys.argv[1] == "compiler":
    import torch._inductor.config
if sys.argv[1] == "public":
    torch.use_deterministic_algorithms(True)
else:
    pipeline._make_repeatable(OmegaConf.create({"threads": 1}))
imported = "torch._inductor.config" in sys.modules
try:  # has no deterministic implementation
    torch.zeros(3).put_(torch.tensor([0, 0]), torch.tensor([1.0, 2.0]))
    refused = False
except RuntimeError as error:
    refused = "deterministic" in str(error)
unset = torch.empty(5)  # filled with nan where algorithms are deterministic
import torch._inductor.config as inductor
print(json.dumps({
    "imported": imported,
    "enabled": torch.are_deterministic_algorithms_enabled(),
    "only warns": torch.is_deterministic_algorithms_warn_only_enabled(),
    "mode": torch.get_deterministic_debug_mode(),
    "refused": refused,
    "filled": torch.utils.deterministic.fill_uninitialized_memory and bool(unset.isnan().all()),
    "compiler": inductor.deterministic,
}))
"""


@pytest.mark.parametrize("imported", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_algorithms_are_deterministic_as_by_the_public_call_and_the_compiler_is_left_alone(imported):
    public, ours = answer(_REPEATABLE, "public"), answer(_REPEATABLE, "compiler" if imported else "")
    assert isinstance(public, dict) and isinstance(ours, dict)
    assert public == {"imported": True, "enabled": True, "only warns": False, "mode": 2} | dict.fromkeys(
        ("refused", "filled", "compiler"), True
    )
    assert ours == {**public, "imported": imported}
