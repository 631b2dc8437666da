#!/bin/sh
# The tests that want cgroup v2, systemd and an ordinary user's session, in a virtual
# machine; the arguments are pytest's. Where none can be made: says why, and ends well.
set -eu
cd "$(dirname "$0")/../.."

python=$(sh scripts/setup.sh python)
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    # what is missing is installed, as everywhere; if that fails, the next step says so
    export DEBIAN_FRONTEND=noninteractive
    "$python" tests/vm/machine.py missing >/dev/null || {
        apt-get update &&
            apt-get install --yes --no-install-recommends qemu-system-x86 debootstrap e2fsprogs
    } >/dev/null 2>&1 || true
fi
if ! why=$("$python" tests/vm/machine.py missing); then
    echo "test-vm: skipped: $why"
    exit 0
fi
if ! "$python" tests/vm/machine.py build; then
    echo "test-vm: skipped: the image could not be made (see above; is the mirror reachable?)"
    exit 0
fi
"$python" src/kaa/init/build.py >/dev/null
exec "$python" tests/vm/machine.py run -- sh tests/vm/inside.sh "$@"
