#!/usr/bin/env bash
# Installs what rpdrive needs from here: `tests/setup.sh demo` to run it, `tests/setup.sh test` to test it too,
# `tests/setup.sh bench` to run it beside others. Quick when all is there. What it can't install, it names, and
# fails; the others to be run beside may be missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

AZURITE=3.35.0
WINFSPY=0.8.4
goal=${1:-test}
case $goal in demo | test | bench) ;; *) echo "usage: $0 demo|test|bench" >&2; exit 2 ;; esac

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }

library() { # is a shared library of this name installed?
    { /sbin/ldconfig -p 2>/dev/null || ldconfig -p 2>/dev/null || true; } | grep -F -q "$1"
}

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

# --- packages of the system ----------------------------------------------------------------------

wanted=()
want() { wanted+=("$@"); }

PYTHON=${PYTHON:-}
for candidate in $PYTHON python3 python3.13 python3.12 python3.11; do
    if new_enough "$candidate"; then PYTHON=$candidate; break; fi
    PYTHON=
done
[ -n "$PYTHON" ] || fail "Python 3.11 or newer is needed: install it, or set PYTHON to its path"
[ -x .venv/bin/python ] || "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null || want python3-venv

if [ "$(uname -s)" = Linux ]; then
    library libfuse.so.2 || want libfuse2
    has fusermount || want fuse3
    if [ "$goal" = test ]; then
        has getfattr || want attr
        has getfacl || want acl
        has rsync || want rsync
        has systemd-analyze || want systemd
        has Xvfb || want xvfb
        has xdotool || want xdotool
        has pcmanfm || want pcmanfm
        has dbus-run-session || want dbus-x11
        has import || want imagemagick
        has xprop || want x11-utils
    fi
fi
if [ "$goal" = test ]; then
    has node || want nodejs
    has npm || want npm
fi

install_packages() { # PACKAGE...: fails after saying what to do
    local how="install these packages of your system: $*" root
    has apt-get || { say "$how"; return 1; }
    if [ "$(id -u)" = 0 ]; then
        root=()
    elif has sudo && sudo -n true 2>/dev/null; then
        root=(sudo -n)
    else
        say "not root, and no sudo without a password; $how"
        say "  as root: apt-get install $*"
        return 1
    fi
    say "installing $*"
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq || say "apt-get update failed; trying with what is known"
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null ||
        { say "apt-get could not install them (is there a network?); $how"; return 1; }
}

[ ${#wanted[@]} = 0 ] || install_packages "${wanted[@]}" || exit 1

if [ "$goal" = bench ]; then
    wanted=()
    has restic || want restic
    has borg || want borgbackup
    # Borg needs one of these to mount.
    /usr/bin/python3 -c 'import pyfuse3' 2>/dev/null || /usr/bin/python3 -c 'import llfuse' 2>/dev/null ||
        want python3-pyfuse3
    has squashfuse || want squashfuse
    has mksquashfs || want squashfs-tools
    [ ${#wanted[@]} = 0 ] || install_packages "${wanted[@]}" || say "going on; what is missing is left out"
fi
if [ "$(uname -s)" = Linux ]; then
    [ -e /dev/fuse ] || fail "there is no /dev/fuse: load the kernel module (modprobe fuse); in a container, start it with --device /dev/fuse --cap-add SYS_ADMIN"
fi

# --- Python packages -----------------------------------------------------------------------------

# A stamp holds the hash of what was installed from. The tests' packages include those of the demo.
now=$({ cat pyproject.toml; pwd; } | sha256sum | cut -d ' ' -f 1)
installed() { [ "$(cat ".venv/.installed-$1" 2>/dev/null)" = "$now" ]; }

packages=$goal
[ "$goal" = test ] || packages=demo
if ! installed test && { [ "$packages" = test ] || ! installed demo; }; then
    [ -x .venv/bin/python ] || "$PYTHON" -m venv .venv || fail "python3 -m venv failed: install python3-venv"
    extras=; if [ "$packages" = test ]; then extras='[dev]'; fi
    say "installing rpdrive$extras into .venv"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --use-pep517 --editable ".$extras" ||
        fail "pip could not install the packages that pyproject.toml names (it needs PyPI, or PIP_INDEX_URL set to a mirror)"
    echo "$now" >".venv/.installed-$packages"
fi

# --- Azurite -------------------------------------------------------------------------------------

if [ "$goal" = test ] && [ ! -e ".tools/.azurite-$AZURITE" ]; then
    say "installing Azurite $AZURITE into .tools"
    mkdir -p .tools
    npm install --prefix .tools --no-save --no-audit --no-fund --loglevel=error --no-update-notifier \
        "azurite@$AZURITE" >/dev/null ||
        fail "npm could not install azurite@$AZURITE (it needs the npm registry, or npm's registry setting on a mirror)"
    rm -f .tools/.azurite-*
    touch ".tools/.azurite-$AZURITE"
fi

# --- winfspy -------------------------------------------------------------------------------------

# Its Windows wheel, unpacked: its Python runs here on the stand-in for WinFsp in tests/kit/winfsp.
if [ "$goal" = test ] && [ ! -e ".tools/winfspy-$WINFSPY/winfspy/plumbing/_bindings.pyd" ]; then
    say "unpacking winfspy $WINFSPY into .tools"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --only-binary=:all: --no-compile \
        --platform win_amd64 --python-version 3.11 --upgrade --target ".tools/winfspy-$WINFSPY" "winfspy==$WINFSPY" ||
        fail "pip could not fetch winfspy $WINFSPY for Windows (it needs PyPI, or PIP_INDEX_URL set to a mirror)"
fi
