# Sourced by quickstart.sh and test.sh: changes to the project's root and sees to it that .venv is what requirements.lock
# says. The first call installs, later ones find the stamp and return at once.
# PYTHON names the interpreter to use (default: the first Python 3.11 among python3.11, python3, python).

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
xrec_python=.venv/bin/python
xrec_stamp=.venv/.xrec-setup # a digest when the set-up is whole, "unfinished" while it is under way
xrec_log=.cache/setup.log

is_python_311() {
  "$1" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' >/dev/null 2>&1
}

find_python_311() {
  local candidate
  for candidate in ${PYTHON:+"$PYTHON"} python3.11 python3 python; do
    if is_python_311 "$candidate"; then
      command -v "$candidate"
      return
    fi
    if [ "$candidate" = "${PYTHON:-}" ]; then
      echo "set-up: PYTHON=$PYTHON is not a Python 3.11; unset it or let it name one" >&2
      return 1
    fi
  done
  echo "set-up: needs Python 3.11 and found none as python3.11, python3 or python; install it or name it: PYTHON=/path/to/python3.11 bash $0" >&2
  return 1
}

# Of the place, the lock, and the parts of pyproject.toml that decide what is installed.
setup_digest() {
  "$1" - <<'PY'
import hashlib, json, os, tomllib

with open("pyproject.toml", "rb") as file:
    project = tomllib.load(file)
with open("requirements.lock", "rb") as file:
    lock = file.read()
parts = [os.getcwd(), project["build-system"], project["project"], project["tool"]["hatch"]]
print(hashlib.sha256(json.dumps(parts, sort_keys=True).encode() + lock).hexdigest())
PY
}

is_set_up() {
  is_python_311 "$xrec_python" && [ -f "$xrec_stamp" ] && [ "$(cat "$xrec_stamp")" = "$(setup_digest "$xrec_python")" ]
}

set_up_step() {
  if ! "$@" >>"$xrec_log" 2>&1; then
    tail -n 20 "$xrec_log" >&2
    echo "set-up: failed at: $* (everything is in $xrec_log); the next call starts over" >&2
    return 1
  fi
}

# A .venv that was begun and not finished is emptied first; its stamp goes last, so a second interruption is seen as well.
make_venv() {
  local python=$1
  if ! is_python_311 "$xrec_python" || [ "$(cat "$xrec_stamp" 2>/dev/null)" = unfinished ]; then
    "$python" -c 'import ensurepip, venv' 2>/dev/null || {
      echo "set-up: $python has no venv or ensurepip; install them (Debian and Ubuntu: the package python3.11-venv)" >&2
      return 1
    }
    mkdir -p .venv && echo unfinished >"$xrec_stamp" || return 1
    find .venv -mindepth 1 -maxdepth 1 ! -name "${xrec_stamp##*/}" -exec rm -rf {} + || return 1
    set_up_step "$python" -m venv .venv || return 1
  fi
  echo unfinished >"$xrec_stamp"
}

install_all() {
  local digest
  local pip=("$xrec_python" -m pip --disable-pip-version-check --no-input --quiet install)
  digest=$(setup_digest "$xrec_python") || return 1
  set_up_step "${pip[@]}" --requirement requirements.lock || return 1
  set_up_step "${pip[@]}" --no-deps --no-build-isolation --editable . || return 1
  echo "$digest" >"$xrec_stamp"
}

set_up() {
  is_set_up && return
  local python started=$SECONDS
  python=$(find_python_311) || return 1
  mkdir -p .cache || return 1
  # The lock lies on the open file, so it stays with this shell when the Python that took it has ended. (macOS has no flock.)
  exec 9>.cache/setup.lock
  "$python" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)' || return 1
  if ! is_set_up; then # another call may have done it meanwhile
    echo "set-up: bringing .venv to requirements.lock (from nothing: 2 GB, 2 to 5 minutes and the download) ..." >&2
    : >"$xrec_log"
    make_venv "$python" && install_all || return 1
    echo "set-up: done in $((SECONDS - started)) s" >&2
  fi
  exec 9>&-
}

set_up || exit 1
