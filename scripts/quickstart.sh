#!/usr/bin/env bash
# The main job on real data, from nothing: sets up .venv, then composes, trains, ranks, explains, measures and reports.
# Arguments are Hydra overrides: bash scripts/quickstart.sh seed=1 model/attention=mean
set -uo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

exec .venv/bin/python experiments/run.py experiment=quickstart "$@"
