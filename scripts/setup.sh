#!/bin/sh
# Installs what the other scripts and the Makefile need, and says what.
#
#   scripts/setup.sh demo      a Python, a C compiler
#   scripts/setup.sh build     the same, and .venv with kaa and the packages it imports
#   scripts/setup.sh test      the same, and everything the tests and the linters use
#   scripts/setup.sh python    prints which Python that is
#
# Does nothing, and is silent, where all of it is there. Debian's or Ubuntu's
# packages come from apt-get; elsewhere the names are printed for you to install.
set -eu
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*" >&2; }
die() {
    say "$*"
    exit 1
}

# The first Python 3.11 or newer there is, with its whole library (python3-minimal is less).
# Not simply `python3`: what a version manager puts first on the PATH may be anything.
find_python() {
    check='import sys, ctypes, json, tempfile; sys.exit(sys.version_info < (3, 11))'
    for python in /usr/bin/python3 /usr/bin/python3.1[1-9] /usr/local/bin/python3 python3; do
        if "$python" -c "$check" 2>/dev/null; then
            command -v "$python"
            return
        fi
    done
}

lacking() {
    for package; do
        state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) || state=none
        [ "$state" = installed ] || printf '%s ' "$package"
    done
}

need() {
    command -v dpkg-query >/dev/null || {
        say "not a Debian or Ubuntu system; these packages, or their like, must be there: $*"
        return
    }
    missing=$(lacking "$@")
    [ -n "$missing" ] || return 0
    [ "$(id -u)" = 0 ] || die "missing packages, and only root can install them: $missing"
    say "installing with apt-get: $missing"
    export DEBIAN_FRONTEND=noninteractive
    log=$(mktemp)
    # shellcheck disable=SC2086  # a list of words
    { apt-get update && apt-get install --yes --no-install-recommends $missing; } >"$log" 2>&1 || {
        tail -n 20 "$log" >&2
        rm -f "$log"
        die "apt-get could not install: $missing"
    }
    rm -f "$log"
}

# The packages, and a Python if there is none that will do.
need_with_python() {
    [ -n "$(find_python)" ] || set -- "$@" python3
    need "$@"
    [ -n "$(find_python)" ] || die "kaa needs Python 3.11 or newer, and this system's is older"
}

# Has any of the files that an editable install compiles, or is told by, changed?
stale() {
    [ ! -e "$1" ] || [ -n "$(find pyproject.toml hatch_build.py src/kaa/program/calls.py \
        src/kaa/init/*.[ch] src/kaa/init/*.py -newer "$1")" ]
}

# python_packages LEVEL PIP-ARGUMENTS...
python_packages() {
    stamp=.venv/.kaa-$1
    shift
    stale "$stamp" || return 0
    if ! [ -x .venv/bin/python ]; then
        python=$(find_python)
        "$python" -c 'import ensurepip' 2>/dev/null ||
            need "$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
        "$python" -m venv .venv
    fi
    say "installing into .venv: kaa from this checkout, and the Python packages it needs"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check "$@"
    touch "$stamp"
}

runtime="gcc libc6-dev libseccomp2"
tests="busybox-static clang cppcheck debootstrap gcc-aarch64-linux-gnu git iproute2
    libc6-dev-arm64-cross make pipx procps redis-tools runc strace uidmap xz-utils"

# shellcheck disable=SC2086  # lists of words
case ${1-} in
demo)
    need_with_python $runtime
    ;;
build)
    need_with_python $runtime
    stale .venv/.kaa-test || exit 0
    python_packages build --editable . 'hatchling>=1.26'
    ;;
test)
    need_with_python $runtime $tests
    python_packages test --editable '.[dev]'
    ;;
python) find_python ;;
*) die "usage: scripts/setup.sh demo|build|test|python" ;;
esac
