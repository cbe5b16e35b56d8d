#!/bin/sh
# Makes .venv beside the Makefile from requirements.lock, and does nothing when it is there already.
# The stamp is written last: a .venv that was interrupted, moved or made from another lock is made anew.
set -eu

cd "$(dirname "$0")/.."
root=$(pwd -P)
stamp=.venv/stopline.stamp
log=.venv/setup.log

say() { printf '%s\n' "$*" >&2; }

# A name on the path may be a shim that only prints an error, so each candidate has to run.
supported='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))'
find_python() {
    for name in ${PYTHON:-python3.11 python3.12 python3.13 python3.14 python3 python}; do
        if "$name" -c "$supported" >/dev/null 2>&1; then
            # Not the .venv itself, where it is active: that one is about to be removed.
            "$name" -c 'import sys; print(sys._base_executable)'
            return 0
        fi
    done
    return 1
}

wanted() {
    printf 'root %s\n' "$root"
    cksum requirements.lock
    cksum tools/setup.sh
}

# Naming another Python than the one in .venv makes it anew.
same_python() {
    [ -z "${PYTHON:-}" ] || [ "$("$PYTHON" -V 2>&1)" = "$(.venv/bin/python -V 2>&1)" ]
}

if [ -f "$stamp" ] && same_python && [ "$(wanted)" = "$(cat "$stamp")" ] && .venv/bin/python -c "$supported" >/dev/null 2>&1; then
    exit 0
fi

if ! python=$(find_python); then
    tried=${PYTHON:-python3.11, python3.12, python3.13, python3.14, python3}
    say "error: no Python 3.11 to 3.14 found ($tried): install one, or name it: make setup PYTHON=/path/to/python3.11"
    exit 2
fi
if ! "$python" -c 'import venv' >/dev/null 2>&1; then
    say "error: $python has no venv module: install the package python3-venv, or name another: make setup PYTHON=/path/to/python3.11"
    exit 2
fi

say "setting up .venv (only when missing or outdated, about a minute) with $("$python" -V 2>&1) ..."
rm -rf .venv
mkdir .venv
fail() {
    say "error: setting up .venv failed ($1); the last lines of its log:"
    grep -v '^ *WARNING' "$log" | tail -n 8 | sed 's/^/    /' >&2
    say "mend what they name, then run make setup again"
    rm -rf .venv
    exit 2
}

# Debian's Python has venv without ensurepip until python3-venv is installed; its own pip can fill .venv from outside.
if "$python" -c 'import ensurepip' >/dev/null 2>&1; then
    "$python" -m venv .venv >"$log" 2>&1 || fail "python -m venv"
    set -- .venv/bin/python -m pip
elif "$python" -m pip --python "$python" --version >/dev/null 2>&1; then
    "$python" -m venv --without-pip .venv >"$log" 2>&1 || fail "python -m venv"
    set -- "$python" -m pip --python .venv/bin/python
else
    rm -rf .venv
    say "error: $python has neither ensurepip nor pip: install the package python3-venv, or name another: make setup PYTHON=/path/to/python3.11"
    exit 2
fi
# The lock names every package: resolving what they ask for could only find newer ones that it does not have.
"$@" --disable-pip-version-check --no-input install --no-deps --require-hashes --only-binary=:all: -r requirements.lock \
    >>"$log" 2>&1 || fail "pip install"

# The packages of this tree are found from .venv wherever a command or a strategy is started.
site=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
printf '%s\n' "$root" >"$site/stopline.pth"
wanted >"$stamp"
say "setting up .venv: done"
