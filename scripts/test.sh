#!/usr/bin/env bash
# Everything that is checked: lint, format, import contracts, types, tests. No step stops the others; one failure fails all.
#   bash scripts/test.sh [--slow] [arguments of pytest]
set -uo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

export WANDB_MODE=offline WANDB_ERROR_REPORTING=false
unset PYTHONDONTWRITEBYTECODE # a hundred processes import xrec
export PYRIGHT_PYTHON_IGNORE_WARNINGS=1 # it would ask the network whether there is a newer one
bin=.venv/bin

pytest_arguments=()
for argument in "$@"; do
  if [ "$argument" = --slow ]; then pytest_arguments+=(-m ""); else pytest_arguments+=("$argument"); fi
done

failed=()
step() {
  local name=$1 started=$SECONDS
  shift
  echo "== $name"
  "$@" || failed+=("$name")
  echo "== $name: $((SECONDS - started)) s"
}

step "ruff check" "$bin/ruff" check
step "ruff format" "$bin/ruff" format --check
step "import contracts" "$bin/lint-imports"
step "pyright" "$bin/pyright"
# Tests that share a fixture stay with one process, until the other one has none left.
step "pytest" "$bin/python" -m pytest -n 2 --dist worksteal ${pytest_arguments[@]+"${pytest_arguments[@]}"}

if [ "${#failed[@]}" -gt 0 ]; then
  printf 'failed: %s\n' "${failed[@]}" >&2
  exit 1
fi
echo "all passed in $SECONDS s"
