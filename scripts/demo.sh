#!/bin/sh
# kaa at work, from nothing: installs what is missing, compiles, and runs a
# container whose root is this machine's own file system under a throw-away
# layer. No image is downloaded, and nothing is left behind but build/.
#
#   scripts/demo.sh                 shows who and where the container is
#   scripts/demo.sh COMMAND...      runs the command in it instead: bash, say
#   KAA=runc scripts/demo.sh        the same with another runtime
set -eu
cd "$(dirname "$0")/.."

step() { printf 'demo: %s\n' "$*" >&2; }

if [ "$(id -u)" != 0 ]; then
    step "needs root, to install packages and to mount: sudo make demo"
    exit 1
fi

sh scripts/setup.sh demo
python=$(sh scripts/setup.sh python)

if [ -z "${KAA-}" ]; then
    step "compiling kaa, into src/kaa and build"
    "$python" src/kaa/init/build.py >/dev/null
    mkdir -p build
    KAA=$PWD/build/kaa
    "$python" src/kaa/init/launcher.py --boot "$PWD/src/kaa/_boot.py" --python "$python" "$KAA"
    "$python" -m compileall -q src/kaa
fi

# What is mounted there is mounted in a namespace that ends with the demo.
place=$(mktemp -d /tmp/kaa-demo-XXXXXX)
trap 'rmdir "$place"' EXIT
trap 'exit 130' INT
unshare --mount "$python" -I scripts/demo.py "$KAA" "$place" "$@"
